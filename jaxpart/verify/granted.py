"""The assumptions of a comparison: facts that neither the arrays nor the reference state."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jaxpart.encoders.encoder import Encoder

Normalization = tuple[Sequence[float], Sequence[float]]
"""(mean, std) of pixels in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class Granted:
    """An assumption of a comparison.

    Attributes:
      name: "grid", "heads", "pixels", "epsilon" or "activation".
      value: The converted encoder's value.
      note: How far it is checked.
      checked: False if the comparison would come out the same with another value.
    """

    name: str
    value: str
    note: str
    checked: bool = True


def taken_for_granted(
    encoder: Encoder,
    trained_at: tuple[int, int],
    stated: Normalization | None,
    *,
    reference_takes_grid: bool,
) -> list[Granted]:
    """The assumptions on an encoder's grid, heads, pixels, epsilon and activation.

    Args:
      encoder: The converted encoder.
      trained_at: (height, width) in pixels that the checkpoint was assumed to be trained at.
      stated: Mean and std that the reference states, or None.
      reference_takes_grid: Whether the reference was created for `trained_at`, not for its own size.
    """
    config = encoder.config
    unstated = "not in the arrays; the reference has its own"
    return [
        _grid(encoder, trained_at, reference_takes_grid),
        Granted(
            "heads",
            f"{config.num_heads} of {config.width // config.num_heads} channels",
            "read off the bias tables"
            if config.relative_bias != "none"
            else "cannot be read off the arrays; the reference has a number of its own",
        ),
        _pixels(encoder, stated),
        Granted("epsilon", f"{config.norm_epsilon:g}", unstated),
        Granted("activation", config.activation, unstated),
    ]


def _grid(encoder: Encoder, trained_at: tuple[int, int], taken: bool) -> Granted:
    rows, columns = encoder.config.grid_of(*trained_at)
    value = f"{rows} × {columns} patches of {encoder.config.patch_size}"
    if encoder.config.positions == encoder.config.relative_bias == "none":
        return Granted("grid", value, "any: no positions are stored")
    if not taken:
        return Granted("grid", value, "the reference has its own")
    note = (
        f"NOT CHECKED: the reference was made for {trained_at[0]} × {trained_at[1]} pixels too, and "
        f"{rows * columns} positions fit any grid of as many patches; timm:NAME,img_size=(H,W) states one"
    )
    return Granted("grid", value, note, checked=False)


def _pixels(encoder: Encoder, stated: Normalization | None) -> Granted:
    mean, std = encoder.preprocessing.mean, encoder.preprocessing.std
    value = f"mean {_three(mean)}, std {_three(std)}"
    if stated is None:
        return Granted("pixels", value, "NOT CHECKED: the reference states none", checked=False)
    return Granted("pixels", value, "compared with what the reference states")


def _three(values: Sequence[float]) -> str:
    """The values of three channels; one value if they are equal."""
    shown = [f"{value:.4g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"({', '.join(shown)})"
