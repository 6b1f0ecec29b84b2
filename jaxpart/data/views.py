"""Deterministic views of images, with keys under which an encoder's features of them are cached."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from jaxpart.data.augment import ImageEval
from jaxpart.data.identity import identities
from jaxpart.data.images import Pixels
from jaxpart.data.parts import Patch
from jaxpart.data.patch_images import read_patches
from jaxpart.data.source import Source
from jaxpart.data.subset import Subset
from jaxpart.errors import JaxpartError

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class View:
    """Images with deterministic pixels.

    Attributes:
      data: The data set and its version, without the split.
      kind: How images are cropped and resized, "patch eval".
      size: Side in pixels.
      ids: Name of each item, also used in messages.
      identify: Content identities of the items with the given indices.
      read: Pixels of the items with the given indices, in that order; an error in place of an
        unreadable item if the view skips those.
      permuted: If not None, the seed of a random permutation per item: an encoder gets the image's patches
        in that order, but the original positions.
    """

    data: str
    kind: str
    size: int
    ids: Sequence[str]
    identify: Callable[[Sequence[int]], Sequence[str]]
    read: Callable[[Sequence[int]], Iterator[Pixels | JaxpartError]]
    permuted: int | None = None

    @functools.cached_property
    def keys(self) -> list[str]:
        """Name and content identity of each item: with equal `data`, equal keys mean equal pixels."""
        identities = self.identify(range(len(self.ids)))
        return [f"{item} {identity}" for item, identity in zip(self.ids, identities, strict=True)]

    def subset(self, numbers: Sequence[int]) -> View:
        """The view of some of the items."""
        ids = [self.ids[number] for number in numbers]

        def identify(chosen: Sequence[int]) -> Sequence[str]:
            return self.identify([numbers[number] for number in chosen])

        def read(chosen: Sequence[int]) -> Iterator[Pixels | JaxpartError]:
            return self.read([numbers[number] for number in chosen])

        return dataclasses.replace(self, ids=ids, identify=identify, read=read)


def patch_view(
    source: Source,
    patches: Sequence[Patch],
    *,
    size: int,
    transform: Literal["eval", "train"] = "eval",
    on_error: Literal["raise", "skip"] = "raise",
    permuted: int | None = None,
) -> View:
    """Part patches: see `read_patches`, and `View.permuted`."""

    def read(numbers: Sequence[int]) -> Iterator[Pixels | JaxpartError]:
        chosen = [patches[number] for number in numbers]
        patch_pixels = read_patches(
            source, chosen, size=size, transform=transform, on_error=on_error
        )
        return (pixels for _, pixels in patch_pixels)

    def identify(numbers: Sequence[int]) -> list[str]:
        return identities(source, [patches[number].index for number in numbers])

    data, kind = f"{source.info.name} {source.info.version}", f"patch {transform}"
    return View(data, kind, size, patch_ids(patches), identify, read, permuted)


def patch_ids(patches: Sequence[Patch]) -> list[str]:
    """The name of each patch: its image and its box."""
    return [f"{patch.image} {list(patch.box)}" for patch in patches]


def image_view(source: Source, *, size: int, on_error: Literal["raise", "skip"] = "raise") -> View:
    """Whole images for testing: see `ImageEval`."""

    def read(numbers: Sequence[int]) -> Iterator[Pixels | JaxpartError]:
        from jaxpart.data.input import load  # slow to import, and not needed for patches

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
                if item:  # not padding
                    yield pixels if valid else JaxpartError(loader.skipped[item])

    ids = [source.annotation(number).id for number in range(len(source))]
    data = f"{source.info.name} {source.info.version}"
    return View(data, "image eval", size, ids, functools.partial(identities, source), read)
