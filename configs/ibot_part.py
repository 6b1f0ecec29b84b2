r"""Part tasks with iBOT.

    python -m jaxpart.main --config configs/ibot_part.py

runs on the bundled data set with the bundled small iBOT encoder; under 3 minutes
on 2 cores.

    python -m convert ibot CHECKPOINT checkpoints/ibot_vitb16
    python -m jaxpart.main --config configs/ibot_part.py:paper \
        --config.encoder.checkpoint=checkpoints/ibot_vitb16 --config.data.root=DATA

runs the paper's protocol on CUB-200-2011 and COCO (DATA holds CUB_200_2011 and coco). The paper's AP
(percent): 49.3 encoded and 31.2 projected on CUB, 59.2 and 41.5 on COCO.
Its part classification (percent, best epoch): 93.8 linear and 95.8 attentive on CUB,
92.1 and 95.1 on COCO.

Adding --config.tasks="('segmentation',)" segments ADE20K, Pascal-Part and LIP instead: six training
runs of 160 000 iterations each. The paper's mIoU (percent): 32.2 on ADE20K-Part, 30.7 on
Pascal-Part, 44.6 on LIP, 38.3 on ADE20K.
"""

from ml_collections import ConfigDict

from jaxpart.config import part_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "paper"."""
    return part_config("ibot", variant, projector=True)
