"""iBOT on critters: DINO, plus the teacher's output for every hidden patch.

    python -m jaxpart.pretraining --config configs/pretrain/ibot.py --workdir runs/ibot

`:imagenet` is the recipe of ViT-B/16 with block masks (bytedance/ibot): 400 epochs, batch 1024,
learning rate 7.5e-4 per 256, 10 local crops, one last layer of 8192 for cls and patches, masks of none
or 30 ± 20 % of the patches, teacher temperature 0.04 to 0.07 over 50 epochs. For random masks:
--config.objective.mask=random --config.objective.mask_shares="(0.0, 0.65)"
--config.objective.mask_deviations="(0.0, 0.05)".
"""

from ml_collections import ConfigDict

from jaxpart.config import variant_of
from jaxpart.pretraining.recipe import (
    CRITTERS_LOCAL,
    CRITTERS_PAIR,
    IMAGENET_LOCAL,
    IMAGENET_PAIR,
    critters_config,
    distill_critters,
    distill_imagenet,
    imagenet_config,
)


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "imagenet"."""
    return _imagenet() if variant_of(variant, ["imagenet"]) else _critters()


_MASKS = {
    "mask": "block",  # or "random"
    "mask_shares": (0.0, 0.3),
    "mask_deviations": (0.0, 0.2),
}


def _critters() -> ConfigDict:
    config = critters_config("ibot")
    config.views.pair = ConfigDict(CRITTERS_PAIR | {"scale": (0.32, 1.0)})
    config.views.local = ConfigDict(CRITTERS_LOCAL | {"scale": (0.1, 0.4)})
    config.decoder.out = 0
    distill_critters(config)
    config.objective.update(_MASKS)
    config.objective.patch_weight = 0.2  # at 1 it learns little of parts (docs/pretraining.md)
    return config


def _imagenet() -> ConfigDict:
    config = imagenet_config("ibot")
    config.views.pair = ConfigDict(IMAGENET_PAIR | {"scale": (0.32, 1.0)})
    config.views.local = ConfigDict(IMAGENET_LOCAL | {"scale": (0.05, 0.32)})
    config.decoder.out = 0
    distill_imagenet(config)
    config.objective.update(_MASKS)
    config.objective.patch_weight = 1.0
    config.projector.update(out=8192, patch_out=0)  # 0: the head is shared
    return config
