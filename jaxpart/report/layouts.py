"""What stands in each of the paper's tables, by the names of our results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Column:
    """Where a column's numbers are.

    Attributes:
      heading: Above it.
      results: Names of results, the first that a run has counts; * stands for anything.
      table: The paper's table in paper_results.json, or "".
      column: Its column there.
    """

    heading: str
    results: tuple[str, ...]
    table: str = ""
    column: str = ""


@dataclasses.dataclass(frozen=True)
class Layout:
    """One of the paper's tables.

    Attributes:
      name: Of its files.
      title: Above it.
      task: Name of the task that measures it.
      columns: In order.
    """

    name: str
    title: str
    task: str
    columns: Sequence[Column]


_REPRESENTATIONS = {"encoded": "embedding", "projected": "projection"}
_HEADS = {"linear": "linear/cls_token", "attentive": "attentive/tokens"}
_SETS = {"cub": ("cub_parts", "CUB"), "coco": ("coco_person_parts", "COCO")}
_SCORES = ("mIoU", "mAcc", "aAcc")


def _segmentation(sets: Mapping[str, tuple[str, str]]) -> list[Column]:
    return [
        Column(f"{title} {score}", (f"{data}/segmentation/paper/{score}",), table, score)
        for data, (title, table) in sets.items()
        for score in _SCORES
    ]


LAYOUTS = (
    Layout(
        "table1_imagenet_probing",
        "Table 1: ImageNet-1k probing, top-1",
        "object_classification",
        (
            Column(
                "linear",
                (
                    "imagenet/object_classification/linear/*/best",
                    "imagenet/object_classification/own/classifier/chosen",
                ),
                "imagenet_classification",
                "linear",
            ),
            Column(
                "attentive",
                (
                    "imagenet/object_classification/attentive/*/best",
                    "imagenet/object_classification/own/classifier/chosen",
                ),
                "imagenet_classification",
                "attentive",
            ),
        ),
    ),
    Layout(
        "table2_object_segmentation",
        "Table 2: object segmentation",
        "segmentation",
        _segmentation({"ade20k": ("ADE20K", "ade20k_150_object_segmentation")}),
    ),
    Layout(
        "table3_part_retrieval",
        "Table 3: part retrieval, AP",
        "retrieval",
        [
            Column(
                f"{title} {word}",
                (f"{data}/retrieval/{representation}/AP",),
                "part_retrieval_ap",
                f"{short}_{word}",
            )
            for short, (data, title) in _SETS.items()
            for word, representation in _REPRESENTATIONS.items()
        ],
    ),
    Layout(
        "table3_part_classification",
        "Table 3: part classification, top-1 of the best epoch",
        "classification",
        [
            Column(
                f"{title} {head}",
                (f"{data}/classification/{place}/best",),
                "part_classification_top1",
                f"{short}_{head}",
            )
            for short, (data, title) in _SETS.items()
            for head, place in _HEADS.items()
        ],
    ),
    Layout(
        "table4_part_segmentation",
        "Table 4: part segmentation",
        "segmentation",
        _segmentation(
            {
                "ade20k_part": ("ADE20K-Part", "ade20k_part_segmentation"),
                "pascal_part": ("Pascal-Part", "pascal_part_segmentation"),
                "lip": ("LIP", "lip_part_segmentation"),
            }
        ),
    ),
    Layout(
        "figure6_object_against_part",
        "Figure 6: object against part segmentation, mIoU",
        "segmentation",
        [
            Column(title, (f"{data}/segmentation/paper/mIoU",), table, "mIoU")
            for data, title, table in (
                ("ade20k_object", "ADE20K-Object", ""),
                ("ade20k_part", "ADE20K-Part", "ade20k_part_segmentation"),
                ("pascal_object", "Pascal-Object", ""),
                ("pascal_part", "Pascal-Part", "pascal_part_segmentation"),
            )
        ],
    ),
)
