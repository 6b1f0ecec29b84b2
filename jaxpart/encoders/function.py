"""Encoders that are functions of images: any architecture, in JAX or in PyTorch.

A function receives a batch of images and returns a dictionary of arrays, or a single array:

- "tokens" [batch, rows, columns, width]: a vector for each cell of a grid, of any stride;
- "embedding" [batch, width]: the image as one vector; without it, the mean of its tokens;
- "cls_token" [batch, width], "projection" [batch, width], or a vector under any other name;
- "blocks": a sequence of the outputs of its blocks or stages, each an array like "tokens", or a dictionary
  with "tokens" and "cls_token".

PyTorch functions use channels-first images and maps, as PyTorch's convolutions do:
[batch, 3, height, width] and [batch, width, rows, columns].
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import os
import pathlib
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Num, UInt8

from jaxpart import devices
from jaxpart.encoders.encoder import check_pixels, check_shape, normalized
from jaxpart.encoders.families import Preprocessing
from jaxpart.encoders.positions import Grid
from jaxpart.encoders.precision import REFERENCE, Precision
from jaxpart.errors import JaxpartError, first_line

_CLS = "cls_token"


_WRAPPED = ("func", "_function", "__func__", "__wrapped__")
"""Where a partial, a `TorchFunction`, a method and a jitted function hold theirs."""


def source_digest(function: Any) -> str:
    """A function's name and a SHA-256 of the code that defines it, which tells apart functions of one name.

    The digest is of the whole file, or of the definition alone if there is no file, as in a notebook; empty
    without source code.
    """
    while inner := next((getattr(function, x) for x in _WRAPPED if hasattr(function, x)), None):
        function = inner
    code: Any = function if inspect.isroutine(function) else type(function)
    try:
        file = inspect.getsourcefile(code)
        if file is not None and os.path.isfile(file):
            text = pathlib.Path(file).read_bytes()
        else:
            text = inspect.getsource(code).encode()
    except (OSError, TypeError):
        text = b""
    return f"{code.__qualname__} {hashlib.sha256(text).hexdigest() if text else ''}"


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["function"],
    meta_fields=[
        "name",
        "image_size",
        "preprocessing",
        "version",
        "trained",
        "jittable",
        "precision",
    ],
)
@dataclasses.dataclass(frozen=True)
class FunctionEncoder:
    """A frozen encoder that is a function.

    Attributes:
      function: Takes images and returns arrays, see above. A pytree: a Flax module, a
        `jax.tree_util.Partial` of a function and its weights, …; its leaves are placed on the devices.
      name: Its name in tables.
      image_size: Its native (height, width) in pixels.
      preprocessing: Mean and std of its float32 input; None: it receives uint8.
      version: Identifies its weights and code, and keys cached features and work directories.
        Empty: features are not cached, and runs cannot be resumed.
      trained: False for random weights.
      jittable: Whether it is a JAX function, which can be part of compiled programs.
      precision: "float32-highest", or "float32" for the device's default in JAX.
    """

    function: Callable[[Any], Any]
    name: str
    image_size: Grid
    preprocessing: Preprocessing | None = None
    version: str = ""
    trained: bool = True
    jittable: bool = True
    precision: Precision = REFERENCE

    def __post_init__(self) -> None:
        """Raises `JaxpartError` for a precision that functions do not support."""
        if callable(self.function) and jax.tree.leaves(self.function) == [self.function]:
            # Not a pytree: its contents become constants of compiled programs.
            object.__setattr__(self, "function", jax.tree_util.Partial(self.function))
        if self.precision not in ("float32-highest", "float32"):
            raise JaxpartError(
                f"config.encoder.precision is {self.precision!r}, which only a converted ViT "
                "supports; choose float32-highest or float32, and cast inside your function"
            )

    @property
    def digest(self) -> str:
        """Name, version, preprocessing and source code; empty without a version."""
        if not self.version:
            return ""
        return f"{self.name} {self.version} {self.preprocessing!r} {source_digest(self.function)}"

    @property
    def identity(self) -> Hashable:
        """Equal for encoders with the same outputs."""
        return self.name, self.version, self.preprocessing, self.precision

    @property
    def prefix(self) -> tuple[str, ...]:
        """("cls",) if the tokens of every block come with a cls token of the same width."""
        return ("cls",) if _layout(self, *self.image_size).cls else ()

    @property
    def depth(self) -> int:
        """Number of blocks whose output it returns."""
        return len(_layout(self, *self.image_size).blocks)

    def cache_key(self, name: str) -> dict[str, str]:
        """Key of a representation in the feature cache, in addition to data and view."""
        backend = f" on {devices.backend()}" if self.precision == "float32" else ""
        return {
            "encoder": self.digest,
            "encoder_precision": self.precision + backend,
            "representation": name,
        }

    def check_size(self, height: int, width: int) -> None:
        """Raises `JaxpartError` if it does not accept images of this size."""
        _layout(self, height, width)

    def grid_of(self, height: int, width: int, block: int | None = None) -> Grid:
        """Tokens along (height, width) of an image, for its last layer or a block.

        Raises:
          JaxpartError: It does not accept such images, or returns no tokens.
        """
        layout = _layout(self, height, width)
        grid = layout.tokens if block is None else layout.blocks[block]
        if grid is None:
            raise JaxpartError(f"{self.name} returns no tokens; have it return them too")
        return grid

    def shapes(self, height: int, width: int) -> dict[str, Any]:
        """Shape and dtype of every output for one image, blocks included.

        Raises:
          JaxpartError: It does not accept such images.
        """
        return _layout(self, height, width).out

    def normalize(
        self, images: UInt8[Array, "batch height width 3"]
    ) -> Num[Array, "batch height width 3"]:
        """Prepares uint8 pixels for the function.

        Raises:
          JaxpartError: `images` is not uint8.
        """
        check_pixels(images)
        check_shape(images)
        return images if self.preprocessing is None else normalized(images, self.preprocessing)

    def __call__(
        self,
        images: Num[Array, "batch height width 3"],
        *,
        order: Int[Array, "batch patch"] | None = None,
        blocks: bool = False,
    ) -> dict[str, Any]:
        """Runs the function.

        Args:
          images: Output of `normalize`.
          order: Must be None.
          blocks: Whether to return "blocks" too, and "projector" and "predictor", which are empty.

        Returns:
          float32 arrays as `Encoder.__call__` returns them: "tokens" and each of the blocks
          [batch, prefix + rows · columns, width], vectors [batch, width].

        Raises:
          JaxpartError: The function fails, or its output is invalid.
        """
        if order is not None:
            raise JaxpartError(f"{self.name} is a function, whose patches cannot be permuted")
        out = _standard(self, _run(self, images), len(images))[0]
        if not blocks:
            del out["blocks"], out["projector"], out["predictor"]
        return out


@dataclasses.dataclass(frozen=True)
class _Layout:
    """The output of a function for an image: shapes, grids, and whether tokens come with cls."""

    out: dict[str, Any]
    tokens: Grid | None
    blocks: tuple[Grid, ...]
    cls: bool


_layouts: dict[Hashable, _Layout] = {}


def _layout(encoder: FunctionEncoder, height: int, width: int) -> _Layout:
    """The layout, determined once per size: JAX functions are traced, others run on a black image."""
    # Keyed by the function itself: another one may have the same name and version.
    treedef = jax.tree.structure(encoder.function)
    key = treedef, encoder.preprocessing, encoder.precision, height, width
    if key not in _layouts:
        dtype = jnp.uint8 if encoder.preprocessing is None else jnp.float32
        shape = 1, height, width, 3
        grids_and_cls: list[Any] = []

        def run(images: Array, encoder: FunctionEncoder = encoder) -> dict[str, Any]:
            out, *rest = _standard(encoder, _run(encoder, images), len(images))
            grids_and_cls[:] = rest
            return out

        if encoder.jittable:
            out = jax.eval_shape(run, jax.ShapeDtypeStruct(shape, dtype))
        else:
            out = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), run(jnp.zeros(shape, dtype))
            )
        _layouts[key] = _Layout(out, *grids_and_cls)
    return _layouts[key]


def _run(encoder: FunctionEncoder, images: Array) -> Any:
    precision = "highest" if encoder.precision == REFERENCE else "default"
    try:
        with jax.default_matmul_precision(precision):
            return encoder.function(images)
    except JaxpartError:
        raise
    except Exception as error:
        advice = (
            "" if encoder.preprocessing else "; --config.encoder.pixels=imagenet gives it float32"
        )
        raise JaxpartError(
            f"{encoder.name} fails on images {list(images.shape)} of {images.dtype} "
            f"({_where(error)}{type(error).__name__}: {first_line(error)}){advice}"
        ) from error


_PACKAGE = f"{pathlib.Path(__file__).parents[1]}{os.sep}"


def _where(error: Exception) -> str:
    """The last line of the user's code in an exception's traceback, "mine.py, line 12: "."""
    trace, location = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "site-packages" not in file and not file.startswith((_PACKAGE, "<")):
            location = f"{file}, line {trace.tb_lineno}: "
        trace = trace.tb_next
    return location


def _standard(
    encoder: FunctionEncoder, raw: Any, count: int
) -> tuple[dict[str, Any], Grid | None, tuple[Grid, ...], bool]:
    """A function's outputs as `Encoder.__call__` returns them; grids of tokens and of blocks; and whether
    tokens come with cls."""
    if not isinstance(raw, Mapping):
        raw = {"tokens" if getattr(raw, "ndim", 0) == 4 else "embedding": raw}
    outputs = dict(raw)
    blocks = [
        dict(block) if isinstance(block, Mapping) else {"tokens": block}
        for block in outputs.pop("blocks", ())
    ]
    layers = [*([outputs] if "tokens" in outputs else []), *blocks]
    for i, block in enumerate(blocks):
        if "tokens" not in block:
            raise JaxpartError(f'{encoder.name} returns block {i} without "tokens"')
        for name, array in block.items():
            block[name] = _checked(encoder, f"blocks[{i}] {name}", array, name == "tokens")
    for name, array in outputs.items():
        outputs[name] = _checked(encoder, name, array, name == "tokens")
    if not outputs and not blocks:
        raise JaxpartError(
            f'{encoder.name} returns nothing; have it return "embedding", "tokens" or both'
        )
    counts = {len(array) for layer in (outputs, *blocks) for array in layer.values()}
    if counts != {count}:
        raise JaxpartError(
            f"{encoder.name} returns arrays of {', '.join(map(str, sorted(counts)))} images for {count}; "
            f"the first axis of each is the batch"
        )
    cls = bool(layers) and all(
        _CLS in layer and layer[_CLS].shape[-1] == layer["tokens"].shape[-1] for layer in layers
    )
    out = {name: array for name, array in outputs.items() if name != "tokens"}
    if "embedding" not in out and "tokens" in outputs:
        out["embedding"] = outputs["tokens"].mean(axis=(1, 2))
    flat = [_flat(layer["tokens"], layer[_CLS] if cls else None) for layer in layers]
    grids = tuple(layer["tokens"].shape[1:3] for layer in layers)
    if "tokens" in outputs:
        out["tokens"] = flat[0]
    first = len(layers) - len(blocks)
    out |= {"blocks": tuple(flat[first:]), "projector": (), "predictor": ()}
    return out, grids[0] if "tokens" in outputs else None, grids[first:], cls


def _checked(encoder: FunctionEncoder, name: str, array: Any, tokens: bool) -> Array:
    """An array as float32. Raises `JaxpartError` if it is not an array of this rank."""
    shape = getattr(array, "shape", None)
    if shape is None or not jnp.issubdtype(array.dtype, jnp.floating):
        what = type(array).__name__ if shape is None else f"of {array.dtype}"
        raise JaxpartError(f"{encoder.name} returns {name} {what}; return arrays of floats")
    if len(shape) != (4 if tokens else 2) or 0 in shape:
        expected = "[batch, rows, columns, width]" if tokens else "[batch, width]"
        raise JaxpartError(f"{encoder.name} returns {name} {list(shape)}; return {expected}")
    return jnp.asarray(array, jnp.float32)


def _flat(tokens: Array, cls: Array | None) -> Array:
    flat = tokens.reshape(len(tokens), -1, tokens.shape[-1])
    return flat if cls is None else jnp.concatenate([cls[:, None], flat], axis=1)
