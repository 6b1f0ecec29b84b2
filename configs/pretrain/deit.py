"""DeiT (supervised) on critters: the classifier is the encoder's projection.

    python -m jaxpart.pretraining --config configs/pretrain/deit.py --workdir runs/deit

`:imagenet` is the recipe of DeiT-B (facebookresearch/deit, `main.py`): 300 epochs, batch 1024,
learning rate 5e-4 per 512, RandAugment 9, erasing 0.25, mixup 0.8, CutMix 1, smoothing 0.1,
stochastic depth 0.1. Repeated augmentation (each image three times in a batch) is omitted.
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


_OBJECTIVE = {
    "rand_augment": 9.0,
    "rand_augment_layers": 2,
    "erase": 0.25,
    "mixup": 0.8,
    "cutmix": 1.0,
    "smoothing": 0.1,
}


def _critters() -> ConfigDict:
    config = critters_config("deit")
    # All parts together determine a kind, so views show whole critters and keep their outlines.
    config.data.zoom = 1.0
    overrides = {
        "scale": (0.8, 1.0),
        "turn": 0.0,
        "jitter": (0.0, 0.0, 0.0, 0.5),
        "gray": 0.0,
        "invert": 0.0,
    }
    config.views.view = ConfigDict(CRITTERS_VIEW | overrides)
    config.objective.update(_OBJECTIVE)
    # Regularisation pays off over hundreds of epochs; without mixup there is no CutMix either.
    config.objective.update(rand_augment=0.0, erase=0.0, mixup=0.0)
    config.epochs = 46
    config.optimizer.lr, config.optimizer.b2 = 8e-3, 0.99
    config.optimizer.clip, config.optimizer.clip_norm = "global", 1.0
    return config


def _imagenet() -> ConfigDict:
    config = imagenet_config("deit")
    config.views.view = ConfigDict({"size": 224, "scale": (0.08, 1.0)})
    config.objective.update(_OBJECTIVE)
    config.projector.out = 1000
    config.epochs, config.warmup_epochs, config.batch_size = 300, 5, 1024
    config.optimizer.lr, config.optimizer.end_lr = 2.5e-4, 1e-5
    config.drop_path = 0.1
    return config
