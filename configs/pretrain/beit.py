"""BEiT on critters: predicts the k-means tokens of hidden blocks of patches.

    python -m jaxpart.pretraining --config configs/pretrain/beit.py --workdir runs/beit

`:imagenet` is the recipe of the base model (microsoft/unilm/beit, `get_started_for_image_
classification.md`): 800 epochs, batch 2048, learning rate 1.5e-3, 75 of 196 patches hidden in blocks
of at least 16, colour jitter 0.4, stochastic depth 0.1. The tokens are k-means centres of 16 × 16
pixels; the original's are those of OpenAI's discrete VAE, which cannot be distributed here.
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
    config = critters_config("beit")
    config.views.view = ConfigDict(CRITTERS_VIEW | {"scale": (0.2, 1.0)})
    config.objective.mask_share = 75.5 / 196
    config.objective.smallest_block = 4
    config.decoder.update(out=128)
    return config


def _imagenet() -> ConfigDict:
    config = imagenet_config("beit")
    jitter = {"jitter": (0.4, 0.4, 0.4, 0.0), "jitter_chance": 1.0}
    config.views.view = ConfigDict({"size": 224, "scale": (0.08, 1.0)} | jitter)
    config.objective.mask_share = 75.5 / 196
    config.objective.smallest_block = 16
    config.decoder.update(out=8192)
    config.epochs, config.warmup_epochs, config.batch_size = 800, 10, 2048
    config.optimizer.lr, config.optimizer.end_lr = 1.5e-3 / 8, 1e-5
    config.optimizer.clip = "global"
    config.drop_path = 0.1
    return config
