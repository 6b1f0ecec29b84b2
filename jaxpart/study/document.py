"""Writes docs/study.md from a study's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxpart.runs.rows import select
from jaxpart.study import claims, verdicts
from jaxpart.study.claims import row_name
from jaxpart.study.entries import Entry, Study
from jaxpart.study.figures import (
    COLUMNS,
    DATA,
    Figure,
    baseline_figures,
    beaten_by,
    best_rows,
    by_row,
    figure_of,
    figures_of,
    interval_note,
    written,
)
from jaxpart.tasks.baselines import BASELINE, label
from jaxpart.tasks.masked_parts.experiment import QUERIES

_HEAD = """# The study in miniature

The paper's comparison (arXiv 2301.11915), repeated with small encoders on drawn critters, and its claims
tested on them. A command generates this page from stored results; no number was entered by hand.

```bash
# needs hours: trains the encoders
python -m jaxpart.pretraining.zoo --rebuild --seed 0 1 2 --out ZOO           # ZOO/seed0, …
python -m jaxpart.main --config configs/study.py \\
    --config.encoders="('ZOO',)" --workdir runs/study                    # measures everything
python -m jaxpart.study collect runs/study                               # jaxpart/study/results.json
python -m jaxpart.study write docs/study.md                              # this page
```

`python -m jaxpart.main --config configs/study.py --config.seeds=N` measures the bundled encoders again and
adds the stored results of the other seeds, if there are any.

The study shows how these seven objectives, trained on the same images with the same small ViT, differ on
drawn images. It does not reproduce the paper's figures, which are for ViT-B/16 on ImageNet-1k.
[](pretraining.md#how-the-miniature-differs-from-the-paper) explains why some claims may fail here."""


def document(study: Study) -> str:
    """The page, as Markdown.

    Args:
      study: The study.
    """
    parts = [
        _HEAD,
        _setting(study),
        _table(study.entries),
        _claims(study.entries),
        _layers(study.entries),
        _hidden(study.entries),
        _training(study.entries),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _grid(heading: Sequence[str], rows: Sequence[Sequence[str]], *, prose: int = 1) -> str:
    """A Markdown table; the first `prose` columns are text."""
    marks = ["---"] * prose + ["---:"] * (len(heading) - prose)
    lines = [heading, marks, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _setting(study: Study) -> str:
    data: Mapping[str, Any] = study.options.get("data", {})
    return (
        "## Setup\n\n"
        f"- Data: {', '.join(data.get('sets', ()))}, {data.get('num_images')} training and as many test "
        f"images of {data.get('image_size')} pixels, version {data.get('version')}, seed "
        f"{data.get('seed')}; drawn by jaxpart, by rules that were fixed before any of these encoders was "
        "trained on them.\n"
        "- The test split shares no image with training or pretraining. Heads are trained on features of "
        "fixed views; accuracies are for the best epoch on the test set, as in the paper.\n"
        f"- Intervals: {interval_note(study.entries)}. The paper's tables have none."
    )


def _table(entries: Sequence[Entry]) -> str:
    figures, baselines = figures_of(entries), baseline_figures(entries)
    best = best_rows(figures)
    heading = ["percent", *(f"{c.level} {c.heading[0]} {c.heading[1]}" for c in COLUMNS)]
    rows = []
    for row in by_row(entries):
        cells = []
        for column in COLUMNS:
            figure = figures[row].get(column.key)
            text = written(figure, beaten=beaten_by(figure, column, baselines), between=" ")
            cells.append(f"**{text}**" if best.get(column.key) == row else text)
        rows.append([row_name(row), *cells])
    for name, levels in baselines.items():
        rows.append([name, *(written(levels.get(c.key), between=" ") for c in COLUMNS)])
    below = (
        " ° marks figures that are not above every baseline: a random order of the same patches, or in "
        "classification the most frequent part; their mean colour, and their pixels in 12 × 12 cells. "
        "The ± of baselines is half the 95 % interval over test images."
    )
    return (
        "## All tasks\n\n"
        + _grid(heading, rows)
        + "\n\nThe best encoder of each column is bold; – means that the method has no projector."
        + (below if baselines else "")
    )


def _claims(entries: Sequence[Entry]) -> str:
    judged = verdicts.judge(entries, claims.CLAIMS)
    # the modules' docstrings without their first lines
    explanation, rules = ((m.__doc__ or "").split("\n\n", 1)[1].strip() for m in (claims, verdicts))
    text = [f"## The claims\n\n{explanation}\n\n{rules}"]
    text.append(
        _grid(
            ["claim", "at this scale", "comparisons that hold"],
            [
                [
                    f"{claim.number}. {claim.text}",
                    f"**{claim.verdict}**",
                    f"{sum(c.verdict == 'holds' for c in claim.comparisons)} of "
                    f"{len(claim.comparisons)}",
                ]
                for claim in judged
            ],
            prose=3,
        )
    )
    for claim in judged:
        rows = [[c.text, verdicts.numbers(c), str(c.seeds), c.verdict] for c in claim.comparisons]
        text.append(
            f"### Claim {claim.number}: {claim.verdict}\n\n"
            + _grid(["comparison", "points [95 %]", "seeds", ""], rows, prose=4)
        )
    return "\n\n".join(text)


def _layers(entries: Sequence[Entry]) -> str:
    """The section on part-to-whole, a row per layer."""
    rows = by_row(entries)
    layers = dict.fromkeys(
        row.key
        for members in rows.values()
        for entry in members
        for row in select(entry.rows, data=DATA, task="layers", metric="AP", group="parts")
    )
    if not layers:
        return ""
    table = []
    for layer in layers:
        cells = []
        for members in rows.values():
            figures = [
                figure_of(members, layer._replace(group=group)) for group in ("parts", "objects")
            ]
            if layer.head:  # a baseline, which depends on the data alone
                figures = [figure and Figure(figure.value, None, None, 1) for figure in figures]
            cells.append(
                "–"
                if figures[0] is None
                else " / ".join(written(figure, between=" ") for figure in figures if figure)
            )
        table.append([label(layer) if layer.head else f"`{label(layer)}`", *cells])
    return (
        "## From part to whole\n\nAP (percent) of part patches retrieving the same part / the same kind of "
        "object, by the output of each block and of each projector layer. Blocks are counted from 0 and "
        "taken before the final norm; `embedding` is the mean patch token; `projector1`… are the layers' "
        "outputs as the next layer sees them, the last being the projection.\n\n"
        + _grid(["layer", *map(row_name, rows)], table)
    )


def _hidden(entries: Sequence[Entry]) -> str:
    """The section on part-to-part, a row per method and space."""
    table = []
    fields = {"data": DATA, "task": "masked_parts", "metric": "AP", "group": ""}
    for name, members in by_row(entries).items():
        part_keys = dict.fromkeys(
            row.key for entry in members for row in select(entry.rows, **fields, head="part")
        )
        for key in part_keys:
            chance = key._replace(head=BASELINE, representation="chance")
            keys = [chance, *(key._replace(head=query) for query in QUERIES)]
            cells = [written(figure_of(members, key), between=" ") for key in keys]
            table.append([f"{row_name(name)}, {key.representation}", *cells])
    if not table:
        return ""
    return (
        "## From part to part\n\nOne whole annotated part is masked and predicted from the rest; AP "
        "(percent) of the prediction retrieving true parts of that name. `random_mask`: the "
        "same number of patches "
        "is masked at random, so other patches of the part are visible; `other_image`: the same "
        "position in "
        "another image, which shows what position alone explains; `seen`: the true part is the query."
        "\n\n" + _grid(["", "chance", *QUERIES], table)
    )


def _training(entries: Sequence[Entry]) -> str:
    table = [
        [
            row_name(entry.row),
            str(entry.seed),
            str(entry.pretraining.get("images_seen", "–")),
            str(entry.pretraining.get("seconds", "–")),
            str(entry.pretraining.get("commit", ""))[:10] or "–",
            f"`{entry.encoder['digest'][:12]}`",
        ]
        for members in by_row(entries).values()
        for entry in members
    ]
    heading = ["encoder", "seed", "images seen", "seconds", "commit", "weights"]
    return "## The encoders\n\n" + _grid(heading, table)
