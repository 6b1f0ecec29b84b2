"""Masks in COCO's format (polygons and run-length codes), drawn pixel by pixel as pycocotools does.

We do not use pycocotools (2.0.11) itself, because untrusted files can crash it: a corner at 1e9 exhausts
the memory, and a truncated code makes it read and write out of bounds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from jaxpart.data.coco_file import CocoFile
from jaxpart.data.images import MAX_PIXELS
from jaxpart.errors import JaxpartError, printable

_STEPS = 5
"""Steps per pixel in which outlines are traced."""
_LONGEST_OUTLINE = 2**22
"""Limit for one polygon, in fifths of a pixel: 840 000 pixels."""
_MORE, _SIGN, _BITS = 0x20, 0x10, 0x1F
_LONGEST_NUMBER = 6
"""Limit for the characters of a number in a code: 30 bits."""

Outline = Float64[np.ndarray, "corner 2"]
"""x and y of the corners of a polygon, in pixels."""


class Mask(NamedTuple):
    """A mask before rasterisation: a union of polygons, or run lengths.

    Attributes:
      polygons: Polygons of three or more corners.
      runs: COCO's run-length code, compressed or as numbers, or None.
      size: (height, width) of the runs, or None.
    """

    polygons: tuple[Outline, ...] = ()
    runs: bytes | tuple[int, ...] | None = None
    size: tuple[int, int] | None = None

    @property
    def empty(self) -> bool:
        """Whether the mask has neither polygons nor runs."""
        return not self.polygons and self.runs is None


def read_masks(document: CocoFile) -> list[Mask]:
    """The `segmentation` of each annotation, in file order.

    Raises:
      JaxpartError: A segmentation is neither a list of polygons nor run lengths with a size.
    """
    masks = []
    for row, value in enumerate(document.column("annotations", "segmentation")):
        try:
            masks.append(_mask(value))
        except (ValueError, OverflowError) as error:
            raise JaxpartError(
                f"{document.path}: annotations[{row}].segmentation {error}; fix or remove it"
            ) from None
    return masks


def _mask(value: Any) -> Mask:
    if isinstance(value, list):
        polygons = map(_polygon, value)  # with fewer than three corners they cover no pixel
        return Mask(tuple(polygon for polygon in polygons if len(polygon) > 2))
    if not isinstance(value, dict):
        raise ValueError(f"is {printable(repr(value))}, neither polygons nor run lengths")
    size, counts = value.get("size"), value.get("counts")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(type(side) is int and 0 < side <= MAX_PIXELS for side in size)
    ):
        raise ValueError(
            f"has the size {printable(repr(size))}, which is not a height and width in pixels"
        )
    if isinstance(counts, str) and counts.isascii():
        return Mask(runs=counts.encode(), size=(size[0], size[1]))
    if isinstance(counts, list) and set(map(type, counts)) <= {int}:
        if any(not 0 <= count <= MAX_PIXELS for count in counts):
            raise ValueError("has counts that are not run lengths")
        return Mask(runs=tuple(counts), size=(size[0], size[1]))
    raise ValueError(f"has the counts {printable(repr(counts))}, which are not run lengths")


def _polygon(numbers: Any) -> Outline:
    if not isinstance(numbers, list):
        raise ValueError(f"holds {printable(repr(numbers))}, which is not a polygon")
    non_numbers = [number for number in numbers if type(number) not in (int, float)]
    if non_numbers:
        raise ValueError(f"holds {printable(repr(non_numbers[0]))}, which is not a number")
    if len(numbers) % 2:
        raise ValueError(
            f"holds a polygon of {len(numbers)} numbers, which are not pairs of x and y"
        )
    try:
        corners = np.array(numbers, np.float64)
    except OverflowError:
        raise ValueError("holds a number that is not a pixel coordinate") from None
    if not np.isfinite(corners).all():
        raise ValueError("holds a number that is not a pixel coordinate")
    return corners.reshape(-1, 2)


def draw(mask: Mask, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Rasterises a mask.

    Args:
      mask: The mask.
      size: (height, width) of the image.

    Raises:
      ValueError: A polygon lies farther from the image than the image's longer side or has too long an
        outline; or the runs are damaged, for a different size, or do not add up.
    """
    height, width = size
    if mask.runs is not None:
        if mask.size != size:
            raise ValueError(f"has the size {mask.size} (height, width), but its image {size}")
        counts = _decoded(mask.runs) if isinstance(mask.runs, bytes) else np.array(mask.runs, int)
        if (counts < 0).any() or counts.sum() != height * width:
            raise ValueError(f"has runs that do not add up to {height} × {width} pixels")
        flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return flat.reshape(width, height).T
    # Columns are laid end to end, and each crossing of an outline starts or ends a run.
    inside = np.zeros(height * width, bool)
    for polygon in mask.polygons:
        crossings = _crossings(polygon, height, width)
        if len(crossings):
            first = int(crossings[0])
            last = int(crossings[-1]) if len(crossings) % 2 == 0 else height * width
            toggles = np.zeros(last - first + 1, bool)  # bytes, since an image may be large
            np.logical_xor.at(toggles, crossings - first, True)
            inside[first:last] |= np.logical_xor.accumulate(toggles[:-1])
    return inside.reshape(width, height).T


def _decoded(text: bytes) -> Int64[np.ndarray, " runs"]:
    """Decodes COCO's compressed run lengths: 5 bits per character, differences from the third number on."""
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - ord("0")
    ends = np.flatnonzero((codes & _MORE) == 0)
    if (codes < 0).any() or (codes > _MORE + _BITS).any() or ends[-1:].tolist() != [len(codes) - 1]:
        raise ValueError("has damaged runs")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST_NUMBER:
        raise ValueError("has damaged runs")
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    numbers = np.add.reduceat((codes & _BITS) << shifts, starts)
    numbers -= np.where(codes[ends] & _SIGN, 1 << 5 * lengths, 0)
    counts = numbers.copy()
    counts[1::2] = np.cumsum(numbers[1::2])
    counts[2::2] = np.cumsum(numbers[2::2])
    return counts


def _crossings(polygon: Outline, height: int, width: int) -> Int64[np.ndarray, " crossings"]:
    """The sorted pixels where a polygon's outline crosses from one column of pixels to the next.

    Corners are rounded to fifths of a pixel, and each side is traced in steps of one fifth along its
    longer axis. Pixels are numbered down the columns, from 0 to height · width.
    """
    margin = max(height, width)
    if (polygon < -margin).any() or (polygon > 2 * margin).any():
        raise ValueError("extends farther beyond its image than the image's longer side")
    corners = np.trunc(_STEPS * polygon + 0.5).astype(np.int64)
    start, end = corners, np.roll(corners, -1, axis=0)
    across, down = np.abs(end - start).T
    length = np.maximum(across, down)
    total = int((length + 1).sum())
    if total > _LONGEST_OUTLINE:
        raise ValueError(
            f"has a polygon with an outline of more than {_LONGEST_OUTLINE // _STEPS} pixels"
        )
    # Sides start at their left end, or at their upper end if they are steep.
    steep = across < down
    backwards = np.where(steep, start[:, 1] > end[:, 1], start[:, 0] > end[:, 0])
    low = np.where(backwards[:, None], end, start)
    high = np.where(backwards[:, None], start, end)
    slope = np.where(steep, (high - low)[:, 0], (high - low)[:, 1]) / np.maximum(length, 1)
    side = np.repeat(np.arange(len(length)), length + 1)
    step = np.arange(total) - np.repeat(np.cumsum(length + 1) - length - 1, length + 1)
    step = np.where(backwards[side], length[side] - step, step)
    along = slope[side] * step + 0.5
    x = np.where(steep[side], np.trunc(low[side, 0] + along), low[side, 0] + step).astype(np.int64)
    y = np.where(steep[side], low[side, 1] + step, np.trunc(low[side, 1] + along)).astype(np.int64)
    changes = np.flatnonzero(x[1:] != x[:-1])
    column = np.where(x[changes + 1] < x[changes], x[changes + 1], x[changes + 1] - 1)
    row = np.minimum(y[changes + 1], y[changes])
    mid_pixel = column % _STEPS == _STEPS // 2
    column, row = column[mid_pixel] // _STEPS, row[mid_pixel]
    inside = (column >= 0) & (column < width)
    row = np.ceil(np.clip((row[inside] + 0.5) / _STEPS - 0.5, 0, height)).astype(np.int64)
    return np.sort(column[inside] * height + row)
