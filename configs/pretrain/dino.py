"""DINO on critters: crops of an image get the teacher's answer, small crops too.

    python -m jaxpart.pretraining --config configs/pretrain/dino.py --workdir runs/dino

`:imagenet` states the recipe of ViT-B/16 (arguments published with facebookresearch/dino): 400
epochs, batch 1024, learning rate 7.5e-4 per 256, 10 local crops, teacher temperature 0.04 to 0.07
over 50 epochs, clipping of each array at 0.3, last layer still for 3 epochs.
"""

from ml_collections import ConfigDict

from jaxpart.pretraining.recipe import distill, local_view, pair_of_views, pretrain_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "imagenet"."""
    config, imagenet = pretrain_config("dino", variant)
    config.views.pair = ConfigDict(pair_of_views(imagenet, scale=(0.25, 1.0)))
    config.views.local = ConfigDict(local_view(imagenet, scale=(0.05, 0.25)))
    distill(config, imagenet=imagenet)
    if imagenet:
        config.projector.out = 65536
    return config
