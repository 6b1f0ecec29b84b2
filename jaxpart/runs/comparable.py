"""Whether a result is comparable with the paper's: same weights, same amount of data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxpart.runs.paper import METHODS
from jaxpart.runs.rows import Key, Row, find_row

_SIZE = {"width": 768, "depth": 12, "patch_size": 16}
_RELEASED = "released"


@dataclasses.dataclass(frozen=True)
class _Count:
    """The number of images behind a result of the paper.

    Attributes:
      key: The metric with our number.
      low: The smallest number that counts as the paper's.
      high: The largest.
      what: What is counted, for messages.
    """

    key: str
    low: int
    high: int
    what: str = "images"

    @property
    def description(self) -> str:
        exact = self.low == self.high
        return f"{'' if exact else 'some '}{_thousands(self.high)} {self.what}"


def _exact(key: str, number: int, what: str = "images") -> _Count:
    return _Count(key, number, number, what)


def _splits(train: int, test: int, share: float = 1) -> list[_Count]:
    """Counts of a training and a test split, a fraction `share` of which is enough."""
    return [
        _Count("train_images", round(share * train), train, "training images"),
        _Count("test_images", round(share * test), test, "test images"),
    ]


_CLASSES = {"ade20k": 150, "ade20k_part": 209, "pascal_part": 193, "lip": 19}
_COUNTS: Mapping[tuple[str, str], Sequence[_Count]] = {
    ("cub_parts", "retrieval"): [_exact("images", 11_788)],
    ("cub_parts", "classification"): _splits(5_994, 5_794),
    # Images with annotated persons, which readers count slightly differently.
    ("coco_person_parts", "retrieval"): [_Count("images", 63_500, 64_115, "images with persons")],
    ("coco_person_parts", "classification"): _splits(64_115, 2_693, share=0.99),
    ("imagenet", "object_classification"): [
        _exact("train", 1_281_167, "training images"),
        _exact("test", 50_000, "test images"),
    ],
    ("ade20k", "segmentation"): _splits(20_210, 2_000),
    # The size of the paper's copies of these two is unknown, so half of the images is enough.
    ("ade20k_part", "segmentation"): _splits(20_210, 2_000, share=0.5),
    ("pascal_part", "segmentation"): _splits(4_998, 5_105, share=0.5),
    ("lip", "segmentation"): _splits(30_462, 10_000),
}
"""The official splits' sizes, by data set and task."""

_PATCHES = {("cub_parts", "retrieval"): "some 24 000 patches"}
"""Number of patches of the published loader, where known."""


def encoder_differs(encoder: Mapping[str, Any]) -> list[str]:
    """Differences of an encoder from the paper's encoder of its method, as "your weights".

    Args:
      encoder: Its entry in results.json.

    Returns:
      The differences; empty if its results are comparable with the paper's.
    """
    differences = [] if encoder.get("trained") else ["UNTRAINED, random weights"]
    if encoder.get("name") not in METHODS:
        return [*differences, "not one of the paper's methods"]
    size = {key: encoder.get(key) for key in _SIZE}
    known = {key: value for key, value in size.items() if value is not None}
    if known != {key: _SIZE[key] for key in known}:
        small = (size["width"] or 0) < _SIZE["width"] or (size["depth"] or 0) < _SIZE["depth"]
        shape = f"{size['depth']} blocks of width {size['width']}"
        if small:
            return [*differences, f"miniature, {shape}"]
        return [*differences, f"another size, {shape}, patch {size['patch_size']}"]
    if len(known) < len(size):
        return [*differences, "size not recorded"]
    if not str(encoder.get("weights", "")).startswith(_RELEASED):
        differences.append("your weights")
    return differences


def data_differs(rows: Sequence[Row], key: Key) -> str:
    """Differences of a result's data from the paper's, as "120 of 11 788 images"; "" if there are none.

    Args:
      rows: All results of the run.
      key: The result's key.
    """
    data, task = key.data, key.task

    def value_of(metric: str) -> float | None:
        row = find_row(rows, data, task, metric)
        return None if row is None else row.value

    differences = []
    for count in _COUNTS.get((data, task), ()):
        ours = value_of(count.key)
        if ours is None:
            differences.append(f"unknown how many of {count.description}")
        elif not count.low <= ours <= count.high:
            differences.append(f"{_thousands(ours)} of {count.description}")
    patches = value_of("patches")
    if differences and patches is not None and (data, task) in _PATCHES:
        differences.insert(0, f"{_thousands(patches)} of {_PATCHES[data, task]}")
    classes, theirs = value_of("classes"), _CLASSES.get(data)
    if task == "segmentation" and theirs and classes is not None and classes != theirs:
        differences.append(f"{classes:.0f} classes, not {theirs}")
    skipped = value_of("skipped")
    if skipped:
        differences.append(f"{_thousands(skipped)} skipped")
    return ", ".join(differences)


def remark(method: str, task: str) -> str:
    """A remark on the paper's results of a method, or "".

    Args:
      method: "mae", or its name in the paper.
      task: Name of the task.
    """
    method = METHODS.get(method, method)
    if method == METHODS["mae"] and task in ("retrieval", "classification"):
        return "the paper's with patches permuted against positions"
    if method == METHODS["deit"]:
        return "it is not known which DeiT file gave the paper's results"
    return ""


def _thousands(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ")
