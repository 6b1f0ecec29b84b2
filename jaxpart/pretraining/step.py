"""The training step shared by all seven objectives, its state and its optimiser."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, UInt32

from jaxpart import devices
from jaxpart.cpu.products import train_products
from jaxpart.encoders.precision import set_precision
from jaxpart.pretraining.crops import enlarge
from jaxpart.pretraining.objective import Inputs, Objective, Outcome, Student


class State(NamedTuple):
    """Everything that changes or must be restored on resume.

    Attributes:
      seed: Seed of views, masks and all other randomness; here, so that all seeds share one program.
      step: Steps taken.
      trained: Parameters that are trained.
      stats: Running statistics of BatchNorm.
      fixed: Parameters that are not trained, and the tokenizer's codebook.
      teacher: Moving average of `trained`; () without one.
      memory: See `Objective.memory`.
      optimizer: The optimiser's state.
    """

    seed: UInt32[Array, ""]
    step: Int[Array, ""]
    trained: nnx.State
    stats: nnx.State
    fixed: nnx.State
    teacher: Any
    memory: dict[str, Array]
    optimizer: Any


Step = Callable[[State, dict[str, Array]], tuple[State, dict[str, Array]]]


def _limit_each_array(norm: float) -> optax.GradientTransformation:
    """DINO's clipping (`utils.py`, `clip_gradients`): limits each array's norm separately."""

    def limit(updates: Any, params: Any = None) -> Any:
        del params
        return jax.tree.map(
            lambda g: g * jnp.minimum(1, norm / (jnp.linalg.norm(g.reshape(-1)) + 1e-6)), updates
        )

    return optax.stateless(limit)


def make_optimizer(config: Any, batch_size: int, steps: int, warmup: int) -> tuple[Any, Any]:
    """AdamW as the methods use it, and the schedule of its learning rate.

    Weight decay applies to kernels only, or with decay="all" to all parameters (MoCo v3), and follows a
    cosine from its start to its end; so does the learning rate after a linear warm-up.

    Args:
      config: Its "optimizer": lr (per 256 images of a batch), end_lr, weight_decay, end_weight_decay,
        decay, b2, clip ("", "global" or "array") and clip_norm.
      batch_size: Images per step.
      steps: Length of the run.
      warmup: Steps of linear warm-up.
    """
    peak = config.lr * batch_size / 256
    rate = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, steps, config.end_lr)
    first, last = config.weight_decay, config.end_weight_decay

    def decay(step: Array) -> Array:
        return last + 0.5 * (first - last) * (1 + jnp.cos(math.pi * step / steps))

    def decayed(params: Any) -> Any:
        return jax.tree.map_with_path(
            lambda path, _: config.decay == "all" or jax.tree_util.DictKey("kernel") in path, params
        )

    clips = {
        "": optax.identity,
        "global": functools.partial(optax.clip_by_global_norm, config.clip_norm),
        "array": functools.partial(_limit_each_array, config.clip_norm),
    }
    chain = optax.chain(
        clips[config.clip](),
        # As one vector: otherwise a hundred small arrays are updated one after another.
        optax.flatten(optax.scale_by_adam(b1=0.9, b2=config.b2)),
        optax.add_decayed_weights(decay, mask=decayed),
        optax.scale_by_learning_rate(rate),
    )
    return chain, rate


def _split(objective: Objective, student: Student) -> tuple[Any, nnx.State, nnx.State, nnx.State]:
    def is_trained(path: tuple[Any, ...], value: Any) -> bool:
        return isinstance(value, nnx.Param) and not objective.is_frozen(path)

    student.train()  # BatchNorm uses the statistics of the (global) batch
    parts: Any = nnx.split(student, is_trained, nnx.BatchStat, ...)
    return parts


def start(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    seed: int,
    codebook: Float[Array, "tokens pixel"] | None = None,
) -> tuple[Any, State]:
    """The student's graph definition, and the state before the first step."""

    def make(seed: Any) -> Student:
        return Student(objective.encoder, objective.decoder, rngs=nnx.Rngs(jax.random.key(seed)))

    @jax.jit  # one program instead of hundreds
    def initial(seed: Array, codebook: Array | None) -> State:
        student = make(seed)
        if codebook is not None:
            student.decoder.codebook.set_value(codebook)
        _, trained, stats, fixed = _split(objective, student)
        teacher = jax.tree.map(jnp.copy, trained) if objective.has_teacher else ()
        zero = jnp.zeros((), jnp.int32)
        return State(
            seed, zero, trained, stats, fixed, teacher, objective.memory(), optimizer.init(trained)
        )

    graph = _split(objective, nnx.eval_shape(make, 0))[0]
    return graph, initial(jnp.asarray(seed, jnp.uint32), codebook)


def make_step(
    objective: Objective, graph: Any, optimizer: optax.GradientTransformation, rate: Any
) -> Step:
    """The compiled step, for `jaxpart.training.fit`; it donates its input state.

    All randomness follows from the state's seed and step number. The models multiply in the device's
    default precision for float32 (see `jaxpart.encoders.precision`), losses in full.
    """

    def module(trained: Any, state: State) -> Student:
        # A copy, since BatchNorm writes its running statistics into the module.
        student = nnx.merge(graph, trained, state.stats, state.fixed, copy=True)
        objective.resolve(student)
        set_precision(student, "float32")
        train_products(student)
        return student

    @functools.partial(jax.jit, donate_argnums=0, compiler_options=devices.step_options())
    def step(state: State, batch: dict[str, Array]) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(state.seed), state.step)
        images = batch["image"]
        if objective.config.data.zoom > 1:
            key, zoom_key = jax.random.split(key)
            images = enlarge(zoom_key, images, objective.config.data.zoom)

        def loss_of(trained: Any) -> tuple[Array, tuple[Outcome, Any]]:
            student = module(trained, state)
            teacher = module(jax.lax.stop_gradient(state.teacher), state) if state.teacher else None
            inputs = Inputs(student, teacher, state.memory, images, batch["label"], key, state.step)
            outcome = objective.loss(inputs)
            return outcome.loss, (outcome, nnx.state(student, nnx.BatchStat))

        (_, (outcome, stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.trained)
        gradients = objective.adjust(gradients, state.step)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.trained)
        updates = objective.adjust(updates, state.step)  # freezes weight decay too
        trained = optax.apply_updates(state.trained, updates)
        teacher: Any = ()
        if state.teacher:
            momentum = objective.momentum(state.step)
            teacher = optax.incremental_update(trained, state.teacher, 1 - momentum)
        metrics = {"loss": outcome.loss, "learning_rate": rate(state.step), **outcome.metrics}
        return State(
            state.seed,
            state.step + 1,
            trained,
            stats,
            state.fixed,
            teacher,
            outcome.memory,
            optimizer_state,
        ), metrics

    return step


def result(objective: Objective, graph: Any, state: State) -> Student:
    """The final modules of a run: the teacher's unless the method keeps the student."""
    averaged = objective.has_teacher and not objective.keeps_student
    student = nnx.merge(
        graph, state.teacher if averaged else state.trained, state.stats, state.fixed
    )
    objective.resolve(student)
    student.eval()
    return student
