"""Tables as Markdown, LaTeX (booktabs) and CSV. The page shows them as HTML."""

from __future__ import annotations

import re

from jaxpart.io.text import csv_text
from jaxpart.report.tables import Cell, Table

NOT_RUN = "–"

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": r"$-$",
    "×": r"$\times$",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
}
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#])")


def number(value: float | None) -> str:
    """A number with one decimal; "" for None."""
    return "" if value is None else f"{value:.1f}".replace("-", "−")


def signed(value: float | None) -> str:
    """A number with its sign and one decimal; "" for None."""
    return "" if value is None else f"{value:+.1f}".replace("-", "−")


def interval(cell: Cell) -> str:
    """The 95 % interval, "91.2–93.4"; "" if the cell has none."""
    if cell.low is None or cell.high is None:
        return ""
    return f"{number(cell.low)}–{number(cell.high)}"


def deviation(cell: Cell) -> str:
    """The standard deviation over seeds, " ± 0.4"; "" if the cell has none."""
    return "" if cell.deviation is None else f" ± {number(cell.deviation)}"


def markdown(table: Table) -> str:
    """A table for a README: our numbers with intervals, the paper's numbers, and the differences."""
    head = ["encoder"]
    for column in table.columns:
        head += [column, "paper", "difference"] if table.compared else [column]
    rows = [[_md(cell) for cell in head], ["---", *["---:"] * (len(head) - 1)]]
    for row in table.rows:
        line = [_md(f"{row.label} ({row.caveat})" if row.caveat else row.label)]
        for cell in row.cells:
            ours = number(cell.ours) or NOT_RUN
            ours += deviation(cell)
            ours += f" ({interval(cell)})" if interval(cell) else ""
            line += (
                [ours, number(cell.paper), signed(cell.difference)] if table.compared else [ours]
            )
        rows.append(line)
    text = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    notes = "".join(f"\n{_md(note)}\n" for note in table.notes)
    return f"### {_md(table.title)}\n\n{text}{notes}"


def _md(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def latex(table: Table) -> str:
    """A table for a paper; needs the LaTeX package booktabs."""
    columns_each = 3 if table.compared else 1
    lines = [
        "% \\usepackage{booktabs}; percent; small: 95 % intervals; plus-minus: deviation over seeds",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_tex(table.title)}.{''.join(' ' + _tex(note) for note in table.notes)}}}",
        f"\\label{{tab:{table.name}}}",
        f"\\begin{{tabular}}{{l{'r' * columns_each * len(table.columns)}}}",
        "\\toprule",
    ]
    if table.compared:
        lines.append(
            "".join(f" & \\multicolumn{{3}}{{c}}{{{_tex(column)}}}" for column in table.columns)
            + r" \\"
        )
        lines.append(
            "".join(f"\\cmidrule(lr){{{2 + 3 * i}-{4 + 3 * i}}}" for i in range(len(table.columns)))
        )
        lines.append("encoder" + " & ours & paper & $\\Delta$" * len(table.columns) + r" \\")
    else:
        lines.append(" & ".join(["encoder", *map(_tex, table.columns)]) + r" \\")
    lines.append("\\midrule")
    apart = False
    for row in table.rows:
        if row.apart and not apart and table.compared:
            lines.append("\\midrule")
            apart = True
        cells = [_tex(f"{row.label} ({row.caveat})" if row.caveat else row.label)]
        for cell in row.cells:
            ours = number(cell.ours) or "--"
            ours += deviation(cell).replace("±", "$\\pm$")
            if interval(cell):
                ours += f" {{\\scriptsize {interval(cell).replace('–', '--')}}}"
            cells.append(ours)
            if table.compared:
                cells += [number(cell.paper), signed(cell.difference).replace("−", "$-$")]
        lines.append(" & ".join(cells) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}", ""]
    return "\n".join(lines)


def _tex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def as_csv(table: Table) -> str:
    """Each number on its own line, with more digits than the other formats show; empty if missing."""
    names = ("ours", "low", "high", "deviation", "paper", "difference")
    lines = []
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            numbers = (getattr(cell, name) for name in names)
            exact = ("" if value is None else f"{value:.4f}" for value in numbers)
            lines.append((row.label, row.caveat, column, *exact))
    return csv_text(("encoder", "caveat", "column", *names), lines)
