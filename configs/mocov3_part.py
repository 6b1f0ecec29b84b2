r"""Part tasks with MoCo v3.

    python -m jaxpart.main --config configs/mocov3_part.py

runs on the bundled data set with the bundled small MoCo v3 encoder; under 3 minutes
on 2 cores.

    python -m convert mocov3 CHECKPOINT checkpoints/mocov3_vitb16
    python -m jaxpart.main --config configs/mocov3_part.py:paper \
        --config.encoder.checkpoint=checkpoints/mocov3_vitb16 --config.data.root=DATA

runs the paper's protocol on CUB-200-2011 and COCO (DATA holds CUB_200_2011 and coco). The paper's AP
(percent): 50.8 encoded and 28.4 projected on CUB, 52.3 and 36.8 on COCO.
Its part classification (percent, best epoch): 93.8 linear and 96.0 attentive on CUB,
92.4 and 95.3 on COCO.

Adding --config.tasks="('segmentation',)" segments ADE20K, Pascal-Part and LIP instead: six training
runs of 160 000 iterations each. The paper's mIoU (percent): 27.1 on ADE20K-Part, 27.1 on
Pascal-Part, 41.9 on LIP, 34.7 on ADE20K.
"""

from ml_collections import ConfigDict

from jaxpart.config import part_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "paper"."""
    return part_config("mocov3", variant, projector=True)
