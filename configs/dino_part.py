r"""Part tasks with DINO.

    python -m jaxpart.main --config configs/dino_part.py

runs on the bundled data set with the bundled small DINO encoder; under 3 minutes
on 2 cores.

    python -m convert dino CHECKPOINT checkpoints/dino_vitb16
    python -m jaxpart.main --config configs/dino_part.py:paper \
        --config.encoder.checkpoint=checkpoints/dino_vitb16 --config.data.root=DATA

runs the paper's protocol on CUB-200-2011 and COCO (DATA holds CUB_200_2011 and coco). The paper's AP
(percent): 48.9 encoded and 31.7 projected on CUB, 51.8 and 41.2 on COCO.
Its part classification (percent, best epoch): 93.2 linear and 95.2 attentive on CUB,
91.7 and 94.5 on COCO.

Adding --config.tasks="('segmentation',)" segments ADE20K, Pascal-Part and LIP instead: six training
runs of 160 000 iterations each. The paper's mIoU (percent): 28.9 on ADE20K-Part, 27.8 on
Pascal-Part, 41.0 on LIP, 34.5 on ADE20K.
"""

from ml_collections import ConfigDict

from jaxpart.config import part_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "paper"."""
    return part_config("dino", variant, projector=True)
