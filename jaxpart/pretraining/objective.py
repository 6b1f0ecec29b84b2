"""What a method adds to the shared training step."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.positions import Grid
from jaxpart.encoders.vit import ViT
from jaxpart.errors import JaxpartError
from jaxpart.pretraining.crops import ViewConfig
from jaxpart.pretraining.decoders import DecoderConfig, make_decoder
from jaxpart.pretraining.encode import DropPath
from jaxpart.pretraining.recipe import dataclass_arguments
from jaxpart.runs.paper import METHODS


class Student(nnx.Module):
    """All trained modules: the encoder with its projector, and the decoder behind it."""

    def __init__(
        self, encoder: ViTConfig, decoder: DecoderConfig | None, *, rngs: nnx.Rngs
    ) -> None:
        """Creates random weights."""
        self.vit = ViT(encoder, rngs=rngs)
        self.decoder: Any = make_decoder(encoder, decoder, rngs=rngs) if decoder else None


class Inputs(NamedTuple):
    """What a loss is computed from.

    Attributes:
      student: The modules being trained.
      teacher: Their moving average, where the method has one; gets no gradients.
      memory: What the method carries from step to step besides weights (centres).
      images: Pixel values, 0 to 255.
      labels: Class of each image, for supervised training.
      key: Random key of the step.
      step: Steps taken so far.
    """

    student: Any
    teacher: Any
    memory: dict[str, Array]
    images: UInt8[Array, "batch height width 3"]
    labels: Int[Array, " batch"]
    key: Array
    step: Int[Array, ""]


class Outcome(NamedTuple):
    """A loss, metrics for the log, and the memory for the next step."""

    loss: Float[Array, ""]
    metrics: dict[str, Array]
    memory: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Objective:
    """A method; the seven are its subclasses.

    Attributes:
      encoder: Architecture of the encoder with its projector.
      decoder: Architecture of the decoder behind it.
      config: The run's configuration: "objective" and "views" are the method's own.
      steps: Length of the run.
      steps_per_epoch: Steps per pass over the images.
    """

    encoder: ViTConfig
    decoder: DecoderConfig | None
    config: Any
    steps: int
    steps_per_epoch: int

    has_teacher = False
    """Whether a moving average is kept; it is then the method's final encoder."""
    keeps_student = False
    """Whether the final encoder is the student despite a teacher (MoCo v3)."""

    def memory(self) -> dict[str, Array]:
        """The memory before the first step."""
        return {}

    def loss(self, inputs: Inputs) -> Outcome:
        """The loss of a batch."""
        raise NotImplementedError

    def resolve(self, student: Student) -> None:
        """Converts weights from their trained form to the one in use (weight norm)."""

    def is_frozen(self, path: tuple[Any, ...]) -> bool:
        """Whether a parameter is not trained: fixed sin-cos positions."""
        if path[-1] != "positions":
            return False
        return path[0] == "decoder" or self.encoder.positions == "sincos"

    def adjust(self, changes: nnx.State, step: Int[Array, ""]) -> nnx.State:
        """Hook that zeroes gradients, and then updates, of parameters frozen at a step; none by default."""
        del step
        return changes

    def momentum(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The moving average's momentum: from `objective.momentum` to 1 along a cosine."""
        start = 1 - self.config.objective.momentum
        return 1 - optax.cosine_decay_schedule(start, self.steps)(step)

    def view(self, name: str) -> ViewConfig:
        """The configuration of a kind of view."""
        return ViewConfig(**dataclass_arguments(self.config.views[name]))

    def grid(self, name: str) -> Grid:
        """Rows and columns of patches in a kind of view."""
        size = self.config.views[name].size
        return self.encoder.grid_of(size, size)

    def drop_path(self, key: Array) -> DropPath:
        """Stochastic depth as configured."""
        return DropPath(self.config.drop_path, key)

    def epochs(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Epochs completed before a step."""
        return jnp.floor(step / self.steps_per_epoch)


def find(method: str) -> type[Objective]:
    """A method's class. Raises `JaxpartError` if there is no such method."""
    if method not in METHODS:
        raise JaxpartError(f"there is no method {method!r}; choose from {', '.join(METHODS)}")
    return importlib.import_module(f"jaxpart.pretraining.{method}").METHOD


def spread(features: Float[Array, "batch channels"]) -> Float[Array, ""]:
    """How far apart representations are: 1 for random directions, 0 if all are equal.

    The mean over channels of the standard deviation of l2-normalised features, times √channels.
    """
    norm = jnp.linalg.norm(features, axis=-1, keepdims=True)
    unit = features / jnp.maximum(norm, 1e-12)
    return jax.lax.stop_gradient(unit.std(axis=0).mean() * features.shape[-1] ** 0.5)


def information(shares: Float[Array, "*batch out"]) -> Float[Array, ""]:
    """What assignments reveal of the image, in nats: entropy of their mean minus their mean entropy.

    0 if a teacher has collapsed, to one output for all images or to the uniform distribution.
    """
    shares = jax.lax.stop_gradient(shares)
    items = tuple(range(shares.ndim - 1))  # flattening these would exchange shards between devices
    return (
        jax.scipy.special.entr(shares.mean(axis=items)).sum()
        - jax.scipy.special.entr(shares).sum(axis=-1).mean()
    )
