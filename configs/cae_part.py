r"""Part tasks with CAE.

    python -m jaxpart.main --config configs/cae_part.py

runs on the bundled data set with the bundled small CAE encoder; under 3 minutes
on 2 cores.

    python -m convert cae CHECKPOINT checkpoints/cae_vitb16
    python -m jaxpart.main --config configs/cae_part.py:paper \
        --config.encoder.checkpoint=checkpoints/cae_vitb16 --config.data.root=DATA

runs the paper's protocol on CUB-200-2011 and COCO (DATA holds CUB_200_2011 and coco). The paper's AP
(percent): 58.0 on CUB, 57.0 on COCO.
Its part classification (percent, best epoch): 89.5 linear and 95.8 attentive on CUB,
91.1 and 95.5 on COCO.

Adding --config.tasks="('segmentation',)" segments ADE20K, Pascal-Part and LIP instead: six training
runs of 160 000 iterations each. The paper's mIoU (percent): 28.4 on ADE20K-Part, 27.8 on
Pascal-Part, 43.7 on LIP, 32.6 on ADE20K.
"""

from ml_collections import ConfigDict

from jaxpart.config import part_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "paper"."""
    return part_config("cae", variant, projector=False)
