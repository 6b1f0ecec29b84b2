"""Finds the known mistakes that explain a difference.

If a reference differs, the Flax encoder is run with each known mistake: the one that reduces the error is
the difference between the implementations. If an error remains, there may be another mistake.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxpart.encoders.encoder import Encoder
from jaxpart.verify.comparing import compare
from jaxpart.verify.mistakes import Mistake, mistakes
from jaxpart.verify.stages import Stages, run_changed

_REDUCTION = 0.5
"""A mistake counts as one of several if it reduces the error to this share."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """A mistake that explains a difference.

    Attributes:
      name: See `Mistake`.
      sentence: See `Mistake`.
      stage: The first stage that differed.
      error_before: Largest error up to that stage without the mistake, see `Difference.weight`.
      error_after: Largest error with it.
      also: Other mistakes that explain the difference equally well; these images cannot distinguish them.
    """

    name: str
    sentence: str
    stage: str
    error_before: float
    error_after: float
    also: tuple[str, ...]


def diagnose(
    encoder: Encoder,
    images: np.ndarray,
    reference: Mapping[str, np.ndarray],
    ours: Stages,
    tolerance: float,
) -> tuple[list[Finding], bool]:
    """Finds what a reference does differently.

    Args:
      encoder: The Flax encoder, which differs from the reference.
      images: float32 [batch, height, width, 3], normalised.
      reference: The stages of the reference that can be compared.
      ours: The encoder's stages.
      tolerance: Largest absolute error of equal stages.

    Returns:
      The mistakes, in the order of the stages, and whether all stages agree with them. If not, the last
      mistake is the best guess, or there is none.
    """
    known, chosen, findings = list(mistakes(encoder.config)), list[Mistake](), list[Finding]()
    last = list(reference)[-1]
    while True:
        if chosen:
            ours = run_changed(encoder, images, [mistake.change for mistake in chosen], last)
        stage = _first(reference, ours, tolerance)
        if stage is None:
            return findings, True
        before = _error(reference, ours, stage)
        if not np.isfinite(before):
            return findings, False
        taken = {mistake.name for mistake in chosen}
        trials = []
        for mistake in known:
            if _kind(stage) in mistake.stages and mistake.name not in taken:
                changes = [*(other.change for other in chosen), mistake.change]
                changed = run_changed(encoder, images, changes, stage)
                trials.append((_error(reference, changed, stage), mistake))
        trials.sort(key=lambda trial: trial[0])
        if not trials or not trials[0][0] <= _REDUCTION * before:
            return findings, False
        after, best = trials[0]
        also = tuple(mistake.sentence for error, mistake in trials[1:] if error <= tolerance)
        chosen.append(best)
        findings.append(Finding(best.name, best.sentence, stage, before, after, also))


def _kind(stage: str) -> str:
    if stage.startswith("block"):
        return "block"
    return stage if stage in ("embed", "tokens") else "output"


def _first(reference: Mapping[str, np.ndarray], ours: Stages, tolerance: float) -> str | None:
    for stage, value in reference.items():
        if compare(stage, value, ours[stage]).departs(tolerance):
            return stage
    return None


def _error(reference: Mapping[str, np.ndarray], ours: Stages, last: str) -> float:
    """Largest error up to and including a stage, see `Difference.weight`."""
    names = list(reference)
    return max(
        compare(name, reference[name], ours[name]).weight for name in names[: names.index(last) + 1]
    )
