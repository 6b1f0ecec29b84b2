"""iBOT on critters: DINO, and the teacher's answer for every hidden patch.

    python -m jaxpart.pretraining --config configs/pretrain/ibot.py --workdir runs/ibot

Faster, or with a teacher at a temperature of 0.04, the small encoder soon tells no images apart.

`:imagenet` states the recipe of ViT-B/16 with block masks (bytedance/ibot): 400 epochs, batch 1024,
learning rate 7.5e-4 per 256, 10 local crops, one last layer of 8192 for cls and patches, masks of no
or 30 ± 20 % of the patches, teacher temperature 0.04 to 0.07 over 50 epochs. For random masks:
--config.objective.mask=random --config.objective.mask_shares="(0.0, 0.65)"
--config.objective.mask_deviations="(0.0, 0.05)".
"""

from ml_collections import ConfigDict

from jaxpart.pretraining.recipe import local_view, pair_of_views, pretrain_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "imagenet"."""
    config, imagenet = pretrain_config("ibot", variant)
    config.views.pair = ConfigDict(pair_of_views(imagenet, scale=(0.32, 1.0)))
    config.views.local = ConfigDict(local_view(imagenet, scale=(0.05, 0.32)))
    config.decoder.out = 0
    config.optimizer.lr = 5e-4
    config.optimizer.weight_decay, config.optimizer.end_weight_decay = 0.04, 0.4
    config.optimizer.clip, config.optimizer.clip_norm = "array", 0.3
    config.objective.momentum = 0.996
    config.objective.local_crops = 10 if imagenet else 2
    config.objective.teacher_temperature = (0.04, 0.07, 50) if imagenet else (0.02, 0.02, 1)
    config.objective.freeze_last_layer_epochs = 3 if imagenet else 1
    config.objective.mask = "block"  # or "random"
    config.objective.mask_shares = (0.0, 0.3)
    config.objective.mask_deviations = (0.0, 0.2)
    if imagenet:
        # patch_out 0: the head is shared
        config.projector.update(hidden=(2048, 2048), bottleneck=256, out=8192, patch_out=0)
        config.epochs, config.warmup_epochs, config.batch_size = 400, 10, 1024
        config.optimizer.lr, config.optimizer.end_lr = 7.5e-4, 2e-6
        config.drop_path = 0.1
    return config
