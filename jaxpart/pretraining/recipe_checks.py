"""The allowed values of the pretraining configurations' fields, and their meanings for --help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.errors import JaxpartError
from jaxpart.pretraining.decoders import DecoderConfig
from jaxpart.pretraining.recipe import PATCH_VALUES, architecture
from jaxpart.runs.config_rules import (
    COUNT,
    COUNT_OR_NONE,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    SWITCH,
    TEXT,
    Field,
    Rule,
    check_fields,
    one_of,
)

_SHARE = Rule("number", low=0, high=1)
_SHARES = Rule("number", low=0, high=1, many=True, length=0)

_VIEWS = {"view": 1, "pair": 2, "local": None}
"""Number of views of a kind per image; None: objective.local_crops."""

_VIEW = {
    "size": (Rule("whole", low=1, high=4096), "side in pixels"),
    "scale": (
        Rule("number", above=0, high=1, many=True, length=2),
        "least and largest share of the image's area",
    ),
    "log_scale": (SWITCH, "draw that share log-uniformly"),
    "turn": (Rule("number", low=0, high=180), "largest rotation in degrees"),
    "flip": (_SHARE, "chance of a horizontal flip"),
    "jitter": (
        Rule("number", low=0, many=True, length=4),
        "strengths of brightness, contrast, saturation and hue",
    ),
    "jitter_chance": (_SHARE, "chance of colour jitter"),
    "gray": (_SHARE, "chance of conversion to greyscale"),
    "blur": (None, "chance of Gaussian blur, 0 to 1; or one for each view of an image"),
    "blur_sigma": (
        Rule("number", above=0, many=True, length=2),
        "least and largest standard deviation in pixels",
    ),
    "solarize": (None, "chance of inverting values above one half; as blur"),
    "invert": (_SHARE, "chance of inverting all values"),
}

FIELDS: Mapping[str, tuple[Rule | None, str]] = {
    "method": (TEXT, "the method to train with"),
    "seed": (SEED, "seed of weights, order, views and masks"),
    "data.name": (one_of("critters", "imagenet"), "the training images"),
    "data.root": (TEXT, "imagenet: the folder that holds imagenet/train"),
    "data.num_images": (COUNT, "critters: number of images"),
    "data.image_size": (COUNT, "side of the squares that views are cropped from"),
    "data.zoom": (Rule("number", low=1), "largest factor by which an image is enlarged first"),
    "data.seed": (SEED, "critters: seed of the animals"),
    "data.version": (Rule("whole", low=1, high=2), "critters: 1, with a colour shortcut; or 2"),
    "encoder.stem": (one_of("patch", "conv"), "patch embedding"),
    "encoder.pooled_norm": (SWITCH, "classify the normalised mean of the patch tokens (DeiT)"),
    "encoder.image_size": (
        Rule("whole", low=1, high=4096, many=True, length=2),
        "height and width for which positions are stored",
    ),
    "encoder.patch_size": (Rule("whole", low=1, high=4096), "side of a patch in pixels"),
    "encoder.width": (COUNT, "channels of a token"),
    "encoder.depth": (COUNT, "number of blocks"),
    "encoder.num_heads": (COUNT, "attention heads of a block"),
    "encoder.mlp_width": (COUNT, "hidden channels of a block's MLP"),
    "projector.hidden": (
        Rule("whole", low=1, high=10**9, many=True, length=0),
        "channels of the projector's hidden layers",
    ),
    "projector.bottleneck": (COUNT, "channels before the projector's last layer"),
    "projector.out": (COUNT, "output channels; DeiT: number of classes"),
    "projector.patch_out": (COUNT_OR_NONE, "iBOT: patches' own output channels; 0: a shared layer"),
    "projector.predictor": (COUNT_OR_NONE, "MoCo v3: hidden channels of the predictor; 0: none"),
    "decoder.out": (COUNT_OR_NONE, "values or tokens predicted per patch"),
    "decoder.codebook": (COUNT_OR_NONE, "pixel values of a token's k-means centre"),
    "decoder.width": (COUNT, "channels of a token in the decoder"),
    "decoder.num_heads": (COUNT, "attention heads of its blocks"),
    "decoder.mlp_width": (COUNT, "hidden channels of its blocks' MLPs"),
    "decoder.depth": (COUNT, "number of its blocks"),
    "decoder.regressor_depth": (COUNT, "CAE: blocks of the regressor"),
    "decoder.regressor_mlp_width": (COUNT, "CAE: hidden channels of their MLPs"),
    "epochs": (COUNT, "passes over the images"),
    "warmup_epochs": (COUNT_OR_NONE, "epochs in which the learning rate rises"),
    "batch_size": (COUNT, "images per step"),
    "drop_path": (Rule("number", low=0, below=1), "stochastic depth"),
    "optimizer.lr": (POSITIVE, "learning rate per 256 images of a batch"),
    "optimizer.end_lr": (NOT_NEGATIVE, "final learning rate"),
    "optimizer.b2": (Rule("number", low=0, below=1), "AdamW's second momentum"),
    "optimizer.weight_decay": (NOT_NEGATIVE, "initial weight decay"),
    "optimizer.end_weight_decay": (NOT_NEGATIVE, "final weight decay, along a cosine"),
    "optimizer.decay": (one_of("kernels", "all"), "parameters that decay"),
    "optimizer.clip": (one_of("", "global", "array"), "clip gradients jointly, or each array's"),
    "optimizer.clip_norm": (POSITIVE, "norm to clip them at"),
    "objective.mask_share": (Rule("number", above=0, below=1), "share of the patches to hide"),
    "objective.smallest_block": (COUNT, "patches of the smallest hidden block"),
    "objective.mask": (one_of("block", "random"), "hide blocks of patches, or random patches"),
    "objective.mask_shares": (_SHARES, "shares of the patches to hide, one drawn per image"),
    "objective.mask_deviations": (_SHARES, "largest deviation from each share"),
    "objective.patch_weight": (NOT_NEGATIVE, "weight of the loss of hidden patches"),
    "objective.momentum": (_SHARE, "initial momentum of the teacher, which rises to 1"),
    "objective.temperature": (POSITIVE, "temperature of the contrastive loss"),
    "objective.local_crops": (COUNT_OR_NONE, "small crops of an image"),
    "objective.teacher_temperature": (
        Rule("number", above=0, many=True, length=3),
        "the teacher's first and last temperature, and the epochs between them",
    ),
    "objective.freeze_last_layer_epochs": (COUNT_OR_NONE, "epochs without training the last layer"),
    "objective.rand_augment": (Rule("number", low=0, high=10), "magnitude of RandAugment; 0: off"),
    "objective.rand_augment_layers": (COUNT, "operations of RandAugment per image"),
    "objective.erase": (_SHARE, "chance of erasing a rectangle"),
    "objective.mixup": (NOT_NEGATIVE, "mixup's alpha; 0: neither mixup nor CutMix"),
    "objective.cutmix": (NOT_NEGATIVE, "CutMix's alpha; 0: off"),
    "objective.smoothing": (Rule("number", low=0, below=1), "label smoothing"),
    "validation.points": (COUNT_OR_NONE, "validations of the encoder, evenly spaced"),
    "validation.images": (Rule("whole", low=72), "critters to validate on"),
    "log_every": (COUNT, "steps between lines of the log"),
    "checkpoint_seconds": (NOT_NEGATIVE, "seconds between checkpoints"),
    **{f"views.{kind}.{name}": field for kind in _VIEWS for name, field in _VIEW.items()},
}
"""By the field's dotted path."""


def field_of(path: str) -> Field:
    """The field with a dotted path; without a rule and a meaning if there is none."""
    return Field(*FIELDS.get(path, ()))


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
    check_fields(config, field_of)
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
    encoder, decoder = architecture(config)
    if decoder is not None:
        _check_decoder(encoder, decoder)
    for kind, view in config.views.items():
        local = config.objective.get("local_crops", 0)
        _check_view(f"config.views.{kind}", view, encoder.patch_size, _VIEWS.get(kind) or local)
    shares, deviations = (
        config.objective.get(name, (0,)) for name in ("mask_shares", "mask_deviations")
    )
    if not shares or len(shares) != len(deviations):
        raise JaxpartError(
            f"config.objective.mask_shares is {shares!r} and mask_deviations is {deviations!r}; give a "
            f"deviation for each share, and at least one of them"
        )


def _check_decoder(encoder: ViTConfig, decoder: DecoderConfig) -> None:
    if decoder.width % decoder.num_heads:
        raise JaxpartError(
            f"config.decoder.num_heads is {decoder.num_heads}, which does not divide its width of "
            f"{decoder.width}; give a divisor"
        )
    pixels = 3 * encoder.patch_size**2
    name = PATCH_VALUES.get(decoder.kind)
    if name and getattr(decoder, name) != pixels:
        raise JaxpartError(
            f"config.decoder.{name} is {getattr(decoder, name)}, but a patch of {encoder.patch_size} "
            f"pixels has {pixels} values; give {pixels}"
        )


def _check_view(where: str, view: Any, patch: int, count: int) -> None:
    if view.size % patch:
        raise JaxpartError(
            f"{where}.size is {view.size}, which cannot be cut into patches of {patch} pixels; give a "
            f"multiple"
        )
    if view.scale[0] > view.scale[1]:
        raise JaxpartError(
            f"{where}.scale is {tuple(view.scale)}; give the least share of an image's area first"
        )
    for name in ("blur", "solarize"):
        chance = view.get(name, 0.0)
        if not isinstance(chance, (tuple, list)):
            fault = _SHARE.fault(chance)
        elif len(chance) != count:
            fault = f"is {chance!r}, but there are {count} such views; give a chance for each"
        else:
            fault = _SHARES.fault(chance)
        if fault:
            raise JaxpartError(f"{where}.{name} {fault}")
