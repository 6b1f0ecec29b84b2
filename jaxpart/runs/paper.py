"""The figures of the paper's tables, as it published them."""

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
"""How the paper writes the methods, in the order of its tables."""

CHECKSUMS = {"deit": ("b5f2ef4d", "80ecf9dd")}
"""First digits of the SHA-256 of released files, by method, where their publishers give any: DeiT's own
and timm's vit_base_patch16_224, one of which made the paper's DeiT figures. A file's name has them."""


@functools.cache
def results() -> Mapping[str, Any]:
    """Every figure of the paper's tables in percent, with its "source"."""
    file = importlib.resources.files("jaxpart") / "assets" / "paper_results.json"
    return json.loads(file.read_text(encoding="utf-8"))


def figure(table: str, method: str, column: str) -> float | None:
    """A figure of the paper, in percent; None where it has none.

    Args:
      table: Its key in `results`.
      method: As the paper writes it.
      column: Key in the table's row.
    """
    return results().get(table, {}).get(method, {}).get(column)
