"""Which known mistakes explain a difference.

Where a reference departs, the Flax encoder is run with each mistake: the one that brings the error down
is what the two implementations do differently. If the error is not gone, there may be another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxpart.encoders.encoder import Encoder
from jaxpart.verify.comparing import compare
from jaxpart.verify.mistakes import Mistake, mistakes
from jaxpart.verify.stages import Stages, run_changed

_REDUCTION = 0.5
"""A mistake is taken for one of several if the error falls to this share of what it was."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """A mistake that explains a difference.

    Attributes:
      mistake: It.
      stage: The first stage that departed.
      before: Largest error up to there without it, see `Difference.weight`.
      after: And with it.
      also: Others that bring it below the tolerance too: these images do not tell them apart.
    """

    mistake: Mistake
    stage: str
    before: float
    after: float
    also: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {
            "name": self.mistake.name,
            "sentence": self.mistake.sentence,
            "stage": self.stage,
            "error_before": self.before,
            "error_after": self.after,
            "also": list(self.also),
        }


def diagnose(
    encoder: Encoder,
    images: np.ndarray,
    reference: Mapping[str, np.ndarray],
    ours: Stages,
    tolerance: float,
) -> tuple[list[Finding], bool]:
    """Names what a reference does otherwise.

    Args:
      encoder: The Flax encoder, which departs from it.
      images: float32 [batch, height, width, 3], normalised.
      reference: The reference's stages, those that can be compared.
      ours: The encoder's.
      tolerance: Largest absolute error of what is the same.

    Returns:
      The mistakes, in the order in which they show, and whether all stages agree with them; if not,
      the last is the nearest guess, or there is none.
    """
    known, findings = list(mistakes(encoder.config)), list[Finding]()
    last = list(reference)[-1]
    while True:
        chosen = [finding.mistake for finding in findings]
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
        findings.append(Finding(best, stage, before, after, also))


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
    """Largest error of all stages up to one, see `Difference.weight`."""
    names = list(reference)
    return max(
        compare(name, reference[name], ours[name]).weight for name in names[: names.index(last) + 1]
    )
