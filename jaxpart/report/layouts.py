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


def _fields(task: str, data: str, metric: str, head: str, **more: str) -> dict[str, str]:
    return {"data": data, "task": task, "metric": metric, "head": head, **more}


def _segmentation(sets: Mapping[str, tuple[str, str]]) -> list[Column]:
    return [
        Column(f"{title} {score}", (_fields("segmentation", data, score, "paper"),), table, score)
        for data, (title, table) in sets.items()
        for score in ("mIoU", "mAcc", "aAcc")
    ]


def _imagenet(head: str) -> Column:
    task = "object_classification"
    results = (_fields(task, "imagenet", "best", head), _fields(task, "imagenet", "chosen", "own"))
    return Column(head, results, "imagenet_classification", head)


def _parts(task: str, metric: str, table: str, representations: Mapping[str, str]) -> list[Column]:
    return [
        Column(
            f"{title} {word}",
            (_fields(task, data, metric, word if word in _HEADS else "", representation=name),),
            table,
            f"{short}_{word}",
        )
        for short, (data, title) in _SETS.items()
        for word, name in representations.items()
    ]


LAYOUTS = (
    Layout(
        "table1_imagenet_probing",
        "Table 1: ImageNet-1k probing, top-1",
        "object_classification",
        [_imagenet(head) for head in _HEADS],
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
        _parts("retrieval", "AP", "part_retrieval_ap", _REPRESENTATIONS),
    ),
    Layout(
        "table3_part_classification",
        "Table 3: part classification, top-1 of the best epoch",
        "classification",
        _parts("classification", "best", "part_classification_top1", _HEADS),
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
            Column(title, (_fields("segmentation", data, "mIoU", "paper"),), table, "mIoU")
            for data, title, table in (
                ("ade20k_object", "ADE20K-Object", ""),
                ("ade20k_part", "ADE20K-Part", "ade20k_part_segmentation"),
                ("pascal_object", "Pascal-Object", ""),
                ("pascal_part", "Pascal-Part", "pascal_part_segmentation"),
            )
        ],
    ),
)
