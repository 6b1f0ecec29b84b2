"""What the families share: the description of a family, and what is read off its arrays."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from convert.rules import Ignore, Rule
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.projectors import ProjectorConfig
from jaxpart.errors import JaxpartError

Arrays = Mapping[str, Any]
"""Values of a checkpoint by their key below some root."""

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Attention heads by width, tiny to huge."""

CONTAINER = tuple(
    Ignore(pattern, reason)
    for key, reason in {
        "optimizer": "optimiser state",
        "scaler": "state of the loss scaling",
        "fp16_scaler": "state of the loss scaling",
        "epoch": "training progress",
        "args": "command line of the training run",
        "arch": "name of the architecture",
    }.items()
    for pattern in (key, f"{key}.*")
)
"""What releases hold beside their weights."""


@dataclasses.dataclass(frozen=True)
class Root:
    """Where a release keeps its network.

    Attributes:
      key: Top-level key that holds the state dict, "" where the file is the state dict.
      encoder: Prefix of the encoder's keys below it, once they are renamed (see `Layout`).
      projector: Prefix of the projector's keys below it; "" where there is none.
    """

    key: str
    encoder: str = ""
    projector: str = ""

    @property
    def path(self) -> str:
        """Prefix of everything below `key`."""
        return f"{self.key}." if self.key else ""


@dataclasses.dataclass(frozen=True)
class Options:
    """What the user says beside the checkpoint.

    Attributes:
      num_heads: Attention heads, where the family's table is not to be followed.
      image_size: (height, width) in pixels that the encoder shall be made for.
      layout: Whose names the checkpoint uses: "original", "timm" or "transformers".
      with_decoder: Whether what stands behind the encoder in pretraining is converted too.
      decoder_num_heads: Attention heads of MAE's decoder, where the table is not to be followed.
    """

    num_heads: int | None = None
    image_size: tuple[int, int] | None = None
    layout: str = "original"
    with_decoder: bool = False
    decoder_num_heads: int | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
    """Whose names a checkpoint uses: renaming makes them those of the family's rule table.

    Attributes:
      roots: Where its releases keep the network, the preferred place first.
      ignored: What is left out, renamed keys relative to `Root.path`.
      renames: Regular expressions and what takes the place of their match, one after the other, on
        keys relative to `Root.path`.
      reorient: (renamed key, array) → the array as PyTorch would hold it; no copy.
      fields: What its implementation computes differently, as fields of `ViTConfig`.
    """

    roots: tuple[Root, ...] = (Root(""),)
    ignored: tuple[Ignore, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    reorient: Callable[[str, Any], Any] = lambda name, value: value
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def rename(self, key: str) -> str:
        """The family's name of a key relative to `Root.path`."""
        for pattern, replacement in self.renames:
            key = re.sub(pattern, replacement, key)
        return key


@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of checkpoint.

    Attributes:
      name: As the user gives it, "ibot".
      layouts: "original", and whatever else its weights are published or kept in.
      architecture: (encoder arrays, projector arrays, options) → the encoder's configuration.
      rules: Configuration → rules, keys relative to the encoder and to the projector.
      sign: Key, relative to the encoder, by which its place in a file is known.
    """

    name: str
    layouts: Mapping[str, Layout]
    architecture: Callable[[Arrays, Arrays, Options], ViTConfig]
    rules: Callable[[ViTConfig], tuple[list[Rule], list[Rule]]]
    sign: str = "cls_token"

    def layout(self, name: str) -> Layout:
        """The layout of that name. Raises `JaxpartError` if the family has none."""
        if name not in self.layouts:
            raise JaxpartError(
                f"there is no {name!r} layout of {self.name}; choose among {', '.join(self.layouts)}"
            )
        return self.layouts[name]


def classifier(arrays: Arrays) -> ProjectorConfig | None:
    """The linear classifier that the arrays hold, if any."""
    if "head.weight" not in arrays:
        return None
    return ProjectorConfig(
        "classifier", out=shape(arrays, "head.weight")[0], bias="head.bias" in arrays
    )


def shape(arrays: Arrays, key: str) -> tuple[int, ...]:
    """Shape of an array. Raises `JaxpartError` if it is not there."""
    if not isinstance(arrays.get(key), np.ndarray):
        raise JaxpartError(f"the array {key} is missing")
    return arrays[key].shape


def read_vit(
    arrays: Arrays, options: Options, *, heads: Mapping[int, int] = HEADS
) -> dict[str, Any]:
    """Fields of `ViTConfig` that can be read off the encoder's arrays, but positions.

    Raises:
      JaxpartError: An array is missing, or the number of heads is not known.
    """
    width = shape(arrays, "blocks.0.norm1.weight")[-1]
    num_heads = options.num_heads or heads.get(width)
    if num_heads is None:
        raise JaxpartError(
            f"the number of attention heads cannot be read off the arrays, and width {width} is none "
            f"of the released sizes; pass --num-heads"
        )
    stem = arrays.get("patch_embed.proj.weight")
    side = 16
    if stem is not None:
        side = math.isqrt(stem.shape[-1] // 3) if stem.ndim == 2 else stem.shape[-1]
    registers = shape(arrays, "register_tokens")[-2] if "register_tokens" in arrays else 0
    prefix = ("cls",) if "cls_token" in arrays else ()
    return {
        "prefix": (*prefix, *(f"register{i + 1}" for i in range(registers))),
        "width": width,
        "depth": sum(key.startswith("blocks.") and key.endswith(".norm1.weight") for key in arrays),
        "num_heads": num_heads,
        "mlp_width": shape(arrays, "blocks.0.mlp.fc2.weight")[-1],
        "patch_size": side,
        "layer_scale": "blocks.0.gamma_1" in arrays,
        "qkv_bias": _qkv_bias(arrays),
    }


def _qkv_bias(arrays: Arrays) -> str:
    """ "qkv" where the key has a bias too, one matrix or three; else "qv" or "none"."""
    first = "blocks.0.attn"
    if f"{first}.qkv.bias" in arrays or f"{first}.k_proj.bias" in arrays:
        return "qkv"
    return "qv" if f"{first}.q_bias" in arrays or f"{first}.q_proj.bias" in arrays else "none"


def image_size_of(patches: int, patch_size: int, options: Options) -> tuple[int, int]:
    """Pixels that stored positions belong to: a square grid, or the one that the user names.

    Raises:
      JaxpartError: The number of patches is no square and the user's image size does not fit.
    """
    side = math.isqrt(patches)
    if side * side == patches:
        return side * patch_size, side * patch_size
    if options.image_size is not None:
        height, width = options.image_size
        if height // patch_size * (width // patch_size) == patches:
            return height, width
    raise JaxpartError(
        f"the {patches} stored patch positions do not form a square; pass the --image-size HxW that "
        f"the encoder was trained at"
    )


def read_positions(
    arrays: Arrays, fields: dict[str, Any], options: Options, *, of_prefix: bool = True
) -> dict[str, Any]:
    """`fields` with the image size read off `pos_embed`, which has slots of the prefix or not."""
    patches = shape(arrays, "pos_embed")[-2]
    if of_prefix:
        patches -= sum(not name.startswith("register") for name in fields["prefix"])
    size = image_size_of(patches, fields["patch_size"], options)
    return fields | {"image_size": size, "prefix_positions": of_prefix}
