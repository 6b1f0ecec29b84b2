"""What tasks ask of a frozen encoder, whatever it is made of."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

from jaxtyping import Array, Int, Num, UInt8

from jaxpart.encoders.positions import Grid


class FrozenEncoder(Protocol):
    """An encoder as tasks see it: a converted ViT (`Encoder`) or a function (`FunctionEncoder`).

    All are pytrees. Representations are read from what they return by `jaxpart.features.representations`.
    """

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def digest(self) -> str:
        """Of all that decides its output; by it features are kept and work directories known."""

    @property
    def trained(self) -> bool:
        """False for random weights."""

    @property
    def precision(self) -> str:
        """How exactly it multiplies matrices, see `jaxpart.encoders.precision`."""

    @property
    def jittable(self) -> bool:
        """Whether it can be a part of a compiled program."""

    @property
    def image_size(self) -> Grid:
        """(height, width) in pixels that it was made for."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """Names of the tokens before those of patches: "cls", …"""

    @property
    def depth(self) -> int:
        """Number of blocks whose output it returns."""

    @property
    def identity(self) -> Hashable:
        """Equal for encoders that return the same."""

    def cache_key(self, name: str) -> dict[str, str]:
        """What names a representation in the feature cache, beside data and view."""

    def check_size(self, height: int, width: int) -> None:
        """Raises `JaxpartError` if it does not take images of so many pixels."""

    def grid_of(self, height: int, width: int, block: int | None = None) -> Grid:
        """Patch tokens along (height, width) of images: of its last layer, or of a block.

        Raises:
          JaxpartError: It does not take such images, or returns no tokens.
        """

    def shapes(self, height: int, width: int) -> dict[str, Any]:
        """All that it returns for one image, blocks included, each as a `jax.ShapeDtypeStruct`.

        Raises:
          JaxpartError: It does not take such images.
        """

    def normalize(
        self, images: UInt8[Array, "batch height width 3"]
    ) -> Num[Array, "batch height width 3"]:
        """Pixels of 0 to 255 as it wants them."""

    def __call__(
        self,
        images: Num[Array, "batch height width 3"],
        *,
        order: Int[Array, "batch patch"] | None = None,
        blocks: bool = False,
    ) -> dict[str, Any]:
        """Runs it on normalised images: see `Encoder.__call__`."""
