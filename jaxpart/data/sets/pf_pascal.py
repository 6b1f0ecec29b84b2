"""PF-PASCAL from its folder and its list of pairs: photographs of 20 classes with up to 20 points."""

from __future__ import annotations

import csv
import math
import pathlib

import numpy as np

from jaxpart.data.folders import check_split, fingerprint, named_files, read_file, read_lines
from jaxpart.data.layouts import dataset_folder
from jaxpart.data.listed_images import ListedImages
from jaxpart.data.pairs import PairSet, image_size
from jaxpart.data.source import Annotation, DatasetInfo
from jaxpart.errors import JaxpartError

ADVICE = (
    "unpack PF-dataset-PASCAL.zip (https://www.di.ens.fr/willow/research/proposalflow/) there, and put "
    "test_pairs_pf_pascal.csv beside it"
)
SPLITS = ("val", "test")
CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
_POINTS = 20


def pf_pascal(root: str, split: str = "test") -> PairSet:
    """The pairs of an official list, in its order, with their points.

    The list has neither boxes nor ids of points: the reference length is the longer side of the target
    image, and no points count as interchangeable.

    Args:
      root: The folder that holds PF-dataset-PASCAL and SPLIT_pairs_pf_pascal.csv, or one above it.
      split: "val" or "test"; the list of the training pairs has no points.

    Raises:
      JaxpartError: The layout is wrong, or a line of the list is invalid.
    """
    check_split("PF-PASCAL", split, SPLITS)
    name = f"{split}_pairs_pf_pascal.csv"
    folder = dataset_folder(root, "PF-PASCAL", (name, "PF-dataset-PASCAL/JPEGImages"), ADVICE)
    listed = folder / name
    rows = [_row(listed, line, number) for number, line in enumerate(_lines(listed), 2)]
    if not rows:
        raise JaxpartError(f"{listed} lists no pairs; unpack it again")
    names = dict.fromkeys(image for row in rows for image in row[0])
    files = named_files(folder, list(names), listed)
    info = DatasetInfo(
        name="pf_pascal", split=split, version=fingerprint(read_file(listed)), class_names=CLASSES
    )
    source = ListedImages(folder, [Annotation(file) for file in files], info)
    number = {image: i for i, image in enumerate(names)}
    pairs = np.array([[number[image] for image in row[0]] for row in rows], np.int64)
    xy = np.zeros((2, len(rows), _POINTS, 2))
    visible = np.zeros((len(rows), _POINTS), bool)
    for i, (_, _, *points) in enumerate(rows):
        count = len(points[0])
        xy[:, i, :count], visible[i, :count] = points, True
    sizes = np.array([image_size(source, i) for i in range(len(source))], np.int64)
    return PairSet(
        source=source,
        sizes=sizes,
        pairs=pairs,
        source_xy=xy[0],
        target_xy=xy[1],
        source_visible=visible,
        target_visible=visible,
        side=sizes[pairs[:, 1]].max(axis=1).astype(np.float64),
        reference="image",
        classes=tuple(CLASSES[row[1]] for row in rows),
        groups=np.full(visible.shape, -1),
    )


def _lines(listed: pathlib.Path) -> list[list[str]]:
    try:
        return [row for row in csv.reader(read_lines(listed)[1:]) if row]
    except csv.Error as error:
        raise JaxpartError(f"{listed} is not a CSV file ({error}); unpack it again") from error


def _row(
    listed: pathlib.Path, cells: list[str], number: int
) -> tuple[tuple[str, str], int, np.ndarray, np.ndarray]:
    """The images, the class from 0, and the points in each image, from a line of the list."""
    try:
        xs, ys, xt, yt = ([float(n) for n in cell.split(";")] for cell in cells[3:7])
        points = np.array([xs, ys]).T, np.array([xt, yt]).T
        label = int(cells[2]) - 1
    except (ValueError, IndexError):
        points, label = (np.zeros((0, 2)), np.zeros((0, 2))), -1
    valid = 0 < len(points[0]) == len(points[1]) <= _POINTS and 0 <= label < len(CLASSES)
    if not valid or not all(math.isfinite(n) for side in points for n in side.ravel()):
        raise JaxpartError(
            f"{listed}, line {number}: it is not two images, a class of 1 to {len(CLASSES)} and the x "
            f"and y of the same 1 to {_POINTS} points in each, separated by semicolons; unpack it again"
        )
    return (cells[0], cells[1]), label, points[0], points[1]
