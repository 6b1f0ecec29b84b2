"""Charts of the results of runs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from jaxpart.report.figures.style import (
    COLOURS,
    Picture,
    legend_height,
    marks,
    panels,
    plain,
    shortened,
)
from jaxpart.report.patch_sets import word
from jaxpart.report.runs import Run
from jaxpart.runs.rows import Row, find_row, select
from jaxpart.tasks.baselines import UNTRAINED

_LEVELS = (
    ("ade20k_object", "ade20k_part", "ADE20K"),
    ("pascal_object", "pascal_part", "Pascal"),
    ("critters_object", "critters_part", "critters"),
)

_SHOWN = ("AP", "mIoU", "chosen", "PCK@0.10", "NMI", "distance", "affinity")
"""Metrics of the curves over blocks."""

_LONGEST = 20
"""Maximum length of an encoder's caveat in a legend; tables show it in full."""

Ends = tuple[float, ...]
"""A result in percent, and the ends of its interval if it has one."""


def levels(runs: Sequence[Run]) -> Iterator[Picture | str]:
    """Object level against part level for each encoder, as in the paper's figure 6."""
    by_data: list[tuple[str, list[tuple[Run, Ends, Ends]]]] = []
    for *pair, title in _LEVELS:
        rows = []
        for run in runs:
            at_object, at_part = (
                find_row(run.rows, data, "segmentation", "mIoU", "paper") for data in pair
            )
            if at_object and at_part:
                rows.append((run, _ends(at_object), _ends(at_part)))
        if rows:
            by_data.append((title, rows))
    if not by_data:
        yield (
            "object against part level: skipped, no run segmented the objects and the parts of a set"
        )
        return
    most = max(len(rows) for _, rows in by_data)
    figure, axes = panels([title for title, _ in by_data], width=5, height=1.3 + 0.5 * most)
    for axis, (_, rows) in zip(axes, by_data, strict=True):
        for line, (run, object_ends, part_ends) in enumerate(rows):
            axis.plot(
                [object_ends[0], part_ends[0]],
                [line, line],
                color="#c3c8d0",
                linewidth=1.5,
                zorder=1,
            )
            for (value, *ends), colour, marker in (
                (object_ends, COLOURS[0], "o"),
                (part_ends, COLOURS[1], "s"),
            ):
                face = "white" if run.caveat else colour
                axis.plot(ends, [line] * len(ends), color=colour, linewidth=1, zorder=1)
                axis.scatter(
                    value, line, 55, face, marker=marker, edgecolors=colour, linewidths=1.8
                )
        axis.set_yticks(range(len(rows)), [_run_name(run) for run, *_ in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlim(
            0, 1.1 * max(max(*object_ends, *part_ends) for _, object_ends, part_ends in rows)
        )
        axis.set_xlabel("mIoU (%)")
    axes[0].scatter([], [], 45, COLOURS[0], marker="o", label="objects")
    axes[0].scatter([], [], 45, COLOURS[1], marker="s", label="parts")
    figure.legend(loc="outside lower left", ncols=2)
    yield Picture(
        "object_against_part",
        "Object level against part level: mIoU of a linear head on the frozen encoder. Hollow: "
        "other weights than the paper's. Thin lines: 95 % intervals.",
        figure,
        chart=True,
    )


def per_part(runs: Sequence[Run]) -> Iterator[Picture | str]:
    """AP of each part for every representation."""
    by_data: dict[str, dict[tuple[str, str], dict[str, float]]] = {}
    for run in runs:
        for row in select(run.rows, task="retrieval", metric="AP", head=""):
            if row.group and not row.representation.startswith(("block", "projector", "predictor")):
                series = (_run_name(run, short=True), word(row.representation))
                values = by_data.setdefault(row.data, {}).setdefault(series, {})
                values[row.group] = 100 * row.value
    if not by_data:
        yield "AP per part: skipped, no run retrieved parts"
        return
    parts = {
        data: list(dict.fromkeys(part for values in groups.values() for part in values))
        for data, groups in by_data.items()
    }
    height = max(1.2 + 0.42 * max(map(len, parts.values())), *map(legend_height, by_data.values()))
    figure, axes = panels(list(by_data), width=5.4, height=height)
    for axis, (data, groups) in zip(axes, by_data.items(), strict=True):
        styles = marks()
        for (run_name, representation), values in groups.items():
            colour, marker = next(styles)
            axis.scatter(
                [values.get(part) for part in parts[data]],
                range(len(parts[data])),
                48,
                colour,
                marker=marker,
                label=plain(shortened(f"{run_name}, {representation}")),
                alpha=0.9,
            )
        axis.set_yticks(range(len(parts[data])), [plain(p.replace("_", " ")) for p in parts[data]])
        axis.set_ylim(len(parts[data]) - 0.5, -0.5)
        axis.margins(x=0.12)
        axis.set_xlabel("AP (%)")
        axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    yield Picture(
        "ap_per_part", "Part retrieval: average precision of each part.", figure, chart=True
    )


_LAYER_NAME = re.compile(
    r"block(\d+)(?:/(\w+))?|(projector|predictor)(\d+)|(projection|prediction)"
)
"""Names of representations of one block or of one layer after the blocks; also segmentation heads."""


_STAGES = ("block", "projector", "projection", "predictor", "prediction")
"""Stages in the order of the forward pass."""


def depth(runs: Sequence[Run]) -> Iterator[Picture | str]:
    """Curves of a metric over the blocks and the layers of the projector."""
    by_title: dict[str, dict[tuple[str, str], dict[tuple[int, int], float]]] = {}
    projectors: dict[tuple[str, str], dict[tuple[int, int], float]] = {}
    for run in runs:
        for row in run.rows:
            group = row.group if row.task in ("layers", "attention") else ""
            match = _LAYER_NAME.fullmatch(row.representation or row.head)
            if not match or row.metric not in _SHOWN or row.group != group or row.head == UNTRAINED:
                continue
            if row.task == "attention" and row.metric == "distance" and row.head:
                continue  # a block's value is the mean over its heads
            block, kind, module, layer, end = match.groups()
            value = row.value
            head = row.head if row.representation and row.task != "attention" else ""
            measurement = " ".join(filter(None, (head, row.task.replace("_", " "), group)))
            title = f"{row.data}, {measurement} ({row.metric})"
            name = _run_name(run, short=True)
            if block is None:  # the projector's input is cls: its layers continue the curve of cls
                position = (_STAGES.index(end or module), int(layer or 0))
                projectors.setdefault((title, name), {})[position] = 100 * value
            else:
                series = by_title.setdefault(title, {}).setdefault((name, kind or ""), {})
                series[0, int(block)] = 100 * value
    if not by_title:
        yield (
            "curves over blocks: skipped, no run measured single blocks; name them, as in "
            "--config.retrieval.representations=\"('block0/embedding','block3/embedding')\""
        )
        return
    figure, axes = panels(
        list(by_title), width=4.6, height=max(3, *map(legend_height, by_title.values()))
    )
    for axis, (title, curves) in zip(axes, by_title.items(), strict=True):
        styles = marks()
        layers = {
            position for (t, _), points in projectors.items() if t == title for position in points
        }
        positions = sorted({position for points in curves.values() for position in points} | layers)
        column = {position: i for i, position in enumerate(positions)}
        drawn = set()
        for (name, kind), points in curves.items():
            colour, marker = next(styles)
            style: Any = {"color": colour, "marker": marker, "markersize": 5}
            blocks = sorted(points)
            axis.plot(
                [column[p] for p in blocks],
                [points[p] for p in blocks],
                label=plain(shortened(f"{name}, {word(kind)}" if kind else name)),
                **style,
            )
            projector_points = projectors.get((title, name))
            continues_here = kind == "cls_token" or (name, "cls_token") not in curves
            if projector_points and continues_here and name not in drawn:
                drawn.add(name)
                line = {blocks[-1]: points[blocks[-1]], **projector_points}
                axis.plot(
                    [column[p] for p in sorted(line)],
                    [line[p] for p in sorted(line)],
                    markevery=slice(1, None),
                    markerfacecolor="white",
                    linestyle=":",
                    **style,
                )
        axis.set_xticks(range(len(positions)), [_tick_label(position) for position in positions])
        if layers:
            axis.axvline(column[min(layers)] - 0.5, color="#8a919c", linewidth=0.8)
        predictor = " and predictor (q)" if any(stage > 2 for stage, _ in layers) else ""
        right = f"; right of the line: projector (p){predictor}" if layers else ""
        axis.set_xlabel(f"block, from 0{right}")
        axis.set_ylabel(f"{title.rsplit('(', 1)[1].rstrip(')')} (%)")
        axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    caption = "Score of each block's output alone."
    if any(title in by_title for title, _ in projectors):
        caption += (
            " Hollow: each layer of the projector (of MoCo v3's predictor too), and its output."
        )
    yield Picture("over_blocks", caption, figure, chart=True)


def _tick_label(position: tuple[int, int]) -> str:
    """The tick label of a block, of a layer of projector or predictor, or of the output of one."""
    stage, number = position
    return (f"{number}", f"p{number}", "out", f"q{number}", "out")[stage]


def learning(runs: Sequence[Run]) -> Iterator[Picture | str]:
    """Test accuracy over epochs, and training curves over steps."""
    by_title: dict[tuple[str, str], dict[str, tuple[Sequence[float], Sequence[float]]]] = {}
    for run in runs:
        for key, accuracy in run.curves().items():
            title = f"{key.task}, {key.data}".replace("_", " ")
            series = f"{_run_name(run, short=True)}, {key.series}"
            epochs = list(range(1, len(accuracy) + 1))
            by_title.setdefault((title, "epoch"), {})[series] = epochs, (100 * accuracy).tolist()
        for name, points in run.steps.items():
            curve = [step for step, _ in points], [value for _, value in points]
            by_title.setdefault((name, "step"), {})[_run_name(run, short=True)] = curve
    if not by_title:
        yield "learning curves: skipped, no run kept its accuracy over epochs"
        return
    height = max(3, *map(legend_height, by_title.values()))
    figure, axes = panels([title for title, _ in by_title], width=4, height=height)
    for axis, ((_, unit), curves) in zip(axes, by_title.items(), strict=True):
        styles = marks()
        for series, (steps, values) in curves.items():
            colour, marker = next(styles)
            every = max(1, len(steps) // 8)
            axis.plot(
                steps,
                values,
                color=colour,
                marker=marker,
                markevery=every,
                markersize=4.5,
                label=plain(shortened(series)),
            )
        axis.set_xlabel(unit)
        if unit == "epoch":
            axis.set_ylabel("test accuracy (%)")
        axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    yield Picture("learning_curves", "Learning curves, best rate of each head.", figure, chart=True)


def _ends(row: Row) -> Ends:
    return tuple(100 * share for share in (row.value, *(row.interval or ())))


def _run_name(run: Run, *, short: bool = False) -> str:
    """A run's label with its caveat on a line below; if short, with the first words of the caveat."""
    if short:
        caveat = re.split("[,;]", run.caveat)[0]
        return f"{run.label} {caveat}".rstrip() if len(caveat) <= _LONGEST else run.label
    if not run.caveat:
        return plain(shortened(run.label))
    return plain("\n".join([shortened(run.label), *textwrap.wrap(f"({run.caveat})", 30)]))
