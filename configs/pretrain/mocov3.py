"""MoCo v3 on critters: views of one image agree, those of different images do not.

    python -m jaxpart.pretraining --config configs/pretrain/mocov3.py --workdir runs/mocov3

`:imagenet` is the recipe of ViT-B (facebookresearch/moco-v3, `CONFIG.md`): 300 epochs, batch
4096, learning rate 1.5e-4 per 256, weight decay 0.1 on all parameters, momentum 0.99 to 1,
temperature 0.2, random patch projection.
"""

from ml_collections import ConfigDict

from jaxpart.config import variant_of
from jaxpart.pretraining.recipe import (
    CRITTERS_PAIR,
    IMAGENET_PAIR,
    critters_config,
    imagenet_config,
)


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "imagenet"."""
    return _imagenet() if variant_of(variant, ["imagenet"]) else _critters()


def _critters() -> ConfigDict:
    config = critters_config("mocov3")
    config.views.pair = ConfigDict(CRITTERS_PAIR | {"scale": (0.4, 1.0)})
    _shared(config)
    config.epochs, config.batch_size = 30, 128
    config.optimizer.lr = 2e-3
    # A slow teacher, or a predictor, which the small encoder lacks, needs more steps (docs/pretraining.md).
    config.objective.momentum = 0.5
    return config


def _imagenet() -> ConfigDict:
    config = imagenet_config("mocov3")
    config.views.pair = ConfigDict(IMAGENET_PAIR | {"scale": (0.08, 1.0)})
    _shared(config)
    config.projector.update(hidden=(4096, 4096), out=256, predictor=4096)
    config.epochs, config.warmup_epochs, config.batch_size = 300, 40, 4096
    config.optimizer.lr, config.optimizer.end_lr = 1.5e-4, 0.0
    return config


def _shared(config: ConfigDict) -> None:
    config.optimizer.weight_decay = config.optimizer.end_weight_decay = 0.1
    config.optimizer.decay = "all"
    config.objective.momentum = 0.99
    config.objective.temperature = 0.2
