"""Where the paper's tables have the figure that a result is to be compared with."""

from __future__ import annotations

import re

from jaxpart.runs.paper import METHODS, figure

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
                theirs = figure(table, METHODS.get(method, ""), match.expand(column))
                if theirs is not None:
                    found[name] = theirs / 100
    return found
