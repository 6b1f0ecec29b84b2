"""Label maps: one class per pixel, as shared by data sets, heads and metrics."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from jaxpart.errors import JaxpartError

IGNORE = 255
"""The label of ignored pixels: background, borders, padding."""


def check_labels(
    labels: Int[np.ndarray, "*shape"],
    classes: int,
    *,
    where: str,
    size: tuple[int, int] | None = None,
) -> None:
    """Checks a label map, or several, on the host.

    Args:
      labels: Integers; rows and columns are the last two axes.
      classes: Number of classes.
      where: The file or record, for error messages.
      size: (rows, columns) of the image that the labels belong to, if known.

    Raises:
      JaxpartError: If a label is neither 0 … classes − 1 nor 255, or the size differs.
    """
    if size is not None and labels.shape[-2:] != tuple(size):
        rows, columns = labels.shape[-2:]
        raise JaxpartError(
            f"{where}: the label map is {columns} × {rows} pixels but its image is "
            f"{size[1]} × {size[0]}; they must be the same size."
        )
    if labels.dtype.kind == "u" and labels.size and labels.max() < classes:
        return  # the common case: one pass
    invalid = (labels != IGNORE) & ((labels < 0) | (labels >= classes))
    if invalid.any():
        values = ", ".join(map(str, np.unique(labels[invalid])[:5]))
        raise JaxpartError(
            f"{where}: the label map holds {values}, but {classes} classes allow 0 to "
            f"{classes - 1}, and {IGNORE} for ignored pixels; check the data set's class list."
        )
