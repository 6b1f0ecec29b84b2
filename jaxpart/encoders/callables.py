"""The function that a configuration names as its encoder.

- `module:function` or `path.py:function`: JAX's, or a `FunctionEncoder` that says all of itself;
- `torch:module:function` or `torch:path.py:function`: PyTorch's, or a `torch.nn.Module`;
- `timm:NAME`: a model of timm;
- `transformers:FOLDER`: a vision model of transformers.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax

from jaxpart.encoders.families import PIXELS
from jaxpart.encoders.function import FunctionEncoder
from jaxpart.encoders.precision import Precision
from jaxpart.encoders.torch_function import TorchFunction, timm_encoder, transformers_encoder
from jaxpart.errors import JaxpartError, first_line
from jaxpart.io.modules import module_of


def function_encoder(
    function: Callable[[Any], Any],
    *,
    name: str,
    image_size: int,
    pixels: str = "uint8",
    version: str = "",
    precision: Precision = "float32-highest",
) -> FunctionEncoder:
    """An encoder of a function.

    Args:
      function: JAX's function, a Flax module or another pytree that is called, or a `TorchFunction`.
      name: What tables call it.
      image_size: Side in pixels of the images that it is given unless a task says otherwise.
      pixels: Of `jaxpart.encoders.families.PIXELS`.
      version: See `FunctionEncoder`.
      precision: See `FunctionEncoder`.

    Raises:
      JaxpartError: It returns something else than it shall, see `jaxpart.encoders.function`.
    """
    jittable = not isinstance(function, TorchFunction)
    if jax.tree.leaves(function) == [function]:  # no pytree: what it holds is a constant
        function = jax.tree_util.Partial(function)
    made = FunctionEncoder(
        function,
        name,
        (image_size, image_size),
        PIXELS[pixels],
        version,
        jittable=jittable,
        precision=precision,
    )
    made.check_size(image_size, image_size)
    return made


def of_function(
    function: Callable[[Any], Any], *, image_size: int, pixels: str, version: str
) -> FunctionEncoder:
    """An encoder of a function at hand, which is called by its own name: see `function_encoder`.

    Raises:
      JaxpartError: See `function_encoder`; there are no such pixels, or it cannot be called.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(function, torch.nn.Module):
        function = TorchFunction(function)
    if not callable(function):
        raise JaxpartError(
            f"the encoder is a {type(function).__name__}; give a folder of `python -m convert`, an encoder "
            f"or a function"
        )
    if pixels not in PIXELS:
        raise JaxpartError(f"pixels cannot be {pixels!r}; choose from {', '.join(PIXELS)}")
    name = getattr(function, "__name__", type(function).__name__)
    return function_encoder(
        function, name=name, image_size=image_size, pixels=pixels, version=version
    )


def named_encoder(options: Any, *, seed: int) -> FunctionEncoder:
    """The encoder of a configuration with a callable.

    Args:
      options: The configuration's `encoder`, with `callable`, `weights`, `image_size`, `pixels`,
        `version` and `precision`.
      seed: Of random weights.

    Raises:
      JaxpartError: It cannot be imported or made, or an option does not fit it.
    """
    text = options.callable
    kind, _, rest = text.partition(":")
    if kind in ("timm", "transformers") and rest:
        if options.pixels or options.version:
            raise JaxpartError(
                f"{text} defines its own pixels and version; leave "
                f"config.encoder.pixels and config.encoder.version empty"
            )
        if kind == "timm":
            made = timm_encoder(rest, options.weights, seed=seed, side=options.image_size)
        else:
            _no_weights(options, "its folder holds them")
            made = transformers_encoder(rest, side=options.image_size)
        return _checked(dataclasses.replace(made, precision=options.precision))
    _no_weights(options, "the function has its own")
    found = _imported(text.removeprefix("torch:"), text)
    if isinstance(found, FunctionEncoder):
        if options.pixels or options.version or options.image_size:
            raise JaxpartError(
                f"{text} is a FunctionEncoder, which defines these itself; leave config.encoder.pixels, "
                f"image_size and version as they are"
            )
        return _checked(dataclasses.replace(found, precision=options.precision))
    if not callable(found):
        raise JaxpartError(f"{text} is a {type(found).__name__}, which cannot be called")
    if not options.image_size:
        raise JaxpartError(
            f"pass the side in pixels of the images that {text} expects: --config.encoder.image_size=224"
        )
    return function_encoder(
        TorchFunction(found) if kind == "torch" else found,
        name=text,
        image_size=options.image_size,
        pixels=options.pixels or "uint8",
        version=options.version,
        precision=options.precision,
    )


def _checked(encoder: FunctionEncoder) -> FunctionEncoder:
    encoder.check_size(*encoder.image_size)
    return encoder


def _no_weights(options: Any, why: str) -> None:
    if options.weights:
        raise JaxpartError(
            f"config.encoder.weights is for timm's models; leave it empty for {options.callable}: {why}"
        )


@functools.cache
def _imported(text: str, whole: str) -> Any:
    """What a module or a file calls by a name. Raises `JaxpartError` if it cannot be had."""
    path, colon, attribute = text.rpartition(":")
    if not colon or not path or not attribute:
        raise JaxpartError(
            f"config.encoder.callable is {whole!r}; give module:function, path.py:function, "
            f"torch:module:function, timm:NAME or transformers:FOLDER"
        )
    if path.endswith(".py") and not pathlib.Path(path).is_file():
        raise JaxpartError(f"config.encoder.callable: there is no file {path}")
    try:
        return functools.reduce(getattr, attribute.split("."), module_of(path))
    except Exception as error:  # it is the user's own code
        raise JaxpartError(
            f"config.encoder.callable: {text} cannot be imported ({type(error).__name__}: "
            f"{first_line(error)})"
        ) from error
