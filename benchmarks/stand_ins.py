"""Synthetic stand-ins for the official data sets, in their layouts and with their numbers of records.

Files, folders, lists and annotations match the official ones in number and length. Images, label maps and
per-image annotations are hard links to a few files of each set, so that everything takes less than a
gigabyte of disk; they are read from the page cache. Nothing can be learnt from them.
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from jaxpart.data.sets.ade20k_object import OBJECTS

DISTINCT = 24
"""Distinct images per set."""

CUB = 11_788
COCO = {"train2017": (118_287, 64_115, 262_465), "val2017": (5_000, 2_693, 11_004)}
"""Numbers of images, of images with persons, and of persons."""
PASCAL = {"train": 4_998, "val": 5_105}
VOC = 21_738
LIP = {"train": 30_462, "val": 10_000}
ADE20K = {"training": 25_574, "validation": 2_000}
CHALLENGE = {"training": 20_210, "validation": 2_000}
IMAGENET = 50_000

_BILINEAR, _BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


def photographs(folder: pathlib.Path, sizes: Iterable[tuple[int, int]]) -> list[pathlib.Path]:
    """JPEG files of (width, height) pixels, 0.27 bytes per pixel: noise with a photograph's spectrum."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, (width, height) in enumerate(sizes):
        pixels = np.full((height, width, 3), 128.0)
        for step in (2, 4, 8, 16, 32, 64, 128):
            coarse = random.normal(0, 4 * step**0.5, (height // step + 2, width // step + 2, 3))
            layer = Image.fromarray(np.clip(coarse + 128, 0, 255).astype(np.uint8))
            pixels += np.asarray(layer.resize((width, height), _BICUBIC)) - 128.0
        paths.append(folder / f"{i}.jpg")
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def regions(count: int, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Labels below `count` in connected regions with curved edges, int64 [height, width]."""
    heights = Image.fromarray(random.random((7, 7), np.float32)).resize(size, _BILINEAR)
    return np.clip(np.asarray(heights) * count, 0, count - 1).astype(np.int64)


def make_all(root: pathlib.Path, scale: float = 1.0) -> None:
    """Makes every stand-in below `root`.

    Args:
      root: An empty folder.
      scale: Fraction of the official number of records.
    """

    def count(records: int) -> int:
        return max(8, round(records * scale))

    distinct = max(2, min(DISTINCT, round(10 * DISTINCT * scale)))
    files = root / "distinct"
    cub(root / "CUB_200_2011", photographs(files / "cub", distinct * [(500, 375)]), count(CUB))
    images = photographs(files / "coco", distinct * [(640, 480)])
    for split, numbers in COCO.items():
        coco(root / "coco", split, images, *map(count, numbers))
    images = photographs(files / "voc", distinct * [(500, 375)])
    pascal(root / "pascal_part", images, {s: count(n) for s, n in PASCAL.items()}, count(VOC))
    images = photographs(files / "lip", distinct * [(220, 290)])
    lip(root / "LIP", images, {split: count(number) for split, number in LIP.items()})
    images = photographs(files / "ade", distinct * [(1310, 990)])
    ade20k(root / "ADE20K_2021_17_01", images, {s: count(n) for s, n in ADE20K.items()})
    images = photographs(files / "challenge", distinct * [(683, 512)])
    challenge(root / "ADEChallengeData2016", images, {s: count(n) for s, n in CHALLENGE.items()})
    images = photographs(files / "imagenet", distinct * [(500, 375)])
    imagenet(root / "imagenet", images, count(IMAGENET), max(4, min(1000, count(1000))))


def cub(root: pathlib.Path, images: Sequence[pathlib.Path], count: int) -> None:
    """CUB-200-2011: 15 keypoints per bird, 200 species."""
    random = np.random.default_rng(1)
    names = [f"{i % 200 + 1:03d}.Species_{i % 200}/bird_{i:05d}.jpg" for i in range(count)]
    _link(root / "images", names, images)
    parts = [
        "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape",
        "right eye", "right leg", "right wing", "tail", "throat",
    ]  # fmt: skip
    points = random.integers(0, (500, 375), (count, len(parts), 2))
    seen = random.random((count, len(parts))) < 0.8
    _lines(root / "images.txt", (f"{i} {name}" for i, name in enumerate(names, 1)))
    _lines(root / "train_test_split.txt", (f"{i} {i % 2}" for i in range(1, count + 1)))
    _lines(root / "image_class_labels.txt", (f"{i + 1} {i % 200 + 1}" for i in range(count)))
    _lines(root / "classes.txt", (f"{i + 1} {i + 1:03d}.Species_{i}" for i in range(200)))
    _lines(root / "parts/parts.txt", (f"{i} {part}" for i, part in enumerate(parts, 1)))
    _lines(
        root / "parts/part_locs.txt",
        (
            f"{image + 1} {part + 1} {points[image, part, 0]}.0 {points[image, part, 1]}.0 "
            f"{int(seen[image, part])}"
            for image, part in itertools.product(range(count), range(len(parts)))
        ),
    )


_KEYPOINTS = (
    "nose",
    *(
        f"{side}_{part}"
        for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
)


def coco(
    root: pathlib.Path,
    split: str,
    images: Sequence[pathlib.Path],
    count: int,
    annotated: int,
    persons: int,
) -> None:
    """COCO's person keypoints, 640 × 480 pixels; outlines make the file as long as the official one."""
    random = np.random.default_rng(2)
    _link(root / split, [f"{i:012d}.jpg" for i in range(count)], images)
    outlines = [_outline(random, (640, 480), int(n)) for n in random.integers(10, 55, 200)]
    points = random.integers(0, (640, 480), (persons, 17, 2))
    seen = 2 * (random.random((persons, 17)) < 0.7).astype(np.int64)
    labelled = random.random(persons) < 0.57
    numbers = np.concatenate([points, seen[..., None]], axis=2) * (
        seen[..., None] * labelled[:, None, None] > 0
    )
    entries = (
        {
            "segmentation": [outlines[i % len(outlines)]],
            "num_keypoints": int((seen[i] > 0).sum() * labelled[i]),
            "area": 15242.53495,
            "iscrowd": 0,
            "keypoints": numbers[i].ravel().tolist(),
            "image_id": i % annotated,
            "bbox": [41.88, 137.09, 105.23, 281.34],
            "category_id": 1,
            "id": 200_000 + i,
        }
        for i in range(persons)
    )
    pictures = (
        {
            "license": 1,
            "file_name": f"{i:012d}.jpg",
            "coco_url": f"http://images.cocodataset.org/{split}/{i:012d}.jpg",
            "height": 480,
            "width": 640,
            "date_captured": "2013-11-17 05:08:43",
            "flickr_url": f"http://farm3.staticflickr.com/2580/{i}_24522cf5bf_z.jpg",
            "id": i,
        }
        for i in range(annotated)
    )
    category = {"supercategory": "person", "id": 1, "name": "person", "keypoints": _KEYPOINTS}
    path = root / "annotations" / f"person_keypoints_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(f'{{"categories": {json.dumps([category])}')
        for name, rows in (("images", pictures), ("annotations", entries)):
            file.write(f', "{name}": [')
            file.writelines(f"{', ' if i else ''}{json.dumps(row)}" for i, row in enumerate(rows))
            file.write("]")
        file.write("}")


def pascal(
    root: pathlib.Path,
    images: Sequence[pathlib.Path],
    counts: dict[str, int],
    pictures: int,
) -> None:
    """Pascal-Part with VOC 2010, 500 × 375 pixels: two objects of seven parts per image."""
    random = np.random.default_rng(3)
    classes = np.array(["aeroplane", "bus", "cat", "cow", "dog", "horse", "person", "sheep"])
    parts = [
        "head",
        "leye",
        "reye",
        "lear",
        "rear",
        "muzzle",
        "torso",
        "neck",
        "tail",
        "lfleg",
        "rfleg",
    ]
    files = []
    for i in range(len(images)):
        masks = regions(16, (500, 375), random)
        objects = [
            (
                str(name),
                masks // 8 == number,
                [
                    (str(part), masks == 8 * number + j)
                    for j, part in enumerate(random.choice(parts, 7, replace=False), 1)
                ],
            )
            for number, name in enumerate(random.choice(classes, 2))
        ]
        files.append(root.parent / "distinct/voc" / f"{i}.mat")
        write_mat(files[-1], objects)
    names = [f"2010_{i:06d}" for i in range(max(pictures, sum(counts.values())))]
    annotated = names[: sum(counts.values())]
    _link(root / "Annotations_Part", [f"{name}.mat" for name in annotated], files)
    voc, remaining = root / "VOCdevkit/VOC2010", iter(annotated)
    _link(voc / "JPEGImages", [f"{name}.jpg" for name in names], images)
    for split, count in counts.items():
        _lines(voc / f"ImageSets/Main/{split}.txt", itertools.islice(remaining, count))


def write_mat(
    path: pathlib.Path, objects: Sequence[tuple[str, np.ndarray, Sequence[tuple[str, np.ndarray]]]]
) -> None:
    """An annotation file of Pascal-Part, of (class, mask, [(part, mask)])."""

    def structs(rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> np.ndarray:
        array = np.empty((1 if rows else 0, len(rows)), [(name, object) for name in names])
        for i, row in enumerate(rows):
            array[0, i] = row
        return array

    entries = [
        (name, np.array([[9]], np.uint8), mask, structs(parts, ("part_name", "mask")))
        for name, mask, parts in objects
    ]
    objects_ = structs(entries, ("class", "class_ind", "mask", "parts"))
    anno = structs([(path.stem, objects_)], ("imname", "objects"))
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"anno": anno}, do_compression=True)


def lip(root: pathlib.Path, images: Sequence[pathlib.Path], counts: dict[str, int]) -> None:
    """LIP: persons with 19 parts."""
    random = np.random.default_rng(4)
    maps = _label_maps(root.parent / "distinct/lip", images, 20, random)
    for split, count in counts.items():
        names = [f"{i}_{split}" for i in range(count)]
        folder = root / "TrainVal_images"
        _link(folder / f"{split}_images", [f"{name}.jpg" for name in names], images)
        labels = root / f"TrainVal_parsing_annotations/{split}_segmentations"
        _link(labels, [f"{name}.png" for name in names], maps)
        _lines(folder / f"{split}_id.txt", names)


def challenge(root: pathlib.Path, images: Sequence[pathlib.Path], counts: dict[str, int]) -> None:
    """ADE20K as in the scene parsing challenge: 150 classes."""
    maps = _label_maps(root.parent / "distinct/challenge", images, 151, np.random.default_rng(5))
    for split, count in counts.items():
        names = [f"ADE_{split}_{i:08d}" for i in range(count)]
        _link(root / "images" / split, [f"{name}.jpg" for name in names], images)
        _link(root / "annotations" / split, [f"{name}.png" for name in names], maps)
    rows = (f"{i}\t0.1\t9\t9\tthing {i}" for i in range(1, 151))
    _lines(root / "objectInfo150.txt", itertools.chain(["Idx\tRatio\tTrain\tVal\tName"], rows))


_PARTS = 6
"""Parts per object in the full release."""


def ade20k(root: pathlib.Path, images: Sequence[pathlib.Path], counts: dict[str, int]) -> None:
    """ADE20K's full release, 1.3 million pixels per image: object and part maps, and JSON of 38 kB."""
    random = np.random.default_rng(6)
    files: dict[str, list[pathlib.Path]] = {".jpg": list(images)}
    for i, path in enumerate(images):
        with Image.open(path) as image:
            size = image.size
        chosen = random.choice(len(OBJECTS), 12, replace=False)
        objects, parts = regions(12, size, random), regions(12 * _PARTS, size, random)
        parts = np.where(parts // _PARTS == objects, parts % _PARTS + 1, 0)
        object_classes = chosen[objects]
        folder = root.parent / "distinct/ade"
        for end, classes in (
            ("_seg.png", object_classes + 1),
            ("_parts_1.png", np.where(parts > 0, 1000 + _PARTS * object_classes + parts, 0)),
        ):
            files.setdefault(end, []).append(folder / f"{i}{end}")
            pixels = np.stack([classes // 256 * 10, classes % 256, objects], axis=2)
            Image.fromarray(pixels.astype(np.uint8)).save(files[end][-1])
        document = {"annotation": {"filename": "", "object": list(_scene(random, chosen, size))}}
        files.setdefault(".json", []).append(folder / f"{i}.json")
        files[".json"][-1].write_text(json.dumps(document))
    for split, count in counts.items():
        for end, linked in files.items():
            names = (f"scene_{i % 400}/ADE_{split}_{i:08d}{end}" for i in range(count))
            _link(root / "images/ADE" / split, names, linked)


def _scene(
    random: np.random.Generator, chosen: Iterable[int], size: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    """The entries of objects and their parts in an annotation of ADE20K."""
    number, names = 0, tuple(OBJECTS.values())
    for index in chosen:
        parent: list[int] | int = []
        for part in range(_PARTS + 1):
            outline = _outline(random, size, 12)
            name = f"{names[index]}, thing" if part == 0 else f"part {part}"
            yield {
                "id": number,
                "name": name,
                "name_ndx": int(index) + 1 if part == 0 else 1000 + _PARTS * int(index) + part,
                "hypernym": [name, "whole, unit", "object, physical object", "entity"],
                "raw_name": name,
                "attributes": [],
                "parts": {"hasparts": [], "ispartof": parent, "part_level": int(part > 0)},
                "instance_mask": f"ADE/instance_{number:03d}_ADE.png",
                "polygon": {"x": outline[::2], "y": outline[1::2]},
            }
            parent = number if part == 0 else parent
            number += 1


def imagenet(root: pathlib.Path, images: Sequence[pathlib.Path], count: int, classes: int) -> None:
    """ImageNet-1k's validation images in their class folders."""
    names = (f"n{1_440_764 + i % classes:08d}/ILSVRC2012_val_{i:08d}.JPEG" for i in range(count))
    _link(root / "val", names, images)


def _label_maps(
    folder: pathlib.Path,
    images: Sequence[pathlib.Path],
    labels: int,
    random: np.random.Generator,
) -> list[pathlib.Path]:
    """Writes a grey PNG of labels 0 to `labels` − 1 for each image."""
    paths = []
    for i, path in enumerate(images):
        with Image.open(path) as image:
            numbers = regions(25, image.size, random)
        paths.append(folder / f"{i}.png")
        Image.fromarray(random.integers(0, labels, 25).astype(np.uint8)[numbers]).save(paths[-1])
    return paths


def _outline(random: np.random.Generator, size: tuple[int, int], corners: int) -> list[float]:
    return random.uniform(0, np.tile(size, corners)).round(2).tolist()


def _link(folder: pathlib.Path, names: Iterable[str], files: Sequence[pathlib.Path]) -> None:
    """Links names in a folder to the files, cycling through them."""
    existing: set[str] = set()
    for name, file in zip(names, itertools.cycle(files)):
        parent = os.path.dirname(f"{folder}/{name}")
        if parent not in existing:
            os.makedirs(parent, exist_ok=True)
            existing.add(parent)
        os.link(file, f"{folder}/{name}")


def _lines(path: pathlib.Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
