"""DINO on critters: crops of an image get the teacher's answer, small crops too.

    python -m jaxpart.pretraining --config configs/pretrain/dino.py --workdir runs/dino

Faster, or with a teacher at a temperature of 0.04, the small encoder soon tells no images apart.

`:imagenet` states the recipe of ViT-B/16 (arguments published with facebookresearch/dino): 400
epochs, batch 1024, learning rate 7.5e-4 per 256, 10 local crops, teacher temperature 0.04 to 0.07
over 50 epochs, clipping of each array at 0.3, last layer still for 3 epochs.
"""

from ml_collections import ConfigDict

from jaxpart.pretraining.recipe import local_view, pair_of_views, pretrain_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "imagenet"."""
    config, imagenet = pretrain_config("dino", variant)
    config.views.pair = ConfigDict(pair_of_views(imagenet, scale=(0.25, 1.0)))
    config.views.local = ConfigDict(local_view(imagenet, scale=(0.05, 0.25)))
    config.optimizer.lr = 5e-4
    config.optimizer.weight_decay, config.optimizer.end_weight_decay = 0.04, 0.4
    config.optimizer.clip, config.optimizer.clip_norm = "array", 0.3
    config.objective.momentum = 0.996
    config.objective.local_crops = 10 if imagenet else 2
    config.objective.teacher_temperature = (0.04, 0.07, 50) if imagenet else (0.02, 0.02, 1)
    config.objective.freeze_last_layer_epochs = 3 if imagenet else 1
    if imagenet:
        config.projector.update(hidden=(2048, 2048), bottleneck=256, out=65536)
        config.epochs, config.warmup_epochs, config.batch_size = 400, 10, 1024
        config.optimizer.lr, config.optimizer.end_lr = 7.5e-4, 2e-6
        config.drop_path = 0.1
    return config
