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
    """A patch embedding [out, 3, side, side], or already [out, side · side · 3], as a linear map."""
    if weight.ndim == 2:
        return weight.T
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


def without_registers(registers: int) -> Callable[[np.ndarray], np.ndarray]:
    """Positions of cls and patches as those of cls, registers (zero: they have none) and patches."""
    return lambda positions: np.insert(tokens(positions), [1] * registers, 0, axis=0)


def layer(source: str, target: str, *, bias: bool = True) -> list[Rule]:
    """Rules of a linear layer."""
    rules = [Rule((f"{source}.weight",), f"{target}.kernel", linear)]
    return rules + [Rule((f"{source}.bias",), f"{target}.bias", same)] * bias


def norm(source: str, target: str, *, bias: bool = True) -> list[Rule]:
    """Rules of a LayerNorm, or of an RMSNorm, which has no bias."""
    rules = [Rule((f"{source}.weight",), f"{target}.scale", same)]
    return rules + [Rule((f"{source}.bias",), f"{target}.bias", same)] * bias


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


def mlp_rules(source: str, target: str, config: ViTConfig) -> list[Rule]:
    """Rules of an MLP; the two halves of a gated one lie in one matrix or in two."""
    rules = layer(f"{source}.fc1", f"{target}.fc1", bias=config.biases)
    if config.gated_mlp:
        halves = f"{source}.fc1_g", f"{source}.fc1_x"
        for kind, transform in (("weight", stacked_linear), ("bias", stacked)):
            path = f"{target}.fc1.{'kernel' if kind == 'weight' else 'bias'}"
            rules.append(Rule(tuple(f"{half}.{kind}" for half in halves), path, transform))
    if config.mlp_norm:
        rules += norm(f"{source}.norm", f"{target}.norm")
    return rules + layer(f"{source}.fc2", f"{target}.fc2", bias=config.biases)


def embedding_rules(config: ViTConfig) -> list[Rule]:
    """Rules of everything before the first block."""
    registers = sum(name.startswith("register") for name in config.prefix)
    prefix = [f"{name}_token" for name in config.prefix if not name.startswith("register")]
    rules = []
    if prefix:
        prefix += ["register_tokens"] * bool(registers)
        rules.append(Rule(tuple(prefix), "prefix_tokens", tokens))
    if config.positions != "none":
        spared = registers and config.prefix_positions
        transform = without_registers(registers) if spared else tokens
        rules.append(Rule(("pos_embed",), "positions", transform))
    if config.stem == "patch":
        kernel = "stem.projection.kernel"
        rules.append(Rule(("patch_embed.proj.weight",), kernel, patch_projection))
        if config.stem_bias:
            rules.append(Rule(("patch_embed.proj.bias",), "stem.projection.bias", same))
    if config.stem_norm:
        rules += norm("patch_embed.norm", "stem_norm", bias=config.norm == "layer")
    if config.pre_norm:
        rules += norm("norm_pre", "pre_norm", bias=config.norm == "layer")
    return rules


def vit_rules(config: ViTConfig) -> list[Rule]:
    """Rules of the encoder itself, in the names that all families took over from timm."""
    source, target = "blocks.{i}", "blocks.{i}"
    biased = config.norm == "layer"
    rules = embedding_rules(config)
    rules += norm(f"{source}.norm1", f"{target}.norm1", bias=biased)
    rules += norm(f"{source}.norm2", f"{target}.norm2", bias=biased)
    rules += qkv_rules(f"{source}.attn", f"{target}.attention", config.qkv_bias)
    if config.attention_norm:
        rules += norm(f"{source}.attn.norm", f"{target}.attention.norm", bias=biased)
    rules += layer(f"{source}.attn.proj", f"{target}.attention.out", bias=config.biases)
    rules += mlp_rules(f"{source}.mlp", f"{target}.mlp", config)
    if config.layer_scale:
        rules.append(Rule((f"{source}.gamma_1",), f"{target}.scale1", same))
        rules.append(Rule((f"{source}.gamma_2",), f"{target}.scale2", same))
    if config.final_norm:
        rules += norm("norm", "norm", bias=biased)
    if config.pooled_norm:
        rules += norm("fc_norm", "pooled_norm", bias=biased)
    return rules


def plain_rules(config: ViTConfig) -> tuple[list[Rule], list[Rule]]:
    """Rules of an encoder with at most a linear classifier behind it."""
    return vit_rules(config) + classifier_rules(config), []


def classifier_rules(config: ViTConfig) -> list[Rule]:
    """Rules of a linear classifier of the cls or pooled token, if there is one."""
    if config.projector is None:
        return []
    return layer("head", "projector.heads.0", bias=config.projector.bias)


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
