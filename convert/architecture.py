"""Infers an encoder's architecture from the shapes of its arrays, given by our names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from convert.family import Arrays, Family, Layout, shape
from convert.options import Options
from jaxpart.encoders.architecture import MAX_DEPTH, ViTConfig
from jaxpart.encoders.projectors import ProjectorConfig
from jaxpart.errors import JaxpartError

REGISTERS = "prefix_tokens:registers"
_CLS_ROWS = 3  # of a table of relative position biases


def has(arrays: Arrays, name: str) -> bool:
    """Whether there is an array of this name, or a part of one."""
    return name in arrays or any(key.startswith(f"{name}:") for key in arrays)


def read_config(arrays: Arrays, family: Family, layout: Layout, options: Options) -> ViTConfig:
    """The architecture of an encoder with these arrays, at its training size.

    Raises:
      JaxpartError: An array is missing or has an impossible shape, or a fact that no array holds is
        missing: the number of heads, the grid.
    """
    width = shape(arrays, "blocks.0.norm1.weight", 1)[0]
    depth = count(arrays, r"blocks\.(\d+)\.norm1\.weight")
    if depth > MAX_DEPTH:
        raise JaxpartError(f"it has {depth} blocks; at most {MAX_DEPTH} are supported")
    fields: dict[str, Any] = {
        **family.fields,
        **{name: value for name, value in _inferred(arrays) if name in family.inferred},
        "width": width,
        "depth": depth,
        "num_heads": _num_heads(width, family, options),
        "mlp_width": shape(arrays, "blocks.0.mlp.fc2.weight", 2)[1],
        "patch_size": _patch_size(arrays),
        "prefix": _prefix(arrays, family, options),
    }
    # Fine-tuned on the mean of the patches.
    if "pooled_norm.weight" in arrays and "norm.weight" not in arrays:
        fields |= {"final_norm": False, "pooled_norm": True}
    given = {
        "norm_epsilon": options.epsilon,
        "activation": options.activation,
        "position_resize": options.positions,
    }
    given = {name: value for name, value in given.items() if value is not None}
    fields["projector"] = read_projector(arrays, family, fields | given)
    fields = {**family.adjust(arrays, fields, options), **layout.fields, **given}
    return ViTConfig(**fields | _positions(arrays, fields, options))


def count(arrays: Arrays, pattern: str) -> int:
    """Number of distinct values of a pattern's group among the names."""
    return len({matched[1] for name in arrays if (matched := re.fullmatch(pattern, name))})


def _num_heads(width: int, family: Family, options: Options) -> int:
    heads = options.num_heads or family.heads.get(width)
    if heads is None and "num_heads" in family.inferred:
        return 1  # its `adjust` reads them
    if heads is None:
        raise JaxpartError(
            "the number of attention heads cannot be read from the arrays, and no released "
            f"{family.name} has width {width}; pass --num-heads"
        )
    return heads


def _patch_size(arrays: Arrays) -> int:
    if "stem.convolutions.0.weight" in arrays:
        return 16
    *_, height, width = 1, *shape(arrays, "stem.projection.weight", 2, 4)
    if len(arrays["stem.projection.weight"].shape) == 2:  # flat patches
        height = width = math.isqrt(width // 3)
    elif arrays["stem.projection.weight"].shape[1] != 3:
        channels = arrays["stem.projection.weight"].shape[1]
        raise JaxpartError(f"it reads images of {channels} channels; only 3 (RGB) are supported")
    if height != width or height < 1:
        raise JaxpartError(f"its patches of {height} × {width} pixels are not square")
    return width


def _prefix(arrays: Arrays, family: Family, options: Options) -> tuple[str, ...]:
    tokens = options.tokens or tuple(
        (name, 1)
        for name in (*family.tokens, *family.optional_tokens)
        if name in family.tokens or f"prefix_tokens:{name}" in arrays
    )
    names: list[str] = []
    for name, number in tokens:
        if name == "registers":
            stored = shape(arrays, REGISTERS) if REGISTERS in arrays else (0, width_of(arrays))
            number = number if options.tokens else math.prod(stored[:-1])
            names += [f"register{i + 1}" for i in range(number)]
        else:
            names += [name] if number == 1 else [f"{name}{i + 1}" for i in range(number)]
    return tuple(names)


def width_of(arrays: Arrays) -> int:
    """Channels of a token."""
    return shape(arrays, "blocks.0.norm1.weight", 1)[0]


def _inferred(arrays: Arrays) -> Iterator[tuple[str, Any]]:
    """Fields of the architecture that the arrays determine."""
    yield "stem", "conv" if "stem.convolutions.0.weight" in arrays else "patch"
    yield "stem_bias", "stem.projection.bias" in arrays
    yield "stem_norm", "stem_norm.weight" in arrays
    yield "pre_norm", "pre_norm.weight" in arrays
    yield "layer_scale", "blocks.0.scale1" in arrays
    yield "biases", "blocks.0.attention.out.bias" in arrays
    yield "norm", "layer" if "blocks.0.norm1.bias" in arrays else "rms"
    yield "mlp_norm", "blocks.0.mlp.norm.weight" in arrays
    yield "attention_norm", "blocks.0.attention.norm.weight" in arrays
    yield "final_norm", "norm.weight" in arrays
    yield "pooled_norm", "pooled_norm.weight" in arrays
    yield "gated_mlp", is_gated(arrays)
    bias = "blocks.0.attention.qkv.bias"
    has_bias = bias in arrays or f"{bias}:k" in arrays
    yield "qkv_bias", "qkv" if has_bias else "qv" if f"{bias}:q" in arrays else "none"
    tables = {"relative_bias.table": "shared", "blocks.0.relative_bias.table": "per_block"}
    yield "relative_bias", next((kind for name, kind in tables.items() if name in arrays), "none")


def is_gated(arrays: Arrays) -> bool:
    """Whether the MLPs' first layer has twice the outputs that their second takes."""
    first = arrays.get("blocks.0.mlp.fc1.weight")
    if first is None:
        return "blocks.0.mlp.fc1.weight:gate" in arrays
    return first.shape[0] == 2 * shape(arrays, "blocks.0.mlp.fc2.weight", 2)[1]


def read_projector(
    arrays: Arrays, family: Family, fields: dict[str, Any]
) -> ProjectorConfig | None:
    """The projector or classifier on top of the encoder, of a kind that the family supports."""
    kinds = family.projectors | ({"classifier"} if fields.get("pooled_norm") else set())
    for kind, read in (
        ("bottleneck", _bottleneck),
        ("mlp_bn", _mlp_bn),
        ("attention_pool", _attention_pool),
        ("classifier", _classifier),
    ):
        config = read(arrays, fields) if kind in kinds else None
        if config is not None:
            return config
    return None


def _classifier(arrays: Arrays, fields: dict[str, Any]) -> ProjectorConfig | None:
    first = "projector.heads.0.weight"
    if f"{first}:transposed" in arrays:  # CLIP's projection
        out = shape(arrays, f"{first}:transposed", 2)[1]
        return ProjectorConfig("classifier", out=out, bias=False)
    if first not in arrays or len(arrays[first].shape) != 2:
        return None
    out, width = shape(arrays, first, 2)
    registers_only = fields["prefix"][:1] in ((), ("register1",))
    if width != fields["width"] or (registers_only and not fields.get("pooled_norm")):
        return None  # of several tokens, or of a mean without a norm: not supported
    heads = 2 if "projector.heads.1.weight" in arrays and "dist" in fields["prefix"] else 1
    bias = "projector.heads.0.bias" in arrays
    return ProjectorConfig("classifier", out=out, heads=heads, bias=bias)


def _bottleneck(arrays: Arrays, fields: dict[str, Any]) -> ProjectorConfig | None:
    def out(name: str) -> int:
        for part in ("", ":direction"):
            if f"projector.head.{name}.weight{part}" in arrays:
                return shape(arrays, f"projector.head.{name}.weight{part}", 2)[0]
        return 0

    if not has(arrays, "projector.head.last.weight"):
        return None
    layers = count(arrays, r"projector\.head\.layers\.(\d+)\.weight")
    widths = [shape(arrays, f"projector.head.layers.{i}.weight", 2)[0] for i in range(layers)]
    return ProjectorConfig(
        "bottleneck",
        out=out("last"),
        hidden=tuple(widths[:-1]),
        bottleneck=widths[-1] if widths else 0,
        patch_out=out("patch_last"),
    )


def _mlp_bn(arrays: Arrays, fields: dict[str, Any]) -> ProjectorConfig | None:
    layers = count(arrays, r"projector\.mlp\.layers\.(\d+)\.weight")
    if not layers:
        return None
    widths = [shape(arrays, f"projector.mlp.layers.{i}.weight", 2)[0] for i in range(layers)]
    first = "predictor.mlp.layers.0.weight"
    predictor = shape(arrays, first, 2)[0] if first in arrays else 0
    return ProjectorConfig("mlp_bn", widths[-1], hidden=tuple(widths[:-1]), predictor=predictor)


def _attention_pool(arrays: Arrays, fields: dict[str, Any]) -> ProjectorConfig | None:
    if "projector.pool.probe" not in arrays:
        return None
    hidden, width = shape(arrays, "projector.pool.fc1.weight", 2)
    return ProjectorConfig(
        "attention_pool",
        out=width,
        hidden=(hidden,),
        num_heads=fields["num_heads"],
        activation=fields.get("activation", "gelu"),
    )


def _positions(arrays: Arrays, fields: dict[str, Any], options: Options) -> dict[str, Any]:
    """Fields of the positions, and the image size that they are for."""
    side = fields["patch_size"]
    if fields.get("relative_bias", "none") != "none":
        table = (
            "relative_bias.table"
            if fields["relative_bias"] == "shared"
            else "blocks.0.relative_bias.table"
        )
        rows = shape(arrays, table, 2)[0] - _CLS_ROWS
        grid = _grid([rows], side, options, lambda h, w: (2 * h - 1) * (2 * w - 1))[1]
        return {"image_size": (grid[0] * side, grid[1] * side)}
    if fields.get("positions") == "none":  # rotary alone: any size
        size = (224 // side * side, 224 // side * side) if options.grid is None else None
        grid = options.grid or (0, 0)
        return {"image_size": size or (grid[0] * side, grid[1] * side)}
    stored = math.prod(shape(arrays, "positions")[:-1])
    prefix = fields["prefix"]
    slots = {
        "cls": sum(not name.startswith("register") for name in prefix),
        "all": len(prefix),
        "none": 0,
    }
    first = fields.pop("slots", "cls")
    order = list(dict.fromkeys([slots[first], *slots.values()]))
    number, grid = _grid([stored - n for n in order], side, options, lambda h, w: h * w)
    of_prefix = stored != number or not prefix
    return {"image_size": (grid[0] * side, grid[1] * side), "prefix_positions": of_prefix}


def _grid(counts: list[int], side: int, options: Options, entries: Any) -> tuple[int, Any]:
    """A count and a grid with as many entries: the user's, a square, or that of --image-size."""
    stored = counts[0]
    if options.grid:
        if entries(*options.grid) not in counts:
            raise JaxpartError(
                f"the {stored} stored positions do not match a grid of {options.grid[0]} × "
                f"{options.grid[1]} patches"
            )
        return entries(*options.grid), options.grid
    squares = []
    for number in counts:
        root = math.isqrt(max(number, 0))
        squares += [
            (number, (rows, rows))
            for rows in (root, (root + 1) // 2)
            if number > 0 and entries(rows, rows) == number
        ]
    if options.image_size and (not squares or squares[0][0] != stored):
        grid = options.image_size[0] // side, options.image_size[1] // side
        if min(grid) > 0 and entries(*grid) in counts:
            return entries(*grid), grid
    if squares:
        return squares[0]
    raise JaxpartError(
        f"the {stored} stored patch positions do not form a square; pass the grid of patches that the "
        f"encoder was trained at, as in --grid 14x28"
    )
