"""What the families share: the description of a family, and the rules of the blocks."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from convert.rules import Ignore, Rule
from jaxpart.encoders.architecture import ViTConfig
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
    """

    num_heads: int | None = None
    image_size: tuple[int, int] | None = None
    layout: str = "original"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Whose names a checkpoint uses: renaming makes them those of the family's rule table.

    Attributes:
      roots: Where its releases keep the network, the preferred place first.
      ignored: What is left out, renamed keys relative to `Root.path`.
      renames: Regular expressions and what takes the place of their match, one after the other, on
        keys relative to `Root.path`.
      fields: What its implementation computes differently, as fields of `ViTConfig`.
    """

    roots: tuple[Root, ...] = (Root(""),)
    ignored: tuple[Ignore, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
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


def same(array: np.ndarray) -> np.ndarray:
    """The array as it is."""
    return array


def linear(weight: np.ndarray) -> np.ndarray:
    """PyTorch's [out, in] as Flax's [in, out]."""
    return weight.T


def convolution(weight: np.ndarray) -> np.ndarray:
    """PyTorch's [out, in, height, width] as Flax's [height, width, in, out]."""
    return weight.transpose(2, 3, 1, 0)


def patch_projection(weight: np.ndarray) -> np.ndarray:
    """A patch embedding [out, 3, side, side] as a linear map [side · side · 3, out]."""
    return convolution(weight).reshape(-1, weight.shape[0])


def weight_norm(g: np.ndarray, v: np.ndarray) -> np.ndarray:
    """g · v / ‖v‖ over each output row, as Flax's [in, out]."""
    v = v.astype(np.float64)
    return (g * v / np.linalg.norm(v, axis=1, keepdims=True)).T


def tokens(*arrays: np.ndarray) -> np.ndarray:
    """[1, n, width], [n, width] and [width] arrays as one [tokens, width]."""
    return np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])


def stacked_linear(*weights: np.ndarray) -> np.ndarray:
    """Several [out, in] as one [in, outs]."""
    return np.concatenate(weights).T


def stacked(*biases: np.ndarray) -> np.ndarray:
    """Several [out] as one [outs]."""
    return np.concatenate(biases)


def layer(source: str, target: str, *, bias: bool = True) -> list[Rule]:
    """Rules of a linear layer."""
    rules = [Rule((f"{source}.weight",), f"{target}.kernel", linear)]
    return rules + [Rule((f"{source}.bias",), f"{target}.bias", same)] * bias


def norm(source: str, target: str) -> list[Rule]:
    """Rules of a LayerNorm."""
    return [
        Rule((f"{source}.weight",), f"{target}.scale", same),
        Rule((f"{source}.bias",), f"{target}.bias", same),
    ]


def batch_norm(source: str, target: str, *, affine: bool = True) -> list[Rule]:
    """Rules of a BatchNorm with its running statistics."""
    return norm(source, target) * affine + [
        Rule((f"{source}.running_mean",), f"{target}.mean", same),
        Rule((f"{source}.running_var",), f"{target}.var", same),
    ]


def qkv_rules(source: str, target: str, bias: str) -> list[Rule]:
    """Rules of the query, key and value projection: one matrix, or three that become one."""
    split = [f"{source}.{name}_proj" for name in "qkv"]
    rules = layer(f"{source}.qkv", f"{target}.qkv", bias=bias == "qkv")
    rules.append(Rule(tuple(f"{k}.weight" for k in split), f"{target}.qkv.kernel", stacked_linear))
    if bias == "qkv":
        rules.append(Rule(tuple(f"{k}.bias" for k in split), f"{target}.qkv.bias", stacked))
    if bias == "qv":
        for name in "qv":
            for key in (f"{source}.{name}_bias", f"{source}.{name}_proj.bias"):
                rules.append(Rule((key,), f"{target}.{name}_bias", same))
    return rules


def vit_rules(config: ViTConfig) -> list[Rule]:
    """Rules of the encoder itself, in the names that all families took over from timm."""
    prefix = tuple(f"{name}_token" for name in config.prefix)
    rules = [Rule(prefix, "prefix_tokens", tokens)]
    if config.positions != "none":
        rules.append(Rule(("pos_embed",), "positions", tokens))
    if config.stem == "patch":
        rules += [
            Rule(("patch_embed.proj.weight",), "stem.projection.kernel", patch_projection),
            Rule(("patch_embed.proj.bias",), "stem.projection.bias", same),
        ]
    rules += norm("blocks.{i}.norm1", "blocks.{i}.norm1")
    rules += norm("blocks.{i}.norm2", "blocks.{i}.norm2")
    rules += qkv_rules("blocks.{i}.attn", "blocks.{i}.attention", config.qkv_bias)
    rules += layer("blocks.{i}.attn.proj", "blocks.{i}.attention.out")
    rules += layer("blocks.{i}.mlp.fc1", "blocks.{i}.mlp.fc1")
    rules += layer("blocks.{i}.mlp.fc2", "blocks.{i}.mlp.fc2")
    if config.layer_scale:
        rules.append(Rule(("blocks.{i}.gamma_1",), "blocks.{i}.scale1", same))
        rules.append(Rule(("blocks.{i}.gamma_2",), "blocks.{i}.scale2", same))
    if config.final_norm:
        rules += norm("norm", "norm")
    return rules


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
    width = shape(arrays, "cls_token")[-1]
    num_heads = options.num_heads or heads.get(width)
    if num_heads is None:
        raise JaxpartError(
            f"the number of attention heads cannot be read off the arrays, and width {width} is none "
            f"of the released sizes; pass --num-heads"
        )
    stem = shape(arrays, "patch_embed.proj.weight") if "patch_embed.proj.weight" in arrays else None
    return {
        "width": width,
        "depth": sum(key.startswith("blocks.") and key.endswith(".norm1.weight") for key in arrays),
        "num_heads": num_heads,
        "mlp_width": shape(arrays, "blocks.0.mlp.fc1.weight")[0],
        "patch_size": stem[-1] if stem else 16,
        "layer_scale": "blocks.0.gamma_1" in arrays,
        "qkv_bias": _qkv_bias(arrays),
    }


def _qkv_bias(arrays: Arrays) -> str:
    """ "qkv" where the key has a bias too, one matrix or three; else "qv"."""
    first = "blocks.0.attn"
    with_key = f"{first}.qkv.bias" in arrays or f"{first}.k_proj.bias" in arrays
    return "qkv" if with_key else "qv"


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
        patches -= len(fields.get("prefix", ("cls",)))
    size = image_size_of(patches, fields["patch_size"], options)
    return fields | {"image_size": size, "prefix_positions": of_prefix}
