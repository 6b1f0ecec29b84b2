"""SPair-71k from its official folder: pairs of photographs of 18 classes with keypoints."""

from __future__ import annotations

import math
import pathlib

import numpy as np

from jaxpart.data.folders import check_split, fingerprint, read_file, read_ids
from jaxpart.data.layouts import dataset_folder
from jaxpart.data.listed_images import ListedImages
from jaxpart.data.pairs import PairSet, paired
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints
from jaxpart.errors import JaxpartError, printable
from jaxpart.io.text import decode_json

ADVICE = "unpack SPair-71k.tar.gz (http://cvlab.postech.ac.kr/research/SPair-71k/) there"
SPLITS = ("trn", "val", "test")
_POINTS = 30


def _consecutive_pairs(first: int, last: int) -> tuple[tuple[int, ...], ...]:
    return tuple((i, i + 1) for i in range(first, last, 2))


_WHEELS = ((10, 13, 20, 23), (11, 14, 21, 24), (12, 15, 22, 25), (16, 17, 26, 27), (18, 19, 28, 29))
_CAT = ((2, 3), (9, 10, 11, 12))
_COW = (*_CAT, (15, 16, 17, 18), (19, 20))
GROUPS = {
    "aeroplane": _consecutive_pairs(4, 21),
    "bicycle": ((2, 3), (6, 7), (9, 10)),
    "bird": ((1, 2), *_consecutive_pairs(10, 15)),
    "boat": _consecutive_pairs(1, 12),
    "bottle": _consecutive_pairs(0, 9),
    "bus": ((0, 1), (2, 3, 5, 6), (4, 7), *_WHEELS),
    "car": ((0, 1), (2, 3, 6, 7), (4, 8), (5, 9), *_WHEELS),
    "cat": _CAT,
    "chair": ((0, 1), (2, 3), (4, 5, 6, 7), *_consecutive_pairs(8, 13)),
    "cow": _COW,
    "dog": _CAT,
    "horse": ((2, 3), (10, 11, 12, 13), (16, 17, 18, 19)),
    "motorbike": ((0, 1), (2, 3)),
    "person": _consecutive_pairs(8, 19),
    "pottedplant": ((0, 1, 2, 3), (4, 5), (6, 8)),
    "sheep": _COW,
    "train": _consecutive_pairs(0, 17),
    "tvmonitor": ((0, 2, 4, 6), (1, 3, 5, 7), (8, 10, 12, 14), (9, 11, 13, 15)),
}
"""Interchangeable keypoints of each class, by id, as GeoAware-SC groups them."""


def spair(root: str, split: str = "test") -> PairSet:
    """The official pairs of a split, in the order of its list.

    Points come from the images' own annotations, not from the pairs', since only the former include points
    visible in just one of the images. The reference length is the longer side of the target's box.

    Args:
      root: The folder SPair-71k, or one above it.
      split: "trn", "val" or "test".

    Raises:
      JaxpartError: The layout is wrong, or a list or an annotation is invalid.
    """
    check_split("SPair-71k", split, SPLITS)
    folder = dataset_folder(root, "SPair-71k", (f"Layout/large/{split}.txt",), ADVICE)
    listed = folder / "Layout" / "large" / f"{split}.txt"
    numbers: dict[tuple[str, str], int] = {}
    pairs, classes = [], []
    for name in read_ids(listed):
        names, stems, category = _parts(name)
        if len(stems) != 2 or category not in GROUPS:
            raise JaxpartError(
                f"{listed}: {names!r} is not a number, two images and a class, as in "
                "000001-2008_000033-2008_000059:aeroplane; unpack the data set again"
            )
        pairs.append([numbers.setdefault((category, stem), len(numbers)) for stem in stems])
        classes.append(category)
    annotations, boxes, contents = [], [], []
    for category, stem in numbers:
        file = folder / "ImageAnnotation" / category / f"{stem}.json"
        contents.append(read_file(file))
        annotation, box = _annotation(file, contents[-1], category)
        annotations.append(annotation)
        boxes.append(box)
    info = DatasetInfo(
        name="spair",
        split=split,
        version=fingerprint(read_file(listed), *contents),
        part_names={i: f"keypoint {i}" for i in range(_POINTS)},
        class_names=tuple(GROUPS),
    )
    return paired(
        ListedImages(folder, annotations, info),
        np.array(pairs, np.int64),
        classes,
        boxes=np.array(boxes),
        groups=GROUPS,
    )


def _parts(name: str) -> tuple[str, list[str], str]:
    """A pair's name, the stems of its images, and its class."""
    separator = ":" if ":" in name else "_"  # which replaces the colon in some copies
    images, _, category = name.removesuffix(".json").rpartition(separator)
    return name, images.split("-")[1:], category


def _annotation(
    file: pathlib.Path, data: bytes, category: str
) -> tuple[Annotation, tuple[float, float]]:
    """The keypoints of an image, and (width, height) of its object's box."""
    try:
        document = decode_json(data, file)
        points = [document["kps"].get(str(i)) for i in range(_POINTS)]
        x1, y1, x2, y2 = (float(edge) for edge in document["bndbox"])
        size = int(document["image_width"]), int(document["image_height"])
        xy = np.array([point or (0, 0) for point in points], np.float64).reshape(_POINTS, 2)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise JaxpartError(
            f"{file} is not an annotation of SPair-71k ({type(error).__name__}: {printable(str(error))}): "
            "it needs kps, bndbox, image_width and image_height; unpack the data set again"
        ) from error
    if not (np.isfinite(xy).all() and x1 < x2 and y1 < y2 and math.isfinite(x2 - x1 + y2 - y1)):
        raise JaxpartError(
            f"{file}: its box {[x1, y1, x2, y2]} is empty or a keypoint is not a number; unpack the "
            "data set again"
        )
    if min(size) < 1:
        raise JaxpartError(f"{file}: the image size {size[0]} × {size[1]} is invalid")
    keypoints = Keypoints(
        part=np.arange(_POINTS),
        xy=xy,
        visible=np.array([bool(point) for point in points]),
        instance=np.zeros(_POINTS, np.int64),
    )
    name = f"JPEGImages/{category}/{file.stem}.jpg"
    return Annotation(name, keypoints, list(GROUPS).index(category), size), (x2 - x1, y2 - y1)
