"""Options of a conversion."""

from __future__ import annotations

import dataclasses

from jaxpart.encoders.layers import Activation
from jaxpart.encoders.positions import PositionResize
from jaxpart.errors import JaxpartError


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a conversion. None or empty: read from the checkpoint or taken from its family.

    Attributes:
      layout: Its naming scheme: "original" (the default), "timm" or "transformers"; never guessed.
      checkpoint_key: The network in a file that holds several ("teacher", "model_ema").
      prefix: Prefix of the encoder's names in that network ("backbone.").
      ignore: Shell-style patterns of keys to drop.
      num_heads: Attention heads.
      image_size: (height, width) in pixels to build the encoder for; default: its training size.
      grid: (rows, columns) of patches that its positions were trained at; default: a square.
      tokens: Tokens before the patches, and the number of each: (("cls", 1), ("reg", 4)).
      mean: Pixel mean by channel.
      std: Pixel std by channel.
      epsilon: Added to every norm's variance.
      activation: The MLPs' activation.
      positions: How positions are interpolated.
      name: The encoder's name in results.
      with_decoder: Whether to convert the pretraining decoder too.
      decoder_num_heads: Attention heads of MAE's decoder.
      overwrite: Whether to replace an existing encoder.
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
        """Raises `JaxpartError` for numbers out of range."""
        for flag, value in (
            ("--num-heads", self.num_heads),
            ("--decoder-num-heads", self.decoder_num_heads),
            *(("--image-size", side) for side in self.image_size or ()),
            *(("--grid", side) for side in self.grid or ()),
            *((f"--tokens {name}", count) for name, count in self.tokens),
        ):
            if value is not None and value < 1:
                raise JaxpartError(f"{flag} must be at least 1, not {value}")
        epsilons = () if self.epsilon is None else (self.epsilon,)
        for flag, values in (("--std", self.std or ()), ("--eps", epsilons)):
            if not all(0 < value < float("inf") for value in values):
                raise JaxpartError(f"{flag} must be above 0, not {values}")
        for flag, values in (("--mean", self.mean or ()), ("--std", self.std or ())):
            if not all(0 <= value <= 1 for value in values):
                raise JaxpartError(
                    f"{flag} is {values}, but must be given for pixels from 0 to 1; divide it by 255"
                )

    def flags(self) -> list[str]:
        """The non-default options as words of a command line."""
        words: list[str] = []
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if value == field.default:
                continue
            if name in ("image_size", "grid"):
                value = "x".join(map(str, value))
            elif name in ("mean", "std"):
                value = ",".join(map(str, value))
            elif name == "tokens":
                value = ",".join(f"{token}:{count}" for token, count in value)
            flag = "--eps" if name == "epsilon" else f"--{name.replace('_', '-')}"
            for text in value if name == "ignore" else (value,):
                words += [flag] if text is True else [flag, str(text)]
        return words

    def recorded(self) -> dict[str, object]:
        """The non-default options, for `encoder.json`."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("layout", "checkpoint_key", "prefix", "overwrite", "dry_run", "with_decoder"):
            fields.pop(name)  # recorded elsewhere
        return {name: value for name, value in fields.items() if value not in (None, (), False)}
