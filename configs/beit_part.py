r"""Part tasks with BEiT.

    python -m jaxpart.main --config configs/beit_part.py

runs on the bundled data set with the bundled small BEiT encoder; under 3 minutes
on 2 cores.

    python -m convert beit CHECKPOINT checkpoints/beit_vitb16
    python -m jaxpart.main --config configs/beit_part.py:paper \
        --config.encoder.checkpoint=checkpoints/beit_vitb16 --config.data.root=DATA

runs the paper's protocol on CUB-200-2011 and COCO (DATA holds CUB_200_2011 and coco). The paper's AP
(percent): 27.9 on CUB, 35.3 on COCO.
Its part classification (percent, best epoch): 55.4 linear and 86.5 attentive on CUB,
69.3 and 86.5 on COCO.

Adding --config.tasks="('segmentation',)" segments ADE20K, Pascal-Part and LIP instead: six training
runs of 160 000 iterations each. The paper's mIoU (percent): 18.6 on ADE20K-Part, 14.8 on
Pascal-Part, 27.2 on LIP, 17.8 on ADE20K.
"""

from ml_collections import ConfigDict

from jaxpart.config import part_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "paper"."""
    return part_config("beit", variant, projector=False)
