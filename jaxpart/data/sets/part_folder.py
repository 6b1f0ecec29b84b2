"""The user's own images, with a COCO-style keypoint file or with label maps."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from jaxpart.data.coco_file import INSTANCE_GAP, SEEN, CocoFile
from jaxpart.data.folders import (
    NotThere,
    file_sizes,
    fingerprint,
    list_pairs,
    match_files,
    read_file,
    read_ids,
    read_lines,
    walk_images,
)
from jaxpart.data.images import palette_labels
from jaxpart.data.label_maps import LabelMaps, check_names
from jaxpart.data.listed_images import ListedImages, annotated_size, rotated_note
from jaxpart.data.parts import outside
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints, Source
from jaxpart.errors import JaxpartError

ADVICE = (
    "a part folder holds images and keypoints.json (COCO's format), or images, labels (PNG files) and "
    "classes.txt (one name a line, from label 1)"
)
_KEYPOINTS = "keypoints.json"
_CLASSES = "classes.txt"
_PALETTES = 256
_SPECIAL = {
    **dict.fromkeys(("background", "bg", "void", "unlabeled", "unlabelled"), "background"),
    "ignore": "ignored",
}
"""Lines of a class list, without underscores, that are not classes."""
_NUMBERED = re.compile(r"\d+\s*[\s:,;.)]\s*\S")
_WITH_COLOURS = re.compile(r"#|.*:\s*\d+\s*,\s*\d+\s*,\s*\d+")


def part_folder(root: str | pathlib.Path, split: str = "all") -> Source:
    """A folder of the user's own images as a `Source`.

    With keypoints.json: its images in its order, with the keypoints of all instances, named by each
    instance's category; part ids count from 1, instances are annotation ids, and only points with
    v = 2 are visible. With labels: all images by name, with a mask "part" whose label 0 is the
    background. Images may be in subfolders.

    Args:
      root: The folder with images, or with one folder for each split.
      split: "all" for `root` itself; any other is a folder in it.

    Raises:
      JaxpartError: The layout is wrong, a field of keypoints.json is invalid, an image or label map has
        no counterpart, or the palettes of label maps contradict each other.
    """
    folder = pathlib.Path(root) if split == "all" else pathlib.Path(root) / split
    if not (folder / "images").is_dir():
        splits = [name for name in ("train", "test") if (folder / name / "images").is_dir()]
        if split == "all" and splits:
            raise NotThere(
                f"{folder} has no images of its own, only the splits {' and '.join(splits)}; "
                "where no split is requested, as in retrieval, name one of them, "
                f"{folder / splits[-1]}"
            )
        raise NotThere(f"{folder} holds no part folder: images is missing; {ADVICE}")
    if (folder / _KEYPOINTS).exists():
        return KeypointFolder(folder, split)
    if not (folder / "labels").is_dir() or not (folder / _CLASSES).exists():
        raise JaxpartError(f"{folder} has images without annotations; {ADVICE}")
    names, notes = _class_names(folder / _CLASSES)
    pairs = list_pairs(folder, "images", "labels")
    _check_palettes(folder, [label_map for _, label_map in pairs])
    return LabelMaps("part_folder", split, folder, pairs, "part", names, notes=notes)


def _check_palettes(folder: pathlib.Path, label_maps: Sequence[str]) -> None:
    """Raises `JaxpartError` if a colour has two labels, as where a picture of colours became a palette.

    Looks at up to `_PALETTES` label maps.
    """
    first: dict[tuple[int, ...], tuple[int, str]] = {}
    for path in label_maps[:: -(-len(label_maps) // _PALETTES)]:
        try:
            with (folder / path).open("rb") as file:
                label_of = palette_labels(file, path)
        except (OSError, JaxpartError):
            continue  # reading the file will raise
        for colour, label in label_of.items():
            known, other = first.setdefault(colour, (label, path))
            if known != label:
                raise JaxpartError(
                    f"{folder}: {other} has the colour {colour} as label {known}, {path} as label {label}; "
                    "save the numbers of the classes as grey PNG files"
                )


def _class_names(file: pathlib.Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the labels, background first, and notes.

    A list that starts with the background, as label tools write it, counts from label 0.

    Raises:
      JaxpartError: A line between names is empty, a name appears twice, or the background comes later.
    """
    ids = read_ids(file)
    lines = [line.strip() for line in read_lines(file)]
    while not lines[-1]:
        lines.pop()
    if "" in lines:
        raise JaxpartError(
            f"{file}, line {lines.index('') + 1} is empty, but each line names a label; name it or remove "
            "the line"
        )
    coloured = next((i for i, line in enumerate(lines) if _WITH_COLOURS.match(line)), None)
    if coloured is not None or all(map(_NUMBERED.match, lines)):
        raise JaxpartError(
            f"{file}, line {(coloured or 0) + 1} is {lines[coloured or 0]!r}; give names only, one a "
            "line, from label 1 on"
        )
    kinds = [_SPECIAL.get(line.strip("_").casefold()) for line in lines]
    first = 1 if kinds[:1] == ["ignored"] else 0
    if kinds[first : first + 1] == ["background"]:
        first += 1
    later = next((i for i, kind in enumerate(kinds) if kind and i >= first), None)
    if later is not None or first == len(lines):
        raise JaxpartError(
            f"{file}, line {(later or 0) + 1} is {lines[later or 0]!r}, which is not a class: "
            "name the labels from 1 on, one per line (0 is the background, 255 ignored)"
        )
    names = ("background", *ids[first:])
    check_names(file, names)
    if not first:
        return names, ()
    left_out = " and ".join(repr(line) for line in lines[:first])
    return names, (f"{file.name}: left out {left_out}; label 1 is {names[1]!r}",)


class KeypointFolder(ListedImages):
    """Images with a COCO-style keypoint file as a `Source`; see `part_folder`."""

    def __init__(self, folder: pathlib.Path, split: str) -> None:
        """Reads the keypoints and the headers of the images."""
        path = folder / _KEYPOINTS
        data = read_file(path)
        document = CocoFile(path, data)
        instances = document.instances()
        ids = document.image_ids()
        existing = walk_images(folder / "images")
        paths = _paths(path, document.file_names(ids), existing)
        unlisted = sorted({*existing} - {*paths})
        stated = document.sizes()
        rotated: list[str] = []
        rows: dict[int, list[int]] = {key: [] for key in ids}
        for row, key in enumerate(instances.image[instances.row].tolist()):
            rows[key].append(row)
        annotations = [
            Annotation(
                f"images/{name}",
                Keypoints(
                    part=instances.part[rows[key]],
                    xy=instances.points[rows[key], :2].reshape(-1, 2),
                    visible=instances.points[rows[key], 2] == SEEN,
                    instance=_spread(instances.instance[instances.row[rows[key]]]),
                ),
                size=annotated_size(folder / "images" / name, stated[key], rotated),
            )
            for key, name in zip(ids, paths, strict=True)
        ]
        files = file_sizes(folder, (annotation.id for annotation in annotations))
        info = DatasetInfo(
            name="part_folder",
            split=split,
            version=fingerprint(data, files),
            part_names=instances.part_names,
            notes=(*instances.notes(), *_notes(annotations, rotated, unlisted)),
        )
        super().__init__(folder, annotations, info)


def _spread(instance: np.ndarray) -> np.ndarray:
    """Ids of the instances of an image that do not depend on how its annotations are numbered."""
    return np.unique(instance, return_inverse=True)[1] * INSTANCE_GAP


def _notes(
    annotations: Sequence[Annotation], rotated: Sequence[str], unlisted: Sequence[str]
) -> Iterator[str]:
    """Notes on unlisted images, EXIF orientations, repeated objects, and keypoints outside their images."""
    if unlisted:
        yield (
            f"images that {_KEYPOINTS} does not list: {len(unlisted)} (the first images/{unlisted[0]}); "
            "they are left out"
        )
    yield from rotated_note(rotated)
    repeated = {a.id: _repeated(a.keypoints) for a in annotations if a.keypoints}
    first = next((name for name, count in repeated.items() if count), None)
    if first is not None:
        yield (
            f"objects with the same keypoints as another one: {sum(repeated.values())} (the first in "
            f"{first}); remove them, or their patches count twice or are lost"
        )
    beyond = {
        annotation.id: int((outside(points.xy, annotation.size) & points.visible).sum())
        for annotation in annotations
        if annotation.size and (points := annotation.keypoints)
    }
    first = next((name for name, count in beyond.items() if count), None)
    if first is not None:
        yield (
            f"visible keypoints outside their images: {sum(beyond.values())} (the first in {first}); "
            "they give no patches"
        )


def _repeated(points: Keypoints) -> int:
    """Number of objects whose visible keypoints are also those of another one, which is not counted."""
    rows = np.column_stack([points.part, points.xy])[points.visible]
    instance = points.instance[points.visible]
    objects = [rows[instance == key].tobytes() for key in np.unique(instance)]
    return len(objects) - len(set(objects))


def _paths(path: pathlib.Path, names: Sequence[str], existing: Sequence[str]) -> list[str]:
    """The file below images of each name that keypoints.json lists."""
    files = []
    for name, file in zip(names, match_files(names, existing, path), strict=True):
        if file is None:
            raise JaxpartError(f"{path} lists {name}, which is not in {path.parent / 'images'}")
        files.append(file)
    return files
