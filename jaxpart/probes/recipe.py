"""How heads are trained: optimiser, learning rates, batches."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Float32


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How heads are trained.

    Attributes:
      rates: Learning rates, one head each; they decay along a cosine, per epoch.
      epochs: Passes over the training set.
      batch_size: Items per step; a smaller training set is one batch.
      momentum: SGD momentum, as in PyTorch.
      nesterov: Whether to use Nesterov momentum, as in PyTorch.
      weight_decay: L2 penalty added to the gradient, as in PyTorch's SGD.
      warmup: Epochs of linear warm-up from 0, before the cosine.
      lars: Whether to scale each matrix's step by LARS (MAE's and CAE's linear probes).
      every_step: Whether the rate decays per step instead of per epoch.
      scale_rates: Whether to scale rates by batch_size / 256, whatever the size of the training set, as
        the published code does.
      end_rate: Final rate.
      drop_last: Whether to drop the last, smaller batch of an epoch, as MAE and CAE do on ImageNet.
      bn_test: BatchNorm statistics at test time, "running" or "batch" (batches of 256, as in the
        published code).
    """

    rates: tuple[float, ...]
    epochs: int = 90
    batch_size: int = 1024
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    warmup: int = 0
    lars: bool = False
    every_step: bool = False
    scale_rates: bool = True
    end_rate: float = 0.0
    drop_last: bool = False
    bn_test: str = "running"

    @staticmethod
    def of(config: Mapping[str, Any], bn_test: str) -> Recipe:
        """The recipe in a checked configuration, which also has other fields."""
        names = [field.name for field in dataclasses.fields(Recipe) if field.name != "bn_test"]
        return Recipe(**{name: config[name] for name in names}, bn_test=bn_test)

    def transform(self) -> optax.GradientTransformation:
        """The optimiser without its learning rate."""
        parts = [optax.trace(self.momentum, self.nesterov)]
        if self.lars:
            matrices = functools.partial(jax.tree.map, lambda p: p.ndim > 1)
            trust = optax.scale_by_trust_ratio(trust_coefficient=0.001)
            parts.insert(0, optax.masked(trust, matrices))
            parts.insert(0, optax.add_decayed_weights(self.weight_decay, matrices))
        elif self.weight_decay:
            parts.insert(0, optax.add_decayed_weights(self.weight_decay))
        return optax.chain(*parts)

    def steps(self, items: int) -> int:
        """Number of steps in an epoch over `items` items."""
        batch = min(self.batch_size, items)
        return items // batch if self.drop_last else -(-items // batch)

    def rates_at(self, epoch: int, steps: range, of: int) -> Float32[np.ndarray, "step rate"]:
        """The learning rates of some steps of an epoch."""
        peaks = np.array(self.rates) * (self.batch_size / 256 if self.scale_rates else 1)
        position = epoch + np.array(steps)[:, None] / of * self.every_step
        warm = position / max(self.warmup, 1)
        falling = (position - self.warmup) / max(self.epochs - self.warmup, 1)
        falling = self.end_rate + (peaks - self.end_rate) * 0.5 * (1 + np.cos(math.pi * falling))
        return np.where(position < self.warmup, peaks * warm, falling).astype(np.float32)
