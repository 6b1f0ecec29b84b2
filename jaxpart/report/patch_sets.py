"""Patches and their nearest neighbours in each encoder's representations, as the explorer shows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int32
from PIL import Image

from jaxpart.data.images import Pixels

NEIGHBOURS = 24
"""Neighbours shown per patch, as in the paper's figures 2 and 4."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """One encoder with one of its representations.

    Attributes:
      encoder: The run's label.
      representation: "embedding", …
      caveat: See `Run.caveat`.
      neighbours: Numbers of the nearest other patches, most similar first.
      similarities: Their cosine similarities.
      ap: Average precision of each patch as a query over the shown patches; None without part names.
      mean_ap: Mean of `ap`.
    """

    encoder: str
    representation: str
    caveat: str
    neighbours: Int32[np.ndarray, "patch neighbour"]
    similarities: Float32[np.ndarray, "patch neighbour"]
    ap: Float[np.ndarray, " patch"] | None = None
    mean_ap: float | None = None

    @property
    def name(self) -> str:
        """Its name on the page and in the page's address."""
        return f"{self.encoder} · {word(self.representation)}"


@dataclasses.dataclass(frozen=True)
class PatchSet:
    """Patches of the images of one data set.

    Attributes:
      name: Its name on the page: "critters, part patches".
      kind: "parts", or "windows" of whole images, which have no part names.
      available: How many patches the data set has, of which some are shown.
      images: Name of each image.
      pictures: The images.
      image: Number of each patch's image.
      box: (left, top, right, bottom) of each patch, as fractions of its image's sides; may reach outside.
      parts: Names of the parts.
      part: Each patch's part; -1 for windows.
      thumbnails: Each patch's pixels; None if they are cut from `pictures`.
      pairs: The encoders and representations to compare.
    """

    name: str
    kind: str
    available: int
    images: Sequence[str]
    pictures: Sequence[Image.Image]
    image: Int32[np.ndarray, " patch"]
    box: Float[np.ndarray, "patch 4"]
    parts: Sequence[str]
    part: Int32[np.ndarray, " patch"]
    thumbnails: Sequence[Pixels] | None
    pairs: Sequence[Pair] = ()

    @property
    def first(self) -> list[int]:
        """Numbers of the pairs shown first: encoded and projected of an encoder that has both, else the
        first two."""
        index = {(pair.encoder, pair.representation): i for i, pair in enumerate(self.pairs)}
        for encoder, _ in index:
            numbers = [index.get((encoder, name)) for name in ("embedding", "projection")]
            if None not in numbers:
                return [number for number in numbers if number is not None]
        return list(range(len(self.pairs)))[:2]

    def thumbnail(self, patch: int, side: int) -> Image.Image:
        """A patch's picture, `side` pixels wide."""
        if self.thumbnails is not None:
            return Image.fromarray(self.thumbnails[patch]).resize((side, side))
        picture = self.pictures[int(self.image[patch])]
        box = self.box[patch] * np.array(picture.size * 2)
        return picture.resize((side, side), Image.Resampling.BICUBIC, box=tuple(box.tolist()))


def word(representation: str) -> str:
    """The paper's name of a representation, or else jaxpart's."""
    return {"embedding": "encoded", "projection": "projected", "cls_token": "cls token"}.get(
        representation, representation
    )
