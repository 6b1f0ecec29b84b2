"""The layout of each of the paper's tables: which of our results its columns show."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """The source of a column's numbers.

    Attributes:
      heading: Its heading.
      results: Fields of results (`jaxpart.runs.rows.select`); the first that a run has is used.
      table: The paper's table in paper_results.json, or "".
      column: Its column there.
    """

    heading: str
    results: tuple[Mapping[str, str], ...]
    table: str = ""
    column: str = ""


@dataclasses.dataclass(frozen=True)
class Layout:
    """One of the paper's tables.

    Attributes:
      name: File name without suffix.
      title: Its heading.
      task: Name of the task that measures it.
      columns: Its columns in order.
    """

    name: str
    title: str
    task: str
    columns: Sequence[Column]


_REPRESENTATIONS = {"encoded": "embedding", "projected": "projection"}
_HEADS = {"linear": "cls_token", "attentive": "tokens"}
_SETS = {"cub": ("cub_parts", "CUB"), "coco": ("coco_person_parts", "COCO")}
_SCORES = ("mIoU", "mAcc", "aAcc")


def _paper_head(data: str, score: str) -> dict[str, str]:
    return {"data": data, "task": "segmentation", "metric": score, "head": "paper"}


def _imagenet(head: str, metric: str) -> dict[str, str]:
    return {
        "data": "imagenet",
        "task": "object_classification",
        "metric": metric,
        "head": head,
    }


def _segmentation(sets: Mapping[str, tuple[str, str]]) -> list[Column]:
    return [
        Column(f"{title} {score}", (_paper_head(data, score),), table, score)
        for data, (title, table) in sets.items()
        for score in _SCORES
    ]


LAYOUTS = (
    Layout(
        "table1_imagenet_probing",
        "Table 1: ImageNet-1k probing, top-1",
        "object_classification",
        [
            Column(
                head,
                (_imagenet(head, "best"), _imagenet("own", "chosen")),
                "imagenet_classification",
                head,
            )
            for head in _HEADS
        ],
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
                (
                    {
                        "data": data,
                        "task": "retrieval",
                        "metric": "AP",
                        "head": "",
                        "representation": representation,
                    },
                ),
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
                (
                    {
                        "data": data,
                        "task": "classification",
                        "metric": "best",
                        "head": head,
                        "representation": representation,
                    },
                ),
                "part_classification_top1",
                f"{short}_{head}",
            )
            for short, (data, title) in _SETS.items()
            for head, representation in _HEADS.items()
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
            Column(title, (_paper_head(data, "mIoU"),), table, "mIoU")
            for data, title, table in (
                ("ade20k_object", "ADE20K-Object", ""),
                ("ade20k_part", "ADE20K-Part", "ade20k_part_segmentation"),
                ("pascal_object", "Pascal-Object", ""),
                ("pascal_part", "Pascal-Part", "pascal_part_segmentation"),
            )
        ],
    ),
)
