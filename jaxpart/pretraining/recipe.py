"""What the pretraining configurations share: fields, variants, and the architecture they describe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError
from jaxpart.pretraining.decoders import DecoderConfig

_BASE = {
    "stem": "patch",
    "pooled_norm": False,
    "image_size": (224, 224),
    "patch_size": 16,
    "width": 768,
    "depth": 12,
    "num_heads": 12,
    "mlp_width": 3072,
}
"""ViT-B/16."""

PATCH_VALUES = {"mae": "out", "beit": "codebook", "cae": "codebook"}
"""The decoder's field that is the number of values in a patch of pixels, by method."""


def critters_config(method: str) -> ConfigDict:
    """The small encoder on the bundled data set.

    All methods see the same images, all but DeiT's enlarged at random: photographs show objects at all
    distances, critters at only one.
    """
    config = ConfigDict()
    config.method = method
    config.seed = 0

    config.data = ConfigDict()
    config.data.name = "critters"
    config.data.root = ""  # imagenet: the folder that holds train/
    config.data.num_images = 20000  # critters
    config.data.image_size = 96  # views are cropped from squares of this side
    config.data.zoom = 5.0  # largest factor by which an image is enlarged before cropping
    config.data.seed = 0
    config.data.version = 2  # critters

    config.encoder = ConfigDict()  # fields of ViTConfig; the rest are the small encoder's
    config.projector = ConfigDict()  # fields of ProjectorConfig, likewise
    config.decoder = ConfigDict()  # fields of DecoderConfig; empty without a decoder

    config.epochs = 4
    config.warmup_epochs = 1
    config.batch_size = 64
    config.drop_path = 0.0

    config.optimizer = ConfigDict()
    config.optimizer.lr = 4e-3  # per 256 images of a batch
    config.optimizer.end_lr = 1e-6
    config.optimizer.b2 = 0.999
    config.optimizer.weight_decay = 0.05
    config.optimizer.end_weight_decay = 0.05  # along a cosine
    config.optimizer.decay = "kernels"  # or "all"
    config.optimizer.clip = ""  # or "global", "array"
    config.optimizer.clip_norm = 3.0

    config.views = ConfigDict()  # fields of ViewConfig by kind of view
    config.objective = ConfigDict()  # the method's own

    config.validation = ConfigDict()
    config.validation.points = 20  # validations of the encoder, evenly spaced
    config.validation.images = 1080  # critters

    config.log_every = 1  # steps
    config.checkpoint_seconds = 60.0
    return config


def imagenet_config(method: str) -> ConfigDict:
    """ViT-B/16 on ImageNet-1k; the method's file adds its published recipe."""
    config = critters_config(method)
    config.data.name = "imagenet"
    config.data.image_size, config.data.zoom = 256, 1.0
    config.encoder = ConfigDict(_BASE)
    config.validation.points = 0  # it has no part labels
    config.log_every = 50
    config.checkpoint_seconds = 600.0
    return config


CRITTERS_VIEW = {
    "size": 96,
    "turn": 30.0,
    "jitter": (0.2, 0.4, 0.2, 0.5),
    "jitter_chance": 1.0,
    "gray": 0.5,
    "invert": 0.5,
}
"""A view of critters, without its scale, in any hue and brightness: colours reveal nothing of parts."""
CRITTERS_PAIR = CRITTERS_VIEW | {"size": 80}
"""The two views of critters in MoCo v3, DINO and iBOT: 25 patches instead of 36."""
IMAGENET_PAIR = {
    "size": 224,
    "jitter": (0.4, 0.4, 0.2, 0.1),
    "jitter_chance": 0.8,
    "gray": 0.2,
    "blur": (1.0, 0.1),
    "blur_sigma": (0.1, 2.0),
    "solarize": (0.0, 0.2),
}
"""The two views of photographs in MoCo v3, DINO and iBOT, without their scale."""

CRITTERS_LOCAL = CRITTERS_VIEW | {"size": 48}
IMAGENET_LOCAL = IMAGENET_PAIR | {"size": 96, "blur": 0.5, "solarize": 0.0}
"""The small crops of DINO and iBOT, without their scale."""


def distill_critters(config: ConfigDict) -> None:
    """Sets what DINO and iBOT share on critters.

    At twice the learning rate and a momentum of 0.98, the teacher's outputs gradually lose information
    about the image.
    """
    _distill(config)
    config.optimizer.lr = 1e-3
    config.optimizer.end_weight_decay = 0.04
    config.objective.momentum = 0.99
    config.objective.local_crops = 2
    config.objective.teacher_temperature = (0.04, 0.04, 1)  # from, to, epochs
    config.objective.freeze_last_layer_epochs = 1


def distill_imagenet(config: ConfigDict) -> None:
    """Sets what DINO's and iBOT's published recipes share."""
    _distill(config)
    config.optimizer.lr, config.optimizer.end_lr = 7.5e-4, 2e-6
    config.objective.local_crops = 10
    config.objective.teacher_temperature = (0.04, 0.07, 50)
    config.objective.freeze_last_layer_epochs = 3
    config.projector.update(hidden=(2048, 2048), bottleneck=256)
    config.epochs, config.warmup_epochs, config.batch_size = 400, 10, 1024
    config.drop_path = 0.1


def _distill(config: ConfigDict) -> None:
    config.optimizer.weight_decay, config.optimizer.end_weight_decay = 0.04, 0.4
    config.optimizer.clip, config.optimizer.clip_norm = "array", 0.3
    config.objective.momentum = 0.996


def architecture(config: Any) -> tuple[ViTConfig, DecoderConfig | None]:
    """The encoder and decoder of a configuration: the method's small ones, with its overrides.

    Raises:
      JaxpartError: The encoder's projector would receive a different input than in training.
    """
    encoder = small_config(config.method)
    if encoder.projector is not None:
        projector = dataclasses.replace(encoder.projector, **dataclass_arguments(config.projector))
        encoder = dataclasses.replace(encoder, projector=projector)
    encoder = dataclasses.replace(encoder, **dataclass_arguments(config.encoder))
    if encoder.pooled_norm and config.method != "deit":
        raise JaxpartError(
            f"config.encoder.pooled_norm is True, but {config.method} trains the projector on the cls "
            f"token, not on pooled patches; leave it False"
        )
    overrides = dataclass_arguments(config.decoder)
    if not overrides:
        return encoder, None
    common: dict[str, Any] = {
        "grid": encoder.grid,
        "width": encoder.width,
        "num_heads": encoder.num_heads,
    }
    if name := PATCH_VALUES.get(config.method):
        common[name] = 3 * encoder.patch_size**2
    return encoder, DecoderConfig(**{"kind": config.method, **common, **overrides})


def dataclass_arguments(section: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's section as arguments of a dataclass: lists become tuples."""
    return {
        name: tuple(value) if isinstance(value, (tuple, list)) else value
        for name, value in dict(section).items()
    }
