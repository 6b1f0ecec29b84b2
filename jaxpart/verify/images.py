"""The images of a comparison, and a check that both sides preprocess them identically."""

from __future__ import annotations

import dataclasses
import importlib
import io
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from jaxpart.data.critters import Critters
from jaxpart.data.folders import read_file, walk_images
from jaxpart.data.images import decode, image_eval
from jaxpart.encoders.torch_function import transformers_preprocessing
from jaxpart.verify.comparing import Difference, compare

_CROP = 224 / 256
"""Fraction of the shorter side that the crop keeps, see `image_eval`."""


def read_images(folder: str | pathlib.Path | None, count: int) -> dict[str, bytes]:
    """Image files by name: the first of a folder, or generated images.

    Raises:
      JaxpartError: The folder holds no images, or one cannot be read.
    """
    if folder is None:
        critters = Critters("test", count, image_size=160, seed=0)
        return {critters[i].annotation.id: critters[i].image for i in range(count)}
    files = [pathlib.Path(folder) / path for path in walk_images(pathlib.Path(folder))[:count]]
    return {str(file): read_file(file) for file in files}


def pixels(
    images: dict[str, bytes], size: tuple[int, int]
) -> UInt8[np.ndarray, "image height width 3"]:
    """Decodes, resizes and crops images as for testing; non-square sizes distort them."""
    height, width = size
    return np.stack([_pixels(decode(d, name), height, width) for name, d in images.items()])


def _pixels(image: Image.Image, height: int, width: int) -> np.ndarray:
    if height == width:
        return image_eval(image, height)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def compare_pixels(
    images: dict[str, bytes],
    ours: UInt8[np.ndarray, "image height width 3"],
    normalized: Float32[np.ndarray, "image height width 3"],
    preprocessing: tuple[Sequence[float], Sequence[float]],
    stated: tuple[Sequence[float], Sequence[float]] | None,
) -> list[Difference]:
    """Compares preprocessing with torchvision's: the stages "pixels" and "normalised".

    Args:
      images: Encoded images.
      ours: Our uint8 pixels.
      normalized: Our encoder's inputs.
      preprocessing: Our (mean, std), of values in [0, 1].
      stated: The reference's, if it states them.
    """
    try:
        transforms = importlib.import_module("torchvision.transforms")
    except ImportError:
        note = "not compared: torchvision is not installed"
        return [Difference(stage, None, note=note) for stage in ("pixels", "normalised")]
    height, width = ours.shape[1:3]
    bicubic = transforms.InterpolationMode.BICUBIC
    if height == width:
        steps = [transforms.Resize(round(height / _CROP), bicubic), transforms.CenterCrop(height)]
    else:
        steps = [transforms.Resize((height, width), bicubic)]
    resize = transforms.Compose(steps)
    finish = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(*(stated or preprocessing))]
    )
    pictures = [resize(Image.open(io.BytesIO(data)).convert("RGB")) for data in images.values()]
    theirs = np.stack([np.asarray(image) for image in pictures])
    values = np.stack([finish(image).numpy().transpose(1, 2, 0) for image in pictures])
    note = "mean and std not checked: the reference states none" if stated is None else ""
    if stated is not None and stated != preprocessing:
        note = f"mean and std: {stated} in the reference, {preprocessing} here"
    equal = "uint8, equal" if np.array_equal(theirs, ours) else "uint8, not equal"
    difference = compare("pixels", theirs, ours)
    return [
        Difference("pixels", difference.error, difference.cosine, difference.scale, equal),
        dataclasses.replace(compare("normalised", values, normalized), note=note),
    ]


def stated_normalization(
    module: object, reference: str, checkpoint: pathlib.Path
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The (mean, std) that a reference states, or None.

    timm states them if the name has a tag (vit_base_patch16_224.mae); without a tag they are defaults.
    """
    if reference.startswith("timm:"):
        if "." not in reference.partition(",")[0]:
            return None
        stated = getattr(module, "pretrained_cfg", {})
        return tuple(stated["mean"]), tuple(stated["std"])
    if reference.startswith("transformers:"):
        read = transformers_preprocessing(str(checkpoint.parent))
        return None if read is None else (read.mean, read.std)
    return None
