"""Encoders that a configuration gives as a function.

- `module:function` or `path.py:function`: a JAX function, or a complete `FunctionEncoder`;
- `torch:module:function` or `torch:path.py:function`: a PyTorch function, or a `torch.nn.Module`;
- `timm:NAME`: a timm model;
- `transformers:FOLDER`: a transformers vision model.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

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
    """Wraps a function as an encoder.

    Args:
      function: A JAX function, a Flax module or another callable pytree, or a `TorchFunction`.
      name: Its name in tables.
      image_size: Default side in pixels of the images that it receives.
      pixels: One of `jaxpart.encoders.families.PIXELS`.
      version: See `FunctionEncoder`.
      precision: See `FunctionEncoder`.

    Raises:
      JaxpartError: It does not return what `jaxpart.encoders.function` describes.
    """
    jittable = not isinstance(function, TorchFunction)
    encoder = FunctionEncoder(
        function,
        name,
        (image_size, image_size),
        PIXELS[pixels],
        version,
        jittable=jittable,
        precision=precision,
    )
    encoder.check_size(image_size, image_size)
    return encoder


def of_function(
    function: Callable[[Any], Any], *, image_size: int, pixels: str, version: str
) -> FunctionEncoder:
    """Wraps a function as an encoder with the function's name: see `function_encoder`.

    Raises:
      JaxpartError: See `function_encoder`; unknown pixels, or not callable.
    """
    torch = sys.modules.get("torch")
    owner = getattr(function, "__self__", function)  # of a bound method
    if torch is not None and isinstance(owner, torch.nn.Module):
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
    """The encoder of a configuration that names a callable.

    Args:
      options: The configuration's `encoder`, with `callable`, `weights`, `checkpoint_key`, `image_size`,
        `pixels`, `version` and `precision`.
      seed: Seed of random weights.

    Raises:
      JaxpartError: It cannot be imported or built, or an option does not apply to it.
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
            key = options.get("checkpoint_key", "")  # a study's configurations lack it
            encoder = timm_encoder(rest, options.weights, key, seed=seed, side=options.image_size)
        else:
            _no_weights(options, "its folder holds them")
            encoder = transformers_encoder(rest, side=options.image_size)
        return _checked(dataclasses.replace(encoder, precision=options.precision))
    _no_weights(options, "the function has its own")
    function = _imported(text.removeprefix("torch:"), text)
    if isinstance(function, FunctionEncoder):
        if options.pixels or options.version or options.image_size:
            raise JaxpartError(
                f"{text} is a FunctionEncoder, which defines these itself; leave config.encoder.pixels, "
                f"image_size and version as they are"
            )
        return _checked(dataclasses.replace(function, precision=options.precision))
    if not callable(function):
        raise JaxpartError(f"{text} is a {type(function).__name__}, which cannot be called")
    if not options.image_size:
        raise JaxpartError(
            f"pass the side in pixels of the images that {text} expects: --config.encoder.image_size=224"
        )
    return function_encoder(
        TorchFunction(function) if kind == "torch" else function,
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
    for name in ("weights", "checkpoint_key"):
        if options.get(name, ""):
            raise JaxpartError(
                f"config.encoder.{name} is for timm's models; leave it empty for {options.callable}: {why}"
            )


@functools.cache
def _imported(text: str, option: str) -> Any:
    """Imports a name from a module or file. Raises `JaxpartError` if that fails."""
    path, colon, attribute = text.rpartition(":")
    if not colon or not path or not attribute:
        raise JaxpartError(
            f"config.encoder.callable is {option!r}; give module:function, path.py:function, "
            f"torch:module:function, timm:NAME or transformers:FOLDER"
        )
    if path.endswith(".py") and not pathlib.Path(path).is_file():
        raise JaxpartError(f"config.encoder.callable: there is no file {path}")
    try:
        return functools.reduce(getattr, attribute.split("."), module_of(path))
    except Exception as error:  # it is the user's code
        raise JaxpartError(
            f"config.encoder.callable: {text} cannot be imported ({type(error).__name__}: "
            f"{first_line(error)})"
        ) from error
