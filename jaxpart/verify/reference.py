"""Creates the PyTorch reference with the checkpoint's weights.

There are three kinds of references, and PyTorch is imported only when one is created:

- `timm:NAME` or `timm:NAME,key=value,…`: `timm.create_model` at the size that the checkpoint was
  trained at, and the checkpoint's weights under timm's names;
- `transformers:CLASS`: `CLASS.from_pretrained` of the folder that the checkpoint is in;
- `module:path.to.module:callable`: your own; the callable takes the checkpoint's path and returns a
  `torch.nn.Module` with its weights.
"""

from __future__ import annotations

import ast
import importlib
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxpart.encoders.torch_function import check_missing, fill
from jaxpart.errors import JaxpartError, first_line
from jaxpart.io.modules import library
from jaxpart.io.tensor_files import flatten, open_checkpoint
from jaxpart.verify.torch_stages import OTHER_NETWORKS


def load_reference(
    text: str,
    checkpoint: pathlib.Path,
    *,
    image_size: tuple[int, int],
    checkpoint_key: str | None = None,
    taken_off: Sequence[str] = (),
) -> Any:
    """A `torch.nn.Module` in evaluation mode with the checkpoint's weights.

    Args:
      text: The reference, see above.
      checkpoint: The PyTorch checkpoint.
      image_size: (height, width) in pixels that it was trained at.
      checkpoint_key: The network to use, if it holds several.
      taken_off: Prefixes that the conversion stripped; one of them tells which network that was.

    Raises:
      JaxpartError: A library is missing, there is no such model, or the weights do not fit it.
    """
    torch = library("torch", "comparing with PyTorch")
    kind, _, name = text.partition(":")
    if kind == "timm" and name:
        module = _timm(name, checkpoint, image_size, checkpoint_key, taken_off)
    elif kind == "transformers" and name:
        module = _transformers(name, checkpoint)
    elif kind == "module" and ":" in name:
        module = _user_module(name, checkpoint)
    else:
        raise JaxpartError(
            f"there is no reference {text!r}; give timm:NAME, transformers:CLASS or "
            f"module:path.to.module:callable"
        )
    if not isinstance(module, torch.nn.Module):
        raise JaxpartError(f"{text} returns a {type(module).__name__}, not a torch.nn.Module")
    return module.float().eval()


def _user_module(name: str, checkpoint: pathlib.Path) -> Any:
    path, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(path), attribute)
    except (ImportError, AttributeError) as error:
        raise JaxpartError(
            f"the reference module:{name} cannot be imported ({error}); run in the folder that holds it, "
            f"or add that to PYTHONPATH"
        ) from error
    try:
        return factory(str(checkpoint))
    except Exception as error:  # a foreign callable may raise anything
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise JaxpartError(
            f"the reference module:{name} fails ({reason}); it takes the checkpoint's path and returns "
            f"a torch.nn.Module with its weights"
        ) from error


def _timm(
    text: str,
    checkpoint: pathlib.Path,
    image_size: tuple[int, int],
    checkpoint_key: str | None,
    taken_off: Sequence[str],
) -> Any:
    timm = library("timm", "comparing with timm")
    name, *pairs = _split(text)
    weights = _weights(checkpoint, checkpoint_key, taken_off)
    head = weights.get("head.weight")
    settings: dict[str, Any] = {
        "img_size": image_size,
        "num_classes": 0 if head is None or head.ndim != 2 else len(head),
    }
    try:
        settings |= {
            key: ast.literal_eval(value) for key, value in (p.split("=", 1) for p in pairs)
        }
        try:
            module = timm.create_model(name, **settings, dynamic_img_size=True)
        except TypeError:
            module = timm.create_model(name, **settings)
    except Exception as error:  # timm raises many kinds of errors
        raise JaxpartError(f"timm cannot make {text}: {error}") from error
    fill(module, weights, f"timm:{name}")
    return module


def _split(text: str) -> list[str]:
    """Splits at commas outside brackets: "NAME", "img_size=(32,128)"."""
    return re.split(r",(?![^(\[]*[)\]])", text)


def takes_grid(text: str) -> bool:
    """Whether a reference is created for the size that the checkpoint was assumed to be trained at."""
    kind, _, name = text.partition(":")
    return kind == "timm" and not any(part.startswith("img_size=") for part in _split(name))


def _weights(
    path: pathlib.Path, checkpoint_key: str | None, taken_off: Sequence[str]
) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint's network, without the prefix of its blocks."""
    values = {
        key: value
        for key, value in flatten(open_checkpoint(path).contents)
        if isinstance(value, np.ndarray)
    }
    marker = "blocks.0.norm1.weight"
    prefixes = [key.removesuffix(marker) for key in values if key.endswith(marker)]
    converted = [p for p in prefixes if p in taken_off]
    prefixes = converted or [p for p in prefixes if not any(word in p for word in OTHER_NETWORKS)]
    if checkpoint_key:
        prefixes = [p for p in prefixes if p.startswith(f"{checkpoint_key}.")]
    if not prefixes:
        raise JaxpartError(
            f"{path} has no {marker}, so its weights have other names than timm's; give a reference of "
            f"the kind module:path.to.module:callable, which loads them itself"
        )
    prefix = min(prefixes, key=len)
    return {key[len(prefix) :]: v for key, v in values.items() if key.startswith(prefix)}


def _transformers(name: str, checkpoint: pathlib.Path) -> Any:
    transformers = library("transformers", "comparing with transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if not hasattr(transformers, name):
        raise JaxpartError(
            f"transformers has no class {name!r}; give the class of the model, as in "
            f"transformers:ViTModel"
        )
    if not (checkpoint.parent / "config.json").is_file():
        raise JaxpartError(
            f"{checkpoint.parent} has no config.json, which transformers needs next to the checkpoint"
        )
    try:
        module, report = getattr(transformers, name).from_pretrained(
            checkpoint.parent, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # transformers raises many kinds of errors
        reason = first_line(error)
        raise JaxpartError(f"transformers cannot load {checkpoint} as {name}: {reason}") from error
    check_missing(report, str(checkpoint), f"name another class than {name}")
    return module
