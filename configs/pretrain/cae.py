"""CAE on critters: predicts representations and tokens of hidden patches from the visible ones.

    python -m jaxpart.pretraining --config configs/pretrain/cae.py --workdir runs/cae

`:imagenet` is the recipe of the base model (Atten4Vis/CAE, `scripts/cae_base_800e.sh`, with 1600
epochs as in the paper): batch 2048, learning rate 1.5e-3, 98 of 196 patches hidden in blocks,
regressor and decoder of 4 blocks each, alignment weight 2, stochastic depth 0.1. The tokens are
k-means centres of 16 × 16 pixels; the original's are those of OpenAI's discrete VAE, which cannot be
distributed here.
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
    config = critters_config("cae")
    config.views.view = ConfigDict(CRITTERS_VIEW | {"scale": (0.2, 1.0)})
    config.objective.mask_share = 0.5
    config.objective.smallest_block = 4
    config.decoder.update(out=128)
    config.decoder.update(depth=1, mlp_width=64, regressor_depth=1, regressor_mlp_width=64)
    return config


def _imagenet() -> ConfigDict:
    config = imagenet_config("cae")
    config.views.view = ConfigDict({"size": 224, "scale": (0.08, 1.0)})
    config.objective.mask_share = 0.5
    config.objective.smallest_block = 4
    config.decoder.update(out=8192)
    config.decoder.update(depth=4, mlp_width=3072, regressor_depth=4, regressor_mlp_width=3072)
    config.epochs, config.warmup_epochs, config.batch_size = 1600, 20, 2048
    config.optimizer.lr, config.optimizer.end_lr = 1.5e-3 / 8, 1e-5
    config.optimizer.clip = "global"
    config.drop_path = 0.1
    return config
