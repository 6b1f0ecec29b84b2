"""The results in the paper's tables."""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

METHODS = {
    "deit": "DeiT",
    "mocov3": "MoCo v3",
    "dino": "DINO",
    "beit": "BEiT",
    "mae": "MAE",
    "cae": "CAE",
    "ibot": "iBOT",
}
"""Names of the methods in the paper, in the order of its tables."""

CHECKSUMS = {"deit": ("b5f2ef4d", "80ecf9dd")}
"""First digits of the SHA-256 of released files, by method, as in the names of the files: DeiT's own and
timm's vit_base_patch16_224, one of which gave the paper's DeiT results."""


@functools.cache
def results() -> Mapping[str, Any]:
    """All results in the paper's tables in percent, with their "source"."""
    file = importlib.resources.files("jaxpart") / "assets" / "paper_results.json"
    return json.loads(file.read_text(encoding="utf-8"))


def figure(table: str, method: str, column: str) -> float | None:
    """A result in the paper, in percent; None if it has none.

    Args:
      table: Key of the table in `results`.
      method: The method's name in the paper.
      column: Key of the column.
    """
    return results().get(table, {}).get(method, {}).get(column)
