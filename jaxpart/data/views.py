"""Fixed views: pixels that are the same whenever they are read, with names by which what an encoder made of
them can be found again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from jaxpart.data.augment import ImageEval
from jaxpart.data.images import Pixels
from jaxpart.data.parts import Patch
from jaxpart.data.patch_images import read_patches
from jaxpart.data.source import Source
from jaxpart.data.subset import Subset
from jaxpart.errors import JaxpartError

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class View:
    """Images that are the same whenever they are read.

    Attributes:
      data: The data set with its version, whatever the split: with it and an id go the same pixels.
      kind: How they are cut and resized, "patch eval".
      size: Side in pixels.
      ids: Name of each item; for messages too.
      read: Pixels of the items with the given numbers, in that order; an error in place of those that
        cannot be read, where the view was asked to skip them.
    """

    data: str
    kind: str
    size: int
    ids: Sequence[str]
    read: Callable[[Sequence[int]], Iterator[Pixels | JaxpartError]]

    def subset(self, numbers: Sequence[int]) -> View:
        """Of some items alone."""
        ids = [self.ids[number] for number in numbers]

        def read(chosen: Sequence[int]) -> Iterator[Pixels | JaxpartError]:
            return self.read([numbers[number] for number in chosen])

        return dataclasses.replace(self, ids=ids, read=read)


def patch_view(
    source: Source,
    patches: Sequence[Patch],
    *,
    size: int,
    transform: Literal["eval", "train"] = "eval",
    on_error: Literal["raise", "skip"] = "raise",
) -> View:
    """Part patches: see `read_patches`."""

    def read(numbers: Sequence[int]) -> Iterator[Pixels | JaxpartError]:
        chosen = [patches[number] for number in numbers]
        found = read_patches(source, chosen, size=size, transform=transform, on_error=on_error)
        return (pixels for _, pixels in found)

    kind = f"patch {transform}"
    return View(f"{source.info.name} {source.info.version}", kind, size, patch_ids(patches), read)


def patch_ids(patches: Sequence[Patch]) -> list[str]:
    """The name of each patch: its image's and its box."""
    return [f"{patch.image} {list(patch.box)}" for patch in patches]


def image_view(source: Source, *, size: int, on_error: Literal["raise", "skip"] = "raise") -> View:
    """Whole images as they are tested: see `ImageEval`."""

    def read(numbers: Sequence[int]) -> Iterator[Pixels | JaxpartError]:
        from jaxpart.data.input import load  # Slow to import, and patches need none of it.

        loader = load(
            Subset(source, numbers),
            ImageEval(size),
            batch_size=min(len(numbers), _BATCH),
            shuffle=False,
            epochs=1,
            on_error=on_error,
        )
        for batch in loader:
            for pixels, valid, item in zip(
                batch.arrays["image"], batch.valid, batch.ids, strict=True
            ):
                if item:  # the others are padding
                    yield pixels if valid else JaxpartError(loader.skipped[item])

    ids = [source.annotation(number).id for number in range(len(source))]
    return View(f"{source.info.name} {source.info.version}", "image eval", size, ids, read)
