"""Charts of what runs measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from jaxpart.report.figures.style import COLOURS, Picture, marks, panels, plain
from jaxpart.report.patch_sets import word
from jaxpart.report.runs import Run

_LEVELS = (
    ("ade20k_object", "ade20k_part", "ADE20K"),
    ("pascal_object", "pascal_part", "Pascal"),
    ("critters_object", "critters_part", "critters"),
)


def levels(runs: Sequence[Run]) -> Iterator[Picture | str]:
    """Object level against part level per encoder, as the paper's figure 6."""
    found = []
    for *pair, title in _LEVELS:
        keys = [f"{data}/segmentation/paper/mIoU" for data in pair]
        rows = [
            (run, 100 * run.values[keys[0]], 100 * run.values[keys[1]])
            for run in runs
            if all(key in run.values for key in keys)
        ]
        if rows:
            found.append((title, rows))
    if not found:
        yield (
            "object against part level: skipped, no run segmented the objects and the parts of a set"
        )
        return
    most = max(len(rows) for _, rows in found)
    figure, axes = panels([title for title, _ in found], width=5, height=1.3 + 0.5 * most)
    for axis, (_, rows) in zip(axes, found, strict=True):
        for place, (run, whole, part) in enumerate(rows):
            axis.plot([whole, part], [place, place], color="#8a919c", linewidth=1.5, zorder=1)
            for value, colour, marker in ((whole, COLOURS[0], "o"), (part, COLOURS[1], "s")):
                face = "white" if run.caveat else colour
                axis.scatter(
                    value, place, 55, face, marker=marker, edgecolors=colour, linewidths=1.8
                )
        axis.set_yticks(range(len(rows)), [_named(run) for run, *_ in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlim(0, 1.1 * max(max(whole, part) for _, whole, part in rows))
        axis.set_xlabel("mIoU (%)")
    axes[0].scatter([], [], 45, COLOURS[0], marker="o", label="objects")
    axes[0].scatter([], [], 45, COLOURS[1], marker="s", label="parts")
    figure.legend(loc="outside lower left", ncols=2)
    yield Picture(
        "object_against_part",
        "Object level against part level: mIoU of a linear head on the frozen encoder. Hollow: "
        "untrained or miniature encoders, which say nothing of the paper's.",
        figure,
    )


def per_part(runs: Sequence[Run]) -> Iterator[Picture | str]:
    """AP of each part, for every representation that was compared."""
    found: dict[str, dict[tuple[str, str], dict[str, float]]] = {}
    for run in runs:
        for key, value in run.values.items():
            match = re.fullmatch(r"([^/]+)/retrieval/(.+)/part/(.+)", key)
            if match and not match[2].startswith("block"):
                series = (_named(run, short=True), word(match[2]))
                found.setdefault(match[1], {}).setdefault(series, {})[match[3]] = 100 * value
    if not found:
        yield "AP per part: skipped, no run retrieved parts"
        return
    parts = {
        data: list(dict.fromkeys(p for s in of.values() for p in s)) for data, of in found.items()
    }
    figure, axes = panels(list(found), width=5.4, height=1.2 + 0.42 * max(map(len, parts.values())))
    for axis, (data, of) in zip(axes, found.items(), strict=True):
        styles = marks()
        for (run_name, representation), values in of.items():
            colour, marker = next(styles)
            axis.scatter(
                [values.get(part) for part in parts[data]],
                range(len(parts[data])),
                48,
                colour,
                marker=marker,
                label=plain(f"{run_name}, {representation}"),
                alpha=0.9,
            )
        axis.set_yticks(range(len(parts[data])), [plain(p.replace("_", " ")) for p in parts[data]])
        axis.set_ylim(len(parts[data]) - 0.5, -0.5)
        axis.margins(x=0.12)
        axis.set_xlabel("AP (%)")
        axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    yield Picture("ap_per_part", "Part retrieval: average precision of each part.", figure)


def depth(runs: Sequence[Run]) -> Iterator[Picture | str]:
    """How a measurement changes from block to block, and behind the projector."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    behind: dict[tuple[str, str], float] = {}
    for run in runs:
        for key, value in run.values.items():
            match = re.fullmatch(
                r"([^/]+)/(retrieval|segmentation)/block(\d+)(?:/(\w+))?/(AP|mIoU)", key
            )
            if not match:
                continue
            title = f"{match[1]}, {match[2]} ({match[5]})"
            series = f"{_named(run, short=True)}{f', {word(match[4])}' if match[4] else ''}"
            points = found.setdefault(title, {}).setdefault(series, [])
            points.append((int(match[3]), 100 * value))
            projected = f"{match[1]}/retrieval/projection/AP"
            if match[2] == "retrieval" and projected in run.values:
                behind[title, series] = 100 * run.values[projected]
    if not found:
        yield (
            "curves over blocks: skipped, no run measured single blocks; name them, as in "
            "--config.retrieval.representations=\"('block0/embedding','block5/embedding')\""
        )
        return
    figure, axes = panels(list(found), width=4, height=3)
    for axis, (title, of) in zip(axes, found.items(), strict=True):
        styles = marks()
        for series, points in of.items():
            colour, marker = next(styles)
            numbers, values = zip(*sorted(points), strict=True)
            axis.plot(
                numbers, values, color=colour, marker=marker, markersize=5, label=plain(series)
            )
            if (title, series) in behind:
                axis.plot(
                    [numbers[-1], numbers[-1] + 1],
                    [values[-1], behind[title, series]],
                    color=colour,
                    marker=marker,
                    markevery=[1],
                    markerfacecolor="white",
                    linestyle=":",
                )
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlabel("block, from 0" + (" (last, hollow: projected)" if behind else ""))
        axis.set_ylabel(f"{title.rsplit('(', 1)[1].rstrip(')')} (%)")
        axis.legend()
    yield Picture("over_blocks", "What each block's output alone gives.", figure)


def learning(runs: Sequence[Run]) -> Iterator[Picture | str]:
    """Test accuracy over epochs, and whatever was measured step by step."""
    found: dict[tuple[str, str], dict[str, tuple[Sequence[float], Sequence[float]]]] = {}
    for run in runs:
        for name, accuracy in run.curves().items():
            task, head = name.split(": ")
            title = task.replace("classification_", "classification, ").replace("_", " ")
            series = f"{_named(run, short=True)}, {head}"
            epochs = list(range(1, len(accuracy) + 1))
            found.setdefault((title, "epoch"), {})[series] = epochs, (100 * accuracy).tolist()
        for name, points in run.steps.items():
            curve = [step for step, _ in points], [value for _, value in points]
            found.setdefault((name, "step"), {})[_named(run, short=True)] = curve
    if not found:
        yield "learning curves: skipped, no run kept its accuracy over epochs"
        return
    figure, axes = panels([title for title, _ in found], width=4, height=3)
    for axis, ((_, unit), of) in zip(axes, found.items(), strict=True):
        styles = marks()
        for series, (steps, values) in of.items():
            colour, marker = next(styles)
            every = max(1, len(steps) // 8)
            axis.plot(
                steps,
                values,
                color=colour,
                marker=marker,
                markevery=every,
                markersize=4.5,
                label=plain(series),
            )
        axis.set_xlabel(unit)
        if unit == "epoch":
            axis.set_ylabel("test accuracy (%)")
        axis.legend()
    yield Picture("learning_curves", "Learning curves, best rate of each head.", figure)


def _named(run: Run, *, short: bool = False) -> str:
    """A run's label, with its caveat in a line below or, short, with one word."""
    if not run.caveat:
        return plain(run.label)
    told = "UNTRAINED" if not run.encoder["trained"] else "miniature"
    return plain(f"{run.label} {told}" if short else f"{run.label}\n({run.caveat})")
