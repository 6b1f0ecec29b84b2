"""Where the paper's tables have the figure that a result is to be compared with."""

from __future__ import annotations

from collections.abc import Iterable

from jaxpart.runs.paper import METHODS, figure
from jaxpart.runs.rows import Key

_PART_SETS = {"cub": "cub_parts", "coco": "coco_person_parts"}
_RETRIEVED = {"encoded": "embedding", "projected": "projection"}
_CLASSIFIED = {"linear": "cls_token", "attentive": "tokens"}
_SEGMENTED = {
    "ade20k": "ade20k_150_object_segmentation",
    "ade20k_part": "ade20k_part_segmentation",
    "pascal_part": "pascal_part_segmentation",
    "lip": "lip_part_segmentation",
}
_PLACES = {
    **{
        Key(data, "retrieval", "AP", representation=name): (
            "part_retrieval_ap",
            f"{short}_{column}",
        )
        for short, data in _PART_SETS.items()
        for column, name in _RETRIEVED.items()
    },
    **{
        Key(data, "classification", "best", head, name): (
            "part_classification_top1",
            f"{short}_{head}",
        )
        for short, data in _PART_SETS.items()
        for head, name in _CLASSIFIED.items()
    },
    **{
        Key("imagenet", "object_classification", "best", head, name): (
            "imagenet_classification",
            head,
        )
        for head, name in _CLASSIFIED.items()
    },
    **{
        Key(data, "segmentation", score, "paper"): (table, score)
        for data, table in _SEGMENTED.items()
        for score in ("mIoU", "mAcc", "aAcc")
    },
}
"""What a result is of → table and column."""


def paper_values(method: str, keys: Iterable[Key]) -> dict[Key, float]:
    """The paper's figures, as shares of 1, by the keys of those results that it has.

    Args:
      method: "ibot".
      keys: Of results.
    """
    found = {}
    for key in keys:
        if key in _PLACES:
            table, column = _PLACES[key]
            theirs = figure(table, METHODS.get(method, ""), column)
            if theirs is not None:
                found[key] = theirs / 100
    return found
