r"""Part tasks with DeiT.

    python -m jaxpart.main --config configs/deit_part.py

runs on the bundled data set with the bundled small DeiT encoder; under 3 minutes
on 2 cores.

    python -m convert deit CHECKPOINT checkpoints/deit_vitb16
    python -m jaxpart.main --config configs/deit_part.py:paper \
        --config.encoder.checkpoint=checkpoints/deit_vitb16 --config.data.root=DATA

runs the paper's protocol on CUB-200-2011 and COCO (DATA holds CUB_200_2011 and coco). The paper's AP
(percent): 35.0 on CUB, 44.1 on COCO.
Its part classification (percent, best epoch): 90.9 linear and 92.9 attentive on CUB,
88.5 and 91.4 on COCO.

Adding --config.tasks="('segmentation',)" segments ADE20K, Pascal-Part and LIP instead: six training
runs of 160 000 iterations each. The paper's mIoU (percent): 27.3 on ADE20K-Part, 27.4 on
Pascal-Part, 41.4 on LIP, 34.9 on ADE20K.

Which file produced the paper's DeiT figures cannot be determined from its code. Its links name
deit_base_patch16_224-b5f2ef4d.pth; its retrieval and classification use timm's vit_base_patch16_224
in place of DeiT (jx_vit_base_p16_224-80ecf9dd.pth in timm 0.3.2, ImageNet-21k and then 1k, trained
with mean and std 0.5, but given images normalised as for the other methods); its segmentation names
deit_base_distilled_patch16_224-df68dfff.pth, which its loader cannot load, so a file without a dist
token must have been used.
"""

from ml_collections import ConfigDict

from jaxpart.config import part_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "paper"."""
    return part_config("deit", variant, projector=False)
