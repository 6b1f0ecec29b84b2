"""What the user says beside the checkpoint."""

from __future__ import annotations

import dataclasses

from jaxpart.encoders.layers import Activation
from jaxpart.encoders.positions import PositionResize
from jaxpart.errors import JaxpartError


@dataclasses.dataclass(frozen=True)
class Options:
    """What the user says beside the checkpoint. What is None or empty is read off it or its family.

    Attributes:
      layout: Whose names it uses: "original" (the default), "timm" or "transformers"; never guessed.
      checkpoint_key: Which network of the file ("teacher", "model_ema"), where it holds several.
      prefix: What stands before the encoder's names in that network ("backbone.").
      ignore: Shell-style patterns of keys that are left out.
      num_heads: Attention heads.
      image_size: (height, width) in pixels to make the encoder for; by default that of training.
      grid: (rows, columns) of patches that its positions were trained at; by default a square.
      tokens: Tokens before the patches and how many of each: (("cls", 1), ("reg", 4)).
      mean: Of the pixels, by channel.
      std: Of the pixels, by channel.
      epsilon: Added to every norm's variance.
      activation: Of the MLPs.
      positions: How positions reach another grid.
      name: What the encoder is called in results.
      with_decoder: Whether what stands behind the encoder in pretraining is converted too.
      decoder_num_heads: Attention heads of MAE's decoder.
      overwrite: Whether an encoder that is there may be replaced.
      dry_run: Show the mapping and write nothing.
    """

    layout: str = "original"
    checkpoint_key: str | None = None
    prefix: str | None = None
    ignore: tuple[str, ...] = ()
    num_heads: int | None = None
    image_size: tuple[int, int] | None = None
    grid: tuple[int, int] | None = None
    tokens: tuple[tuple[str, int], ...] = ()
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    epsilon: float | None = None
    activation: Activation | None = None
    positions: PositionResize | None = None
    name: str | None = None
    with_decoder: bool = False
    decoder_num_heads: int | None = None
    overwrite: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Raises `JaxpartError` on numbers that cannot be meant."""
        for flag, value in (
            ("--num-heads", self.num_heads),
            ("--decoder-num-heads", self.decoder_num_heads),
            *(("--image-size", side) for side in self.image_size or ()),
            *(("--grid", side) for side in self.grid or ()),
            *((f"--tokens {name}", count) for name, count in self.tokens),
        ):
            if value is not None and value < 1:
                raise JaxpartError(f"{flag} must be at least 1, not {value}")
        for flag, values in (("--std", self.std or ()), ("--eps", (self.epsilon or 1,))):
            if not all(0 < value < float("inf") for value in values):
                raise JaxpartError(f"{flag} must be above 0, not {values}")

    def said(self) -> dict[str, object]:
        """What is not the default, for `encoder.json`."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("layout", "checkpoint_key", "prefix", "overwrite", "dry_run", "with_decoder"):
            fields.pop(name)  # said elsewhere
        return {name: value for name, value in fields.items() if value not in (None, (), False)}
