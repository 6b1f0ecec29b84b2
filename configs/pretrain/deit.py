"""DeiT (supervised) on critters: the classifier is the encoder's projection.

    python -m jaxpart.pretraining --config configs/pretrain/deit.py --workdir runs/deit

`:imagenet` states the recipe of DeiT-B (facebookresearch/deit, `main.py`): 300 epochs, batch 1024,
learning rate 5e-4 per 512, RandAugment 9, erasing 0.25, mixup 0.8, CutMix 1, smoothing 0.1,
stochastic depth 0.1. Repeated augmentation (each image three times in a batch) is left out.
"""

from ml_collections import ConfigDict

from jaxpart.pretraining.recipe import pretrain_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "imagenet"."""
    config, imagenet = pretrain_config("deit", variant)
    config.views.view = ConfigDict({"size": 224 if imagenet else 64, "scale": (0.08, 1.0)})
    config.objective.rand_augment = 9.0
    config.objective.rand_augment_layers = 2
    config.objective.erase = 0.25
    config.objective.mixup = 0.8
    config.objective.cutmix = 1.0
    config.objective.smoothing = 0.1
    if imagenet:
        config.projector.out = 1000
        config.epochs, config.warmup_epochs, config.batch_size = 300, 5, 1024
        config.optimizer.lr, config.optimizer.end_lr = 2.5e-4, 1e-5
        config.drop_path = 0.1
    return config
