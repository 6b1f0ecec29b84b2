r"""Part tasks with MAE.

    python -m jaxpart.main --config configs/mae_part.py

runs on the bundled data set with the bundled small MAE encoder; under 3 minutes
on 2 cores.

    python -m convert mae CHECKPOINT checkpoints/mae_vitb16
    python -m jaxpart.main --config configs/mae_part.py:paper \
        --config.encoder.checkpoint=checkpoints/mae_vitb16 --config.data.root=DATA

runs the paper's protocol on CUB-200-2011 and COCO (DATA holds CUB_200_2011 and coco). The paper's AP
(percent): 28.5 on CUB, 37.1 on COCO.
Its part classification (percent, best epoch): 86.9 linear and 92.8 attentive on CUB,
88.0 and 93.9 on COCO.
The published code retrieves and classifies with MAE's patches permuted against their positions, anew in
every forward pass, and these figures include that. Here patches keep their order;
--config.encoder.patch_order=permuted draws a permutation per image from the seed, and keeps it for all
epochs of a probe. See docs/differences.md.

Adding --config.tasks="('segmentation',)" segments ADE20K, Pascal-Part and LIP instead: six training
runs of 160 000 iterations each. The paper's mIoU (percent): 26.3 on ADE20K-Part, 24.3 on
Pascal-Part, 38.2 on LIP, 27.1 on ADE20K.
"""

from ml_collections import ConfigDict

from jaxpart.config import part_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "paper"."""
    return part_config("mae", variant, projector=False)
