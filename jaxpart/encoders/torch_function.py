"""PyTorch functions and models as functions of NumPy images; PyTorch is imported on first use."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import inspect
import logging
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxpart.encoders.families import (
    Preprocessing,
    processor_preprocessing,
    stated_preprocessing,
)
from jaxpart.encoders.function import FunctionEncoder
from jaxpart.encoders.loading import digest_of
from jaxpart.errors import JaxpartError, first_line, listed, printable
from jaxpart.io.files import checksum_of
from jaxpart.io.modules import library
from jaxpart.io.tensor_files import flatten, open_checkpoint

RANDOM = "random"
"""Stands for random weights instead of a file."""
_COUNTERS = "num_batches_tracked"  # BatchNorm's, which other frameworks' checkpoints lack
_PRETRAINING = ("mask_token", "masked_embed", "decoder", "lm_head")  # not used without masks
_AS_FUNCTION = "write a function around it: --config.encoder.callable=torch:path.py:function"
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


class TorchFunction:
    """A PyTorch function called with NumPy images, on the GPU if PyTorch sees one."""

    def __init__(self, function: Callable[[Any], Any], *, model: Any = None) -> None:
        """Puts the module into evaluation mode and on the GPU.

        Args:
          function: Takes images [batch, 3, height, width] on that device and returns tensors, see
            `jaxpart.encoders.function`.
          model: The module that it calls, if `function` is not a module.
        """
        self._torch = library("torch", "a PyTorch function")
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        model = getattr(function, "__self__", function) if model is None else model
        if isinstance(model, self._torch.nn.Module):
            model.to(self._device).eval()
        self._function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, images: Any) -> Any:
        """The function's outputs, as arrays with channels last.

        Args:
          images: [batch, height, width, 3], float32 or uint8.
        """
        torch = self._torch
        pixels = torch.from_numpy(np.array(images).transpose(0, 3, 1, 2).copy())
        with torch.inference_mode():
            return self._array(self._function(pixels.to(self._device)))

    def _array(self, value: Any) -> Any:
        if isinstance(value, self._torch.Tensor):
            value = value.float() if value.is_floating_point() else value
            value = value.cpu().numpy()
            return np.moveaxis(value, 1, -1) if value.ndim == 4 else value
        if isinstance(value, Mapping):
            return {name: self._array(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._array(item) for item in value]
        return value


def timm_encoder(
    name: str, weights: str, checkpoint_key: str, *, seed: int, side: int
) -> FunctionEncoder:
    """A timm model: tokens of its last layer, its blocks or stages, and the input of its classifier.

    Args:
      name: timm's name, "resnet50"; or a folder or repository with timm's config.json,
        "local-dir:FOLDER" or "hf-hub:OWNER/NAME".
      weights: A checkpoint with timm's names; "random"; empty: timm downloads its own.
      checkpoint_key: The network in a checkpoint that holds several ("teacher").
      seed: Seed of random weights.
      side: Side of the images in pixels; 0: the model's own.

    Raises:
      JaxpartError: timm or the model is missing, or the weights cannot be downloaded or do not fit.
    """
    timm = library("timm", f"timm:{name}")
    torch = library("torch", f"timm:{name}")
    if not name.startswith(("local-dir:", "hf-hub:")) and not timm.is_model(name):
        architectures = timm.list_models()
        near = difflib.get_close_matches(name.partition(".")[0], architectures, 3)
        raise JaxpartError(
            f"timm {timm.__version__} has no model {name}; "
            f"{'did you mean ' + ', '.join(near) + '?' if near else 'timm.list_models() names its models'}"
        )
    _quiet_hub()
    # Without a classifier, timm would load whatever its own weights hold.
    options: dict[str, Any] = {"num_classes": 0} if weights else {"pretrained": True}
    torch.manual_seed(seed)
    try:
        try:
            model = timm.create_model(name, **options, **({"img_size": side} if side else {}))
        except TypeError:  # this model has no such option: its layers accept any size
            model = timm.create_model(name, **options)
        if getattr(model, "num_classes", 0):
            model.reset_classifier(0)
    except Exception as error:  # timm raises many kinds of errors
        advice = "" if weights else "; name a file of its weights: --config.encoder.weights=FILE"
        reason = printable(f"{type(error).__name__}: {' '.join(str(error).split())}", 240)
        raise JaxpartError(f"timm cannot make {name} ({reason}){advice}") from error
    if weights and weights != RANDOM:
        arrays = read_weights(weights, model, checkpoint_key)
        fill(model, arrays, f"timm:{name}")
        _check_extras(model, arrays, weights, f"timm:{name}")
    elif checkpoint_key:
        raise JaxpartError(
            f"config.encoder.checkpoint_key is {checkpoint_key}, but config.encoder.weights names no file; "
            f"leave it out"
        )
    try:
        data = timm.data.resolve_model_data_config(model)
        height, width = data["input_size"][1:]
        preprocessing = stated_preprocessing(data["mean"], data["std"])
        if preprocessing is None:
            raise ValueError("mean and std must be three numbers from 0 to 1, no std 0")
    except (TypeError, ValueError) as error:
        raise JaxpartError(
            f"timm:{name} states no usable input_size, mean and std ({first_line(error)}); correct the "
            f"pretrained_cfg in its config.json"
        ) from error
    return _encoder(
        f"timm:{name}",
        lambda images: _timm_outputs(model, images),
        model,
        image_size=(side, side) if side else (height, width),
        preprocessing=preprocessing,
        trained=weights != RANDOM,
    )


def _quiet_hub() -> None:
    """Silences the hub's own log messages; an exception reports that it cannot be reached."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _parameters(function: Any) -> Any:
    return inspect.signature(function).parameters


def _timm_outputs(model: Any, images: Any) -> dict[str, Any]:
    blocks: list[Any] = []
    if hasattr(model, "forward_intermediates"):
        options: dict[str, Any] = {"output_fmt": "NCHW"}
        if "return_prefix_tokens" in _parameters(model.forward_intermediates):
            options["return_prefix_tokens"] = getattr(model, "num_prefix_tokens", 1) > 0
        final, blocks = model.forward_intermediates(images, **options)
    else:
        final = model.forward_features(images)
    if isinstance(final, list | tuple):
        raise ValueError(f"its features are {len(final)} arrays, not one; {_AS_FUNCTION}")
    cls = getattr(model, "cls_token", None) is not None
    read = model.forward_head(final, pre_logits=True)
    if final.ndim == 4:
        channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        out = {"tokens": final.permute(0, 3, 1, 2) if channels_last else final, "embedding": read}
    else:
        if hasattr(model, "reroll"):  # Hiera's tokens need not lie row by row
            final = model.reroll(final, len(model.blocks) - 1).flatten(1, 2)
        grid = tuple(_tokens_of(blocks[-1]).shape[2:]) if blocks else None
        prefix = getattr(model, "num_prefix_tokens", None)
        if prefix is None:
            prefix = final.shape[1] - math.prod(grid) if grid else 0
        out = split_tokens(final, prefix, grid, cls=cls) | _timm_vector(model, read, cls=cls)
    out["blocks"] = [
        {"tokens": _tokens_of(block)}
        | ({"cls_token": block[1][:, 0]} if cls and isinstance(block, tuple) else {})
        for block in blocks
    ]
    return out


def _timm_vector(model: Any, read: Any, *, cls: bool) -> dict[str, Any]:
    """What a timm model's classifier reads of its tokens, by the name that a converted encoder's has."""
    hybrid = hasattr(getattr(model, "patch_embed", None), "backbone")  # as in ViTamin
    if not cls and (hybrid or not hasattr(model, "num_prefix_tokens")):
        return {"embedding": read}
    if getattr(model, "attn_pool", None) is not None:
        return {"projection": read}
    pool = getattr(model, "global_pool", "")
    normed = type(getattr(model, "fc_norm", None)).__name__ not in ("NoneType", "Identity")
    every = getattr(model, "pool_include_prefix", False)
    if not pool or (pool in ("token", "avg") and not normed and not every):
        return {}  # all tokens; or the cls token or the mean patch token as they are
    return {"pooled": read}


def _tokens_of(block: Any) -> Any:
    """A block's map [batch, width, rows, columns]; timm appends its prefix tokens, if any."""
    return block[0] if isinstance(block, tuple) else block


def split_tokens(
    tokens: Any, prefix: int, grid: tuple[int, ...] | None, *, cls: bool
) -> dict[str, Any]:
    """A model's tokens [batch, prefix + patches, width] as "tokens" [batch, width, rows, columns] and, if
    the first of the prefix is one, "cls_token".

    Raises:
      ValueError: The patches do not fill the grid.
    """
    patches = tokens[:, max(prefix, 0) :]
    count = patches.shape[1]
    if grid is None:
        grid = (round(count**0.5),) * 2
    if grid[0] * grid[1] != count:
        raise ValueError(
            f"{count} patch tokens do not fill a grid of {grid[0]} × {grid[1]}; {_AS_FUNCTION}"
        )
    out = {"tokens": patches.transpose(1, 2).reshape(len(tokens), -1, *grid)}
    return out | ({"cls_token": tokens[:, 0]} if cls and prefix else {})


def transformers_encoder(name: str, *, side: int) -> FunctionEncoder:
    """A transformers vision model, or the vision tower of an image-text model.

    Args:
      name: A folder written by `save_pretrained`, or a name on the Hugging Face hub.
      side: Side of the images in pixels; 0: that of its configuration.

    Raises:
      JaxpartError: transformers is missing, or cannot load it.
    """
    transformers = library("transformers", f"transformers:{name}")
    torch = library("torch", f"transformers:{name}")
    transformers.utils.logging.set_verbosity_error()
    _quiet_hub()
    transformers.utils.logging.disable_progress_bar()
    try:
        full_model, report = transformers.AutoModel.from_pretrained(
            name, output_loading_info=True, dtype=torch.float32
        )
    except Exception as error:  # transformers raises many kinds of errors
        raise JaxpartError(
            f"transformers cannot load {name} ({type(error).__name__}: {first_line(error)}); name a folder "
            f"with config.json, preprocessor_config.json and the weights"
        ) from error
    check_missing(report, name, "save it again with save_pretrained")
    if full_model.config.model_type == "vit_mae":
        raise JaxpartError(
            f"{name} is transformers' MAE, which hides patches at random; convert it to an encoder that "
            f"sees them all: python -m convert mae {name} OUT --layout transformers"
        )
    preprocessing = transformers_preprocessing(name)
    if preprocessing is None:
        raise JaxpartError(
            f"{name} states no image_mean and image_std of three channels from 0 to 1; add them to its "
            f"preprocessor_config.json"
        )
    model = getattr(full_model, "vision_encoder", full_model)  # SAM's
    model = getattr(full_model, "vision_model", model)
    size = side or getattr(model.config, "image_size", None) or 224
    height, width = (size, size) if isinstance(size, int) else size
    return _encoder(
        f"transformers:{name}",
        lambda images: _transformers_outputs(full_model, model, images),
        full_model,
        image_size=(height, width),
        preprocessing=preprocessing,
        trained=True,
    )


def check_missing(report: Mapping[str, Any], source: str, advice: str) -> None:
    """Raises `JaxpartError` if transformers drew random weights for arrays that an encoder uses.

    Args:
      report: The loading info of `from_pretrained`.
      source: The folder or file, for the message.
      advice: What to do.
    """
    missing = [
        key
        for key in sorted(report["missing_keys"])
        if not key.startswith("pooler.") and not key.endswith("mask_token")
    ]
    if missing:
        raise JaxpartError(f"{source} has no weights for {listed(missing, 5)}; {advice}")


def transformers_preprocessing(name: str) -> Preprocessing | None:
    """The mean and std that transformers reads of a folder or repository; None if it states none.

    Raises:
      JaxpartError: transformers is missing, or the folder's file cannot be read.
    """
    transformers = library("transformers", f"transformers:{name}")
    try:
        document, _ = transformers.ImageProcessingMixin.get_image_processor_dict(name)
        return processor_preprocessing(document)
    except Exception as error:  # what it raises depends on what the JSON holds
        for file in _PROCESSORS:
            if (pathlib.Path(name) / file).is_file():
                raise JaxpartError(
                    f"{name}/{file} cannot be read ({first_line(error)}); download it again"
                ) from error
        return None


def _transformers_outputs(full_model: Any, model: Any, images: Any) -> dict[str, Any]:
    if hasattr(model, "timm_model"):
        return _timm_outputs(model.timm_model, images)
    options: dict[str, Any] = {"output_hidden_states": True}
    if "interpolate_pos_encoding" in _parameters(model.forward):
        options["interpolate_pos_encoding"] = True
    output = model(pixel_values=images, **options)
    hidden, last = output.hidden_states, output.last_hidden_state
    hidden = (getattr(output, "reshaped_hidden_states", None) or hidden or ())[1:]
    sides = images.shape[2:]
    maps = channels_first(hidden, sides) if hidden and hidden[-1].ndim == 4 else []
    out: dict[str, Any]
    if last.ndim == 4:
        out = {"tokens": channels_first([last], sides)[0], "blocks": maps}
    else:
        if maps:
            grid = tuple(maps[-1].shape[2:])
        else:
            patch = getattr(model.config, "patch_size", None)
            if patch is None:
                raise ValueError(f"its config.json states no patch_size; {_AS_FUNCTION}")
            patch = (patch, patch) if isinstance(patch, int) else patch
            grid = tuple(side // p for side, p in zip(sides, patch, strict=True))
        detection = getattr(model.config, "num_detection_tokens", 0)  # YOLOS's, at the end
        prefix = last.shape[1] - math.prod(grid) - detection

        def split(tokens: Any) -> dict[str, Any]:
            return split_tokens(tokens[:, : tokens.shape[1] - detection], prefix, grid, cls=True)

        out = split(last) | {"blocks": maps or [split(tokens) for tokens in hidden]}
    if hasattr(full_model, "visual_projection"):
        out["projection"] = full_model.visual_projection(output.pooler_output)
    return out


def channels_first(maps: Sequence[Any], sides: Sequence[int]) -> list[Any]:
    """A model's maps as [batch, width, rows, columns], which only those of SAM and Hiera are not.

    Args:
      maps: All of one order of axes; rows and columns have the aspect of the image.
      sides: (height, width) of the image in pixels.

    Raises:
      ValueError: Their shapes do not show the order.
    """
    height, width = sides
    slack = 0 if height == width else max(sides)

    def fits(rows: int, columns: int) -> bool:
        return abs(rows * width - columns * height) <= slack

    first = all(fits(*features.shape[2:]) for features in maps)
    if first == all(fits(*features.shape[1:3]) for features in maps):
        shape = list(maps[-1].shape)
        raise ValueError(
            f"which axis of its maps {shape} holds the channels is unclear; {_AS_FUNCTION}"
        )
    return list(maps) if first else [features.permute(0, 3, 1, 2) for features in maps]


def _encoder(
    name: str, function: Callable[[Any], Any], model: Any, **about: Any
) -> FunctionEncoder:
    """Wraps a model and the function that runs it; its version is the digest of weights and settings."""
    weights = {key: value.numpy() for key, value in model.float().state_dict().items()}
    kind = name.partition(":")[0]
    library_version = f"{kind} {importlib.metadata.version(kind)}"
    version = f"{digest_of(weights)} {checksum_of(_settings(model))[:16]} {library_version}"
    run = jax.tree_util.Partial(TorchFunction(function, model=model))
    return FunctionEncoder(run, name, version=version, jittable=False, **about)


def _settings(model: Any) -> dict[str, Any]:
    """What no weight shows of a PyTorch module: the class and plain attributes of its parts, by name."""

    def plain(value: Any) -> bool:
        if isinstance(value, list | tuple):
            return all(map(plain, value))
        return isinstance(value, bool | int | float | str)

    return {
        path: [type(part).__name__, {k: v for k, v in vars(part).items() if plain(v)}]
        for path, part in model.named_modules()
    }


def read_weights(path: str, model: Any, checkpoint_key: str) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by a PyTorch module's names, without any prefix.

    Without a complete set of them, the most complete one. A file that is the network itself comes before
    networks under keys.

    Raises:
      JaxpartError: The file cannot be read, or several of its networks have all of these names.
    """
    values = {
        key: value
        for key, value in flatten(open_checkpoint(path).contents)
        if isinstance(value, np.ndarray)
    }
    names = [name for name in model.state_dict() if not name.endswith(_COUNTERS)]
    prefixes = [key.removesuffix(names[0]) for key in values if key.endswith(names[0])]
    if checkpoint_key:
        exact = [p for p in prefixes if p == f"{checkpoint_key}."]
        prefixes = exact or [p for p in prefixes if f".{checkpoint_key}." in f".{p}"]
        if not prefixes:
            raise JaxpartError(
                f"{path} has no such network in {printable(checkpoint_key)}; leave out "
                f"config.encoder.checkpoint_key to see which it has"
            )
    found = {p: sum(f"{p}{name}" in values for name in names) for p in prefixes}
    complete = [p for p in found if found[p] == len(names)]
    if len(complete) > 1 and "" not in complete:
        networks = listed(sorted(printable(p.rstrip(".")) for p in complete), 5)
        raise JaxpartError(
            f"{path} holds {len(complete)} networks that fit: {networks}; choose one with "
            f"config.encoder.checkpoint_key"
        )
    prefix = max(sorted(found, key=len), key=lambda p: found[p], default="")
    others = tuple(p for p in complete if p != prefix)
    return {
        key.removeprefix(prefix): value
        for key, value in values.items()
        if key.startswith(prefix) and not key.startswith(others)
    }


def _check_extras(model: Any, weights: Mapping[str, np.ndarray], file: str, name: str) -> None:
    """Raises `JaxpartError` if the weights are of a model with further layers than this one of timm."""
    classifier = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    known = {*model.state_dict(), *(key for key, _ in model.named_buffers())}
    harmless = (*_PRETRAINING, "head_dist.", *(_classifier_of(head, known) for head in heads))
    extras = [
        printable(key)
        for key in weights
        if key not in known and not key.startswith(harmless) and not key.endswith(_COUNTERS)
    ]
    if extras:
        raise JaxpartError(
            f"{file} has {listed(extras, 3)}, which {name} does not; name another model"
        )


def _classifier_of(layer: str, known: Iterable[str]) -> str:
    """Prefix of a classifier's names, given its linear layer.

    It is that of the outermost module around it of which a model without a classifier has nothing.
    """
    parts = layer.split(".")
    modules = [f"{'.'.join(parts[: i + 1])}." for i in range(len(parts))]
    return next((m for m in modules if not any(key.startswith(m) for key in known)), modules[-1])


def fill(module: Any, weights: Mapping[str, np.ndarray], name: str) -> None:
    """Loads arrays into a PyTorch module by name; extra arrays are ignored.

    Raises:
      JaxpartError: An array is missing or has another shape.
    """
    torch = library("torch", name)
    expected = {k: v for k, v in module.state_dict().items() if not k.endswith(_COUNTERS)}
    missing = [key for key in expected if key not in weights]
    mismatched = [
        f"{key} {list(weights[key].shape)} instead of {list(value.shape)}"
        for key, value in expected.items()
        if key in weights and weights[key].shape != tuple(value.shape)
    ]
    if missing or mismatched:
        faults = [*(f"{key} is missing" for key in missing), *mismatched]
        advice = "" if missing else ", or give the image size that it was trained at"
        raise JaxpartError(
            f"the checkpoint's weights do not fit {name}: {listed(faults, 5, '; ')}; name another "
            f"model{advice}"
        )
    module.load_state_dict(
        {
            key: torch.tensor(np.asarray(weights[key], np.float64), dtype=value.dtype)
            for key, value in expected.items()
        },
        strict=False,
    )
