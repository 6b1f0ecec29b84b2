"""What the pretraining configurations share: fields, variants, and the architecture they describe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxpart.config import variant_of
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError
from jaxpart.pretraining.decoders import DecoderConfig
from jaxpart.runs.config_rules import (
    COUNT,
    COUNT_OR_NONE,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    TEXT,
    Rule,
    check_fields,
    one_of,
)

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

RULES = {
    "method": TEXT,
    "seed": SEED,
    "data.name": one_of("critters", "imagenet"),
    "data.root": TEXT,
    "data.num_images": COUNT,
    "data.image_size": COUNT,
    "data.zoom": Rule("number", low=1),
    "data.seed": SEED,
    "data.version": Rule("whole", low=1, high=2),
    "epochs": COUNT,
    "warmup_epochs": COUNT_OR_NONE,
    "batch_size": COUNT,
    "drop_path": Rule("number", low=0, below=1),
    "optimizer.lr": POSITIVE,
    "optimizer.end_lr": NOT_NEGATIVE,
    "optimizer.b2": Rule("number", low=0, below=1),
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.end_weight_decay": NOT_NEGATIVE,
    "optimizer.decay": one_of("kernels", "all"),
    "optimizer.clip": one_of("", "global", "array"),
    "optimizer.clip_norm": POSITIVE,
    "log_every": COUNT,
    "validation.points": COUNT_OR_NONE,
    "validation.images": Rule("whole", low=72),
    "checkpoint_seconds": NOT_NEGATIVE,
}
"""Rules for the fields that all methods share, by dotted path."""


def check_recipe(config: Any) -> None:
    """Checks a pretraining configuration.

    Raises:
      JaxpartError: A field's value is invalid.
    """
    if "optimizer" not in config or "views" not in config:
        raise JaxpartError(
            "this is not a pretraining configuration; use one of configs/pretrain, as in --config "
            "configs/pretrain/mae.py"
        )
    check_fields(config, RULES)
    if config.warmup_epochs >= config.epochs:
        raise JaxpartError(
            f"config.warmup_epochs is {config.warmup_epochs}, but there are only {config.epochs} "
            f"epochs; give 0 to {config.epochs - 1}"
        )
    data = config.data
    if data.name == "imagenet" and not data.root:
        raise JaxpartError(
            "the data root is missing: pass --config.data.root=FOLDER, which holds imagenet/train"
        )
    if data.name == "critters" and config.batch_size > data.num_images:
        raise JaxpartError(
            f"config.batch_size is {config.batch_size}, but there are {data.num_images} images; lower "
            f"it, or raise config.data.num_images"
        )
    patch = architecture(config)[0].patch_size
    for name, view in config.views.items():
        _check_view(f"config.views.{name}", view, patch)
    for name, rule in _OBJECTIVE_RULES.items():
        if name in config.objective and (fault := rule.fault(config.objective[name])):
            raise JaxpartError(f"config.objective.{name} {fault}")


_OBJECTIVE_RULES = {
    "mask_share": Rule("number", above=0, below=1),
    "momentum": Rule("number", low=0, high=1),
    "patch_weight": NOT_NEGATIVE,
    "temperature": POSITIVE,
    "local_crops": COUNT_OR_NONE,
    "mixup": NOT_NEGATIVE,
    "cutmix": NOT_NEGATIVE,
    "smoothing": Rule("number", low=0, below=1),
    "erase": Rule("number", low=0, high=1),
}


def _check_view(where: str, view: Any, patch: int) -> None:
    if fault := Rule("whole", low=1, high=4096).fault(view.size):
        raise JaxpartError(f"{where}.size {fault}")
    if view.size % patch:
        raise JaxpartError(
            f"{where}.size is {view.size}, which cannot be cut into patches of {patch} pixels; give a "
            f"multiple"
        )
    share = Rule("number", above=0, high=1)
    scale = view.scale
    if len(scale) != 2 or any(map(share.fault, scale)) or scale[0] > scale[1]:
        raise JaxpartError(
            f"{where}.scale is {tuple(scale)}; give the least and the largest share of an image's area, "
            f"above 0 and at most 1"
        )


def pretrain_config(
    argument: str | None, critters: Callable[[], ConfigDict], imagenet: Callable[[], ConfigDict]
) -> ConfigDict:
    """The variant of a method's configuration selected on the command line.

    Args:
      argument: What follows the colon: nothing, or "imagenet".
      critters: Makes the small experiment.
      imagenet: Makes the published recipe.

    Raises:
      JaxpartError: There is no such variant.
    """
    return imagenet() if variant_of(argument, ["imagenet"]) else critters()


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
    common = {"grid": encoder.grid, "width": encoder.width, "num_heads": encoder.num_heads}
    return encoder, DecoderConfig(**{"kind": config.method, **common, **overrides})


def dataclass_arguments(section: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's section as arguments of a dataclass: lists become tuples."""
    return {
        name: tuple(value) if isinstance(value, (tuple, list)) else value
        for name, value in dict(section).items()
    }
