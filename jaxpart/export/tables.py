"""The views that can be exported, with a label for each item."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from jaxpart.data.parts import PartSelection, part_patches
from jaxpart.data.sets import classification_sets, find_set, open_set, retrieval_set
from jaxpart.data.source import Source
from jaxpart.data.views import View, image_view, patch_view
from jaxpart.errors import JaxpartError

VIEWS = ("parts", "parts_train", "parts_test", "images_train", "images_test")
"""Part patches of retrieval and of the training and testing of part classification; whole images
with their classes, transformed as for testing."""


@dataclasses.dataclass(frozen=True)
class LabelledView:
    """A view to export.

    Attributes:
      name: Data set and view, "cub_parts_train"; the file name.
      kind: A key of `VIEWS`.
      source: Split of the data set.
      view: The images.
      labels: Class of each item, from 0.
      classes: Class names.
    """

    name: str
    kind: str
    source: Source
    view: View
    labels: Int[np.ndarray, " item"]
    classes: Sequence[str]


def find_views(
    kinds: Sequence[str],
    data: Any,
    *,
    size: int,
    on_error: Literal["raise", "skip"],
    permuted: int | None = None,
) -> Iterator[LabelledView]:
    """The views of every data set of a configuration.

    Args:
      kinds: Some of `VIEWS`.
      data: The configuration's `data`: sets, root and the like.
      size: Side of the images in pixels.
      on_error: Whether to raise for images that cannot be read, or to skip them.
      permuted: See `View.permuted`; applies to part patches.

    Raises:
      JaxpartError: A view or data set is unknown, or the data set is missing or has no such view.
    """
    for kind in kinds:
        if kind not in VIEWS:
            raise JaxpartError(f"there is no view {kind!r}; choose from {', '.join(VIEWS)}")
    for name in data.sets:
        for kind in kinds:
            view = _find(name, kind, data, size, on_error)
            order = permuted if kind.startswith("parts") else None
            yield dataclasses.replace(view, view=dataclasses.replace(view.view, permuted=order))


def _find(
    name: str, kind: str, data: Any, size: int, on_error: Literal["raise", "skip"]
) -> LabelledView:
    if kind == "parts":
        source, selection = retrieval_set(name, data)
        return _parts(name, kind, source, selection, "eval", size, on_error)
    side = ("train", "test").index(kind.rpartition("_")[2])
    if kind.startswith("parts"):
        *sources, selection = classification_sets(name, data)
        transform: Literal["eval", "train"] = "eval" if side else "train"
        return _parts(name, kind, sources[side], selection, transform, size, on_error)
    source = open_set(name, find_set(name)[1].splits[side], data)
    labels = [source.annotation(i).label for i in range(len(source))]
    if not source.info.class_names or None in labels:
        raise JaxpartError(
            f"{source.info.name} ({source.info.split}) has no class for each image; export its parts"
        )
    view = image_view(source, size=size, on_error=on_error)
    classes = np.array(labels, np.int64)
    return LabelledView(f"{name}_{kind}", kind, source, view, classes, source.info.class_names)


def _parts(
    name: str,
    kind: str,
    source: Source,
    selection: PartSelection,
    transform: Literal["eval", "train"],
    size: int,
    on_error: Literal["raise", "skip"],
) -> LabelledView:
    patches = part_patches(source, selection)
    view = patch_view(source, patches, size=size, transform=transform, on_error=on_error)
    label_of = {part: label for label, part in enumerate(selection.parts)}
    labels = np.array([label_of[patch.part] for patch in patches], np.int64)
    classes = tuple(selection.parts.values())
    return LabelledView(f"{name}_{kind}", kind, source, view, labels, classes)
