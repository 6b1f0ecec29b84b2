"""The layout of each of the paper's tables: which of our results its columns show."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from jaxpart.config import linear_representation
from jaxpart.runs.paper import METHODS, figure
from jaxpart.runs.rows import Key, Row, find_row, select


@dataclasses.dataclass(frozen=True)
class Column:
    """The source of a column's numbers.

    Attributes:
      heading: Its heading.
      key: Its result.
      table: The paper's table in paper_results.json, or "".
      column: Its column there.
    """

    heading: str
    key: Key
    table: str = ""
    column: str = ""

    def result(self, rows: Sequence[Row], method: str) -> Row | None:
        """Its result among those of a run; None if there is none.

        On ImageNet-1k this is the linear head on what the method's published recipe reads, without a recipe
        the first head that the run lists, and without heads the encoder's own classifier.

        Args:
          rows: The results.
          method: Name of the encoder.
        """
        if self.key.data != "imagenet":
            return find_row(rows, *self.key)
        fields = self.key._asdict()
        if method not in METHODS:
            del fields["representation"]
        elif self.key.head == "linear":
            fields["representation"] = linear_representation(method)
        own = self.key._replace(metric="chosen", head="own", representation="classifier")
        return next(iter(select(rows, **fields)), None) or find_row(rows, *own)


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


def _segmentation(sets: Mapping[str, tuple[str, str]]) -> list[Column]:
    return [
        Column(f"{title} {score}", Key(data, "segmentation", score, "paper"), table, score)
        for data, (title, table) in sets.items()
        for score in ("mIoU", "mAcc", "aAcc")
    ]


def _parts(task: str, metric: str, table: str, representations: Mapping[str, str]) -> list[Column]:
    return [
        Column(
            f"{title} {word}",
            Key(data, task, metric, word if word in _HEADS else "", name),
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
        [
            Column(
                head,
                Key("imagenet", "object_classification", "best", head, name),
                "imagenet_classification",
                head,
            )
            for head, name in _HEADS.items()
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
            Column(title, Key(data, "segmentation", "mIoU", "paper"), table, "mIoU")
            for data, title, table in (
                ("ade20k_object", "ADE20K-Object", ""),
                ("ade20k_part", "ADE20K-Part", "ade20k_part_segmentation"),
                ("pascal_object", "Pascal-Object", ""),
                ("pascal_part", "Pascal-Part", "pascal_part_segmentation"),
            )
        ],
    ),
)


def paper_values(method: str, rows: Sequence[Row]) -> dict[Key, float]:
    """The paper's figures in percent for the results that it reports, by their keys.

    Args:
      method: The method, "ibot".
      rows: The results.
    """
    return {
        row.key: percent
        for layout in LAYOUTS
        for column in layout.columns
        if (percent := figure(column.table, METHODS.get(method, ""), column.column)) is not None
        and (row := column.result(rows, method)) is not None
    }
