"""The paper's tables, filled from runs; and the same measurements on other data."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from jaxpart.report import paper
from jaxpart.report.runs import METHODS, Run


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number, in percent.

    Attributes:
      ours: None: not run.
      low: Lower end of its 95 % interval, where there is one.
      high: Upper end.
      paper: The paper's figure; None where it has none or may not stand beside ours.
    """

    ours: float | None = None
    low: float | None = None
    high: float | None = None
    paper: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours less the paper's."""
        return None if self.ours is None or self.paper is None else self.ours - self.paper


@dataclasses.dataclass(frozen=True)
class Row:
    """One encoder.

    Attributes:
      label: The method, or the run where several are of one method.
      caveat: Why it says nothing of the paper's encoder, or "".
      cells: One per column.
    """

    label: str
    caveat: str
    cells: Sequence[Cell]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      name: Of its files.
      title: Above it.
      columns: Headings.
      rows: In order.
      compared: Whether the paper has figures for it.
      notes: Below it.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    compared: bool
    notes: Sequence[str]

    @property
    def measured(self) -> bool:
        """Whether any run fills a cell of it."""
        return any(cell.ours is not None for row in self.rows for cell in row.cells)


@dataclasses.dataclass(frozen=True)
class _Column:
    """Where a column's numbers are: names of results in order of preference, and the paper's figure."""

    heading: str
    results: Sequence[str]
    table: str = ""
    column: str = ""


@dataclasses.dataclass(frozen=True)
class _Layout:
    name: str
    title: str
    task: str
    columns: Sequence[_Column]


_REPRESENTATIONS = {"encoded": "embedding", "projected": "projection"}
_HEADS = {"linear": "linear/cls_token", "attentive": "attentive/tokens"}
_SETS = {"cub": ("cub_parts", "CUB"), "coco": ("coco_person_parts", "COCO")}
_SCORES = ("mIoU", "mAcc", "aAcc")


def _segmentation(sets: Mapping[str, tuple[str, str]]) -> list[_Column]:
    return [
        _Column(f"{title} {score}", [f"{data}/segmentation/paper/{score}"], table, score)
        for data, (title, table) in sets.items()
        for score in _SCORES
    ]


_LAYOUTS = (
    _Layout(
        "table1_imagenet_probing",
        "Table 1: ImageNet-1k probing, top-1",
        "object_classification",
        (
            _Column(
                "linear",
                [
                    "imagenet/object_classification/linear/*/best",
                    "imagenet/object_classification/own/classifier/chosen",
                ],
                "imagenet_classification",
                "linear",
            ),
            _Column(
                "attentive",
                [
                    "imagenet/object_classification/attentive/*/best",
                    "imagenet/object_classification/own/classifier/chosen",
                ],
                "imagenet_classification",
                "attentive",
            ),
        ),
    ),
    _Layout(
        "table2_object_segmentation",
        "Table 2: object segmentation",
        "segmentation",
        _segmentation({"ade20k": ("ADE20K", "ade20k_150_object_segmentation")}),
    ),
    _Layout(
        "table3_part_retrieval",
        "Table 3: part retrieval, AP",
        "retrieval",
        [
            _Column(
                f"{title} {word}",
                [f"{data}/retrieval/{representation}/AP"],
                "part_retrieval_ap",
                f"{short}_{word}",
            )
            for short, (data, title) in _SETS.items()
            for word, representation in _REPRESENTATIONS.items()
        ],
    ),
    _Layout(
        "table3_part_classification",
        "Table 3: part classification, top-1 of the best epoch",
        "classification",
        [
            _Column(
                f"{title} {head}",
                [f"{data}/classification/{place}/best"],
                "part_classification_top1",
                f"{short}_{head}",
            )
            for short, (data, title) in _SETS.items()
            for head, place in _HEADS.items()
        ],
    ),
    _Layout(
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
    _Layout(
        "figure6_object_against_part",
        "Figure 6: object against part segmentation, mIoU",
        "segmentation",
        [
            _Column(title, [f"{data}/segmentation/paper/mIoU"], table, "mIoU")
            for data, title, table in (
                ("ade20k_object", "ADE20K-Object", ""),
                ("ade20k_part", "ADE20K-Part", "ade20k_part_segmentation"),
                ("pascal_object", "Pascal-Object", ""),
                ("pascal_part", "Pascal-Part", "pascal_part_segmentation"),
            )
        ],
    ),
)

_ELSEWHERE = {
    "retrieval": ("Part retrieval, AP", r"retrieval/(?P<column>.+)/AP"),
    "classification": (
        "Part classification, top-1 of the best epoch",
        r"classification/(?P<column>.+)/best",
    ),
    "object_classification": (
        "Object classification, top-1 of the best epoch",
        r"object_classification/(?P<column>.+)/best",
    ),
    "segmentation": ("Segmentation, mIoU", r"segmentation/(?P<column>[^/]+)/mIoU"),
}


def paper_tables(runs: Sequence[Run]) -> list[Table]:
    """The paper's tables, a row for each of its methods, whether it was run or not.

    Runs whose encoders are untrained or of another size stand below them, without the paper's figures.
    """
    return [_paper_table(layout, runs) for layout in _LAYOUTS]


def _paper_table(layout: _Layout, runs: Sequence[Run]) -> Table:
    rows = []
    for method in METHODS.values():
        mine = [run for run in runs if run.method == method and not run.caveat]
        mine = [run for run in mine if _has(run, layout)] or mine[:1]
        if not mine:
            cells = [Cell(paper=_paper(column, method)) for column in layout.columns]
            rows.append(Row(method, "", cells))
        for run in mine:
            cells = [_cell(run, c, _paper(c, method)) for c in layout.columns]
            rows.append(Row(run.label, "", cells))
    for run in runs:
        if run.caveat and _has(run, layout):
            cells = [_cell(run, column, None) for column in layout.columns]
            rows.append(Row(run.label, run.caveat, cells))
    notes = [f"The paper's figures: {paper.results()['source']}."]
    for run in runs:
        if _has(run, layout):
            notes += _notes(run, layout.task)
    if not any(_has(run, layout) for run in runs):
        notes.append("None of these runs measured it.")
    return Table(layout.name, layout.title, [c.heading for c in layout.columns], rows, True, notes)


def other_tables(runs: Sequence[Run]) -> list[Table]:
    """The same measurements on data that the paper does not have, one table per task and data set."""
    known = {name.split("/")[0] for la in _LAYOUTS for c in la.columns for name in c.results}
    tables = []
    for task, (title, pattern) in _ELSEWHERE.items():
        found: dict[str, dict[str, str]] = {}
        for run in runs:
            for key in run.values:
                data, _, rest = key.partition("/")
                match = re.fullmatch(pattern, rest)
                if match and data not in known:
                    found.setdefault(data, {})[match["column"]] = key
        for data, columns in found.items():
            rows = [
                Row(
                    run.label,
                    run.caveat,
                    [_cell(run, _Column(c, [key]), None) for c, key in columns.items()],
                )
                for run in runs
                if any(key in run.values for key in columns.values())
            ]
            name = re.sub(r"\W+", "_", f"{data}_{task}")
            tables.append(Table(name, f"{title}, on {data}", list(columns), rows, False, []))
    return tables


def _has(run: Run, layout: _Layout) -> bool:
    return any(_find(run, column) for column in layout.columns)


def _find(run: Run, column: _Column) -> str | None:
    """The name of the result that fills a column; of several that match, the largest."""
    for pattern in column.results:
        rule = re.compile(re.escape(pattern).replace(r"\*", ".+"))
        names = [name for name in run.values if rule.fullmatch(name)]
        if names:
            return max(names, key=lambda name: run.values[name])
    return None


def _paper(column: _Column, method: str) -> float | None:
    return paper.figure(column.table, method, column.column)


def _cell(run: Run, column: _Column, theirs: float | None) -> Cell:
    name = _find(run, column)
    if name is None:
        return Cell(paper=theirs)
    low, high = (run.values.get(f"{name}_{end}") for end in ("low", "high"))
    return Cell(
        100 * run.values[name],
        None if low is None else 100 * low,
        None if high is None else 100 * high,
        theirs,
    )


def _notes(run: Run, task: str) -> list[str]:
    said = [] if run.caveat else paper.departures(run.config, task)
    return [f"{run.label} was not run as the paper's: {', '.join(said)}."] if said else []
