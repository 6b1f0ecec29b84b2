"""The interface of frozen encoders that tasks rely on."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

from jaxtyping import Array, Int, Num, UInt8

from jaxpart.encoders.positions import Grid


class FrozenEncoder(Protocol):
    """A frozen encoder: a converted ViT (`Encoder`), a function (`FunctionEncoder`), ….

    All are pytrees. `jaxpart.features.representations` reads representations from their outputs.
    """

    @property
    def name(self) -> str:
        """Its name in tables."""

    @property
    def digest(self) -> str:
        """Identifies everything that determines its output; keys cached features and work directories."""

    @property
    def trained(self) -> bool:
        """False for random weights."""

    @property
    def precision(self) -> str:
        """Precision of its matrix products, see `jaxpart.encoders.precision`."""

    @property
    def jittable(self) -> bool:
        """Whether it can be part of a compiled program."""

    @property
    def image_size(self) -> Grid:
        """Its native (height, width) in pixels."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """Names of the tokens before the patch tokens: "cls", …"""

    @property
    def depth(self) -> int:
        """Number of blocks whose output it returns."""

    @property
    def identity(self) -> Hashable:
        """Equal for encoders with the same outputs."""

    def cache_key(self, name: str) -> dict[str, str]:
        """Key of a representation in the feature cache, in addition to data and view."""

    def check_size(self, height: int, width: int) -> None:
        """Raises `JaxpartError` if it does not accept images of this size."""

    def grid_of(self, height: int, width: int, block: int | None = None) -> Grid:
        """Patch tokens along (height, width) of an image, for its last layer or a block.

        Raises:
          JaxpartError: It does not accept such images, or returns no tokens.
        """

    def shapes(self, height: int, width: int) -> dict[str, Any]:
        """Shape and dtype of every output for one image, blocks included.

        Raises:
          JaxpartError: It does not accept such images.
        """

    def normalize(
        self, images: UInt8[Array, "batch height width 3"]
    ) -> Num[Array, "batch height width 3"]:
        """Prepares uint8 pixels for it."""

    def __call__(
        self,
        images: Num[Array, "batch height width 3"],
        *,
        order: Int[Array, "batch patch"] | None = None,
        blocks: bool = False,
    ) -> dict[str, Any]:
        """Runs it on normalised images: see `Encoder.__call__`."""
