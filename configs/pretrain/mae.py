"""MAE on critters: reconstructs the pixels of three quarters of the patches from the rest.

    python -m jaxpart.pretraining --config configs/pretrain/mae.py --workdir runs/mae

`:imagenet` is the recipe of ViT-B (facebookresearch/mae, `PRETRAIN.md`): 1600 epochs, batch
4096, learning rate 1.5e-4 per 256, b2 0.95, decoder of 8 blocks of width 512, normalised targets.
"""

from ml_collections import ConfigDict

from jaxpart.config import variant_of
from jaxpart.pretraining.recipe import (
    CRITTERS_VIEW,
    critters_config,
    imagenet_config,
)


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "imagenet"."""
    return _imagenet() if variant_of(variant, ["imagenet"]) else _critters()


def _critters() -> ConfigDict:
    config = critters_config("mae")
    config.views.view = ConfigDict(CRITTERS_VIEW | {"scale": (0.2, 1.0)})
    config.optimizer.b2 = 0.95
    config.epochs = 6
    config.objective.mask_share = 0.75
    config.decoder.update(width=64, num_heads=4, mlp_width=256, depth=2)
    return config


def _imagenet() -> ConfigDict:
    config = imagenet_config("mae")
    config.views.view = ConfigDict({"size": 224, "scale": (0.2, 1.0)})
    config.optimizer.b2 = 0.95
    config.objective.mask_share = 0.75
    config.decoder.update(width=512, num_heads=16, mlp_width=2048, depth=8)
    config.epochs, config.warmup_epochs, config.batch_size = 1600, 40, 4096
    config.optimizer.lr, config.optimizer.end_lr = 1.5e-4, 0.0
    return config
