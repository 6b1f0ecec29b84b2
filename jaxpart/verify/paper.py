"""Where the paper's tables have the figure that a result is to be compared with."""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Mapping
from typing import Any

METHODS = {
    "deit": "DeiT",
    "mocov3": "MoCo v3",
    "dino": "DINO",
    "beit": "BEiT",
    "mae": "MAE",
    "cae": "CAE",
    "ibot": "iBOT",
}
"""How the paper writes the methods."""

_PART = r"(cub|coco)\w*"
_SCORE = r"(mIoU|mAcc|aAcc)"
_PLACES = {
    rf"{_PART}/retrieval/embedding/AP": ("part_retrieval_ap", r"\1_encoded"),
    rf"{_PART}/retrieval/projection/AP": ("part_retrieval_ap", r"\1_projected"),
    rf"{_PART}/classification/linear/cls_token/best": ("part_classification_top1", r"\1_linear"),
    rf"{_PART}/classification/attentive/tokens/best": ("part_classification_top1", r"\1_attentive"),
    r"imagenet/object_classification/linear/cls_token/best": ("imagenet_classification", "linear"),
    r"imagenet/object_classification/attentive/tokens/best": (
        "imagenet_classification",
        "attentive",
    ),
    rf"ade20k/segmentation/paper/{_SCORE}": ("ade20k_150_object_segmentation", r"\1"),
    rf"ade20k_part/segmentation/paper/{_SCORE}": ("ade20k_part_segmentation", r"\1"),
    rf"pascal_part/segmentation/paper/{_SCORE}": ("pascal_part_segmentation", r"\1"),
    rf"lip/segmentation/paper/{_SCORE}": ("lip_part_segmentation", r"\1"),
}
"""Name of a result → table and column."""


@functools.cache
def _figures() -> Mapping[str, Any]:
    file = importlib.resources.files("jaxpart") / "assets" / "paper_results.json"
    return json.loads(file.read_text(encoding="utf-8"))


def paper_values(method: str, names: list[str]) -> dict[str, float]:
    """The paper's figures, as shares of 1, by the names of those results that it has.

    Args:
      method: "ibot".
      names: Names of results, as results.json has them.
    """
    found = {}
    for name in names:
        for pattern, (table, column) in _PLACES.items():
            match = re.fullmatch(pattern, name)
            if match:
                figure = _figures()[table].get(METHODS.get(method), {}).get(match.expand(column))
                if figure is not None:
                    found[name] = figure / 100
    return found
