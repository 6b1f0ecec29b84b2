"""Exports an encoder to PyTorch as a state dict with timm's, transformers' or the original names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from convert.arrays import token_parts, torch_name
from convert.family import Family, Layout
from convert.locate import SIBLING
from convert.names import PARAMETERS, Names
from jaxpart.encoders import positions
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.rotary import dinov3_periods
from jaxpart.errors import JaxpartError

WRITTEN = (
    *("deit", "mocov3", "dino", "ibot", "mae", "beit", "cae", "dinov2", "dinov3"),
    *("clip", "openclip", "siglip", "ijepa", "aimv2", "augreg", "vit"),
)
"""Families that can be exported; the names of others depend on the model's size."""

_HEADS = ("projector.", "predictor.")
_MODEL_PREFIX = {"deit": "deit.", "beit": "beit.", "data2vec": "data2vec_vision."}
"""transformers' prefix of the encoder in models with a classifier; "vit." for the others."""


@dataclasses.dataclass(frozen=True)
class StateDict:
    """A state dict for PyTorch.

    Attributes:
      arrays: float32 arrays by their names.
      left_out: Our paths of projector weights for which the layout has no names.
    """

    arrays: Mapping[str, np.ndarray]
    left_out: tuple[str, ...]


def state_dict(
    family: Family, layout_name: str, config: ViTConfig, arrays: Mapping[str, np.ndarray]
) -> StateDict:
    """The state dict of an encoder, which the layout's PyTorch model loads with `strict=True`.

    Raises:
      JaxpartError: The layout lacks names for a part of the encoder, or is a Flax layout.
    """
    layout = family.layout(layout_name)
    if family.name not in WRITTEN:
        raise JaxpartError(
            f"{family.name} cannot be exported as a state dict; {', '.join(WRITTEN)} can"
        )
    if layout.names.flax:
        raise JaxpartError(
            f"the original {family.name} is not a PyTorch model; choose --layout timm or transformers"
        )
    written: dict[str, np.ndarray] = {}
    left_out = []
    for path, array in _adapted(family, layout_name, config, arrays).items():
        name, part_name = torch_name(path)
        names = _names(layout.names, name, part_name, config)
        if names:
            oriented = _torch(path, array, config)
            written |= dict(zip(names.values(), _split(names, oriented, path, config), strict=True))
        elif path.startswith(_HEADS):
            left_out.append(path)
        else:
            stems = "; only mocov3's original layout has those of a convolutional stem"
            advice = stems if path.startswith("stem.") and config.stem == "conv" else ""
            raise JaxpartError(
                f"the {layout_name} layout of {family.name} has no name for {path}{advice}"
            )
    written |= _extras(family, layout_name, config, written)
    return StateDict(_with_prefixes(family, layout_name, layout, written), tuple(left_out))


def timm_model(config: ViTConfig, arrays: Mapping[str, np.ndarray]) -> str:
    """The Python expression of timm's model for a state dict; "" if it is no plain VisionTransformer."""
    differences = config.relative_bias, config.rotary, config.norm, config.stem_norm
    plain = differences == ("none", "none", "layer", False) and config.qkv_bias != "qv"
    if not plain or "dist" in config.prefix or "pos_embed" not in arrays:
        return ""
    cls = "cls" in config.prefix
    rows, columns = config.grid
    norm = f"functools.partial(timm.layers.LayerNorm, eps={config.norm_epsilon})"
    pool = "token" if cls and not config.pooled_norm else "avg"
    arguments = {
        "img_size": config.image_size,
        "patch_size": config.patch_size,
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.num_heads,
        "mlp_ratio": (1 + config.gated_mlp) * config.mlp_width / config.width,
        "qkv_bias": config.qkv_bias == "qkv",
        "proj_bias": config.biases,
        "scale_attn_norm": config.attention_norm,
        "scale_mlp_norm": config.mlp_norm,
        "init_values": 1.0 if config.layer_scale else None,
        "class_token": cls,
        "reg_tokens": sum(name.startswith("register") for name in config.prefix),
        "no_embed_class": arrays["pos_embed"].shape[1] == rows * columns,
        "pre_norm": config.pre_norm,
        "final_norm": config.final_norm or config.pooled_norm,
        "fc_norm": config.pooled_norm,
        "global_pool": "map" if "attn_pool.latent" in arrays else pool,
        "num_classes": len(arrays.get("head.weight", ())),
        "act_layer": config.activation,
    }
    words = [f"{name}={value!r}" for name, value in arguments.items()]
    words += ["mlp_layer=timm.layers.SwiGLUPacked"] if config.gated_mlp else []
    return f"timm.models.VisionTransformer({', '.join(words)}, norm_layer={norm})"


def _adapted(
    family: Family, layout_name: str, config: ViTConfig, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The arrays, with positions of the prefix tokens if the layout stores them."""
    new = dict(arrays)
    registers = sum(name.startswith("register") for name in config.prefix)
    if "positions" not in new or not registers:
        return new
    stored = new["positions"]
    slots = len(config.prefix) if config.prefix_positions else 0
    prefix, patches = stored[:slots], stored[slots:]
    first = len(config.prefix) - registers
    timm = family.layout(layout_name) is family.layouts.get("timm")
    if timm and family.name == "dinov2":  # timm folds cls's position into cls
        if slots:
            new["prefix_tokens"] = new["prefix_tokens"] + prefix
        new["positions"] = patches
    # In timm all tokens before the patches have positions, or none of them.
    elif not timm and not np.any(prefix[first:]):
        cls = prefix[:first] if slots else np.zeros((first, stored.shape[1]), np.float32)
        new["positions"] = np.concatenate([cls, patches])
    return new


def _names(names: Names, full_name: str, part_name: str, config: ViTConfig) -> dict[str, str]:
    """Their name for each part of one of our arrays; empty if there is none."""
    module, _, parameter = full_name.rpartition(".")
    if module == "stem.projection" and config.stem == "conv":
        module = "stem.projection:conv"
    exact = names.parts(full_name)
    if (part_name and exact) or "magnitude" in exact or parameter not in PARAMETERS:
        names_of = exact
    else:
        plain = module.endswith("mlp.fc1") and not config.gated_mlp
        parts = names.parts(module, whole=plain)
        names_of = {part: f"{name}.{parameter}" for part, name in parts.items()} or exact
    if part_name:
        return {part_name: names_of[part_name]} if part_name in names_of else {}
    if full_name == "prefix_tokens":
        tokens = list(token_parts(config.prefix))
        return {part: names_of[part] for part in tokens} if set(tokens) <= set(names_of) else {}
    return names_of


def _torch(path: str, array: np.ndarray, config: ViTConfig) -> np.ndarray:
    """A Flax array in PyTorch's orientation."""
    if not path.endswith(".kernel"):
        return array
    if path.endswith("stem.projection.kernel") and config.stem == "patch":
        side = config.patch_size
        return array.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _split(
    names: Mapping[str, str], array: np.ndarray, path: str, config: ViTConfig
) -> list[np.ndarray]:
    """The parts of an array, in the order of their names."""
    parts = list(names)
    if path == "prefix_tokens":
        tokens = {part: [] for part in parts}  # type: dict[str, list[np.ndarray]]
        for name, token in zip(config.prefix, array, strict=True):
            tokens[next(token_parts([name]))].append(token)
        return [np.stack(tokens[part])[None] for part in parts]
    if parts == ["magnitude", "direction"]:
        return [np.linalg.norm(array, axis=1, keepdims=True), array]
    if parts == ["transposed"]:
        return [array.T]
    if len(parts) == 2 and parts[1] == "kv":
        return np.split(array, [len(array) // 3])
    if len(parts) > 1:
        return np.split(array, len(parts))
    bare = path in ("positions", "projector.pool.probe")
    return [array[None] if bare else array]


def _extras(
    family: Family, layout_name: str, config: ViTConfig, written: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Extra entries of the PyTorch models: buffers, and pretraining tokens."""
    extras: dict[str, np.ndarray] = {}
    if layout_name == "transformers" and family.name in ("dinov2", "dinov3"):
        shape = (1, config.width) if family.name == "dinov2" else (1, 1, config.width)
        extras["embeddings.mask_token"] = np.zeros(shape, np.float32)
    if layout_name == "timm" and "head.weight" in written and "head.bias" not in written:
        extras["head.bias"] = np.zeros(len(written["head.weight"]), np.float32)  # not CLIP's
    if layout_name == "original" and family.name in ("dinov2", "dinov3"):
        extras["mask_token"] = np.zeros((1, config.width), np.float32)
    if layout_name == "original" and family.name == "dinov3":
        rounded = config.rotary == "dinov3_bfloat16"
        channels = config.width // config.num_heads
        extras["rope_embed.periods"] = dinov3_periods(channels, rounded=rounded)
        for name, bias in written.items():
            if name.endswith("attn.qkv.bias"):  # the release masks the keys' biases
                mask = np.ones((3, config.width), np.float32)
                mask[1] = np.split(bias, 3)[1].any()
                extras[f"{name}_mask"] = mask.reshape(-1)
    if layout_name == "original" and config.relative_bias != "none":
        index = positions.relative_bias_index(config.grid).astype(np.int64)
        modules = [f"blocks.{i}.attn" for i in range(config.depth)]
        modules = modules if config.relative_bias == "per_block" else ["rel_pos_bias"]
        extras |= {f"{module}.relative_position_index": index for module in modules}
    return extras


def _with_prefixes(
    family: Family, layout_name: str, layout: Layout, written: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The names with the prefixes that they have in a model with a projector or classifier."""
    has_siblings = any(name.startswith(SIBLING) for name in written)
    prefix = "" if "" in layout.encoder and not has_siblings else layout.encoder[0]
    if prefix and layout_name == "transformers" and "vit." in layout.encoder:
        prefix = _MODEL_PREFIX.get(family.name, "vit.")
    if any("distillation_classifier" in name for name in written):
        written = {
            name.replace("../classifier", "../cls_classifier"): a for name, a in written.items()
        }
    return {
        name.removeprefix(SIBLING)
        if name.startswith(SIBLING)
        else prefix + name: _without_batch_axis(name, array)
        for name, array in written.items()
    }


def _without_batch_axis(name: str, array: np.ndarray) -> Any:
    """Drops the batch axis that CLIP's tokens and positions do not have."""
    leaf = name.rpartition(".")[2]
    if leaf == "class_embedding":
        array = array.reshape(-1)
    if leaf == "positional_embedding" or name.endswith("position_embedding.weight"):
        array = array.reshape(-1, array.shape[-1])
    return np.ascontiguousarray(array)
