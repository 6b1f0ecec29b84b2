"""DINO on critters: crops of an image, local ones too, predict the teacher's output.

    python -m jaxpart.pretraining --config configs/pretrain/dino.py --workdir runs/dino

`:imagenet` is the recipe of ViT-B/16 (arguments published with facebookresearch/dino): 400
epochs, batch 1024, learning rate 7.5e-4 per 256, 10 local crops, teacher temperature 0.04 to 0.07
over 50 epochs, per-array clipping at 0.3, last layer frozen for 3 epochs.
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


def _critters() -> ConfigDict:
    config = critters_config("dino")
    config.views.pair = ConfigDict(CRITTERS_PAIR | {"scale": (0.25, 1.0)})
    config.views.local = ConfigDict(CRITTERS_LOCAL | {"scale": (0.1, 0.4)})
    distill_critters(config)
    return config


def _imagenet() -> ConfigDict:
    config = imagenet_config("dino")
    config.views.pair = ConfigDict(IMAGENET_PAIR | {"scale": (0.25, 1.0)})
    config.views.local = ConfigDict(IMAGENET_LOCAL | {"scale": (0.05, 0.25)})
    distill_imagenet(config)
    config.projector.out = 65536
    return config
