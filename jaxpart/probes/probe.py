"""From features to accuracy: trains, selects and tests heads.

`fit` trains all heads once; each epoch is some training pieces (`Sweep.train`) followed by test pieces
(`Sweep.test`). `probe` uses it to select and to test. The result is an `Outcome`.

On random views several sweeps train together, and each view is encoded once for all of them. Each sweep's
results are the same as if it trained alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Int, Shaped

from jaxpart import devices, training
from jaxpart.io.checkpoints import Checkpointer
from jaxpart.probes.items import Batches, EvalPiece, Items, free_memory
from jaxpart.probes.outcome import Outcome, Training, at_rate, held_out, read
from jaxpart.probes.pieces import Pieces, Turns, Work
from jaxpart.probes.random_views import RandomViews
from jaxpart.probes.sweep import Sweep


def probe(
    sweeps: Sequence[Sweep],
    train: Items | RandomViews,
    tests: Sequence[Items],
    *,
    groups: Shaped[np.ndarray, " item"] | None,
    checkpointer: Callable[[str], Checkpointer | None] = lambda stage: None,
    log: Callable[[int, int], None] = lambda sweep, epoch: None,
) -> list[list[Outcome]]:
    """Trains, selects hyperparameters, and tests.

    For selection, all heads are trained once without a held-out tenth of the training items, and each
    seed picks the rate and epoch that are best on that tenth. The heads trained on the full training set
    are then tested once, at that rate and epoch.

    Args:
      sweeps: The heads; all have the same seeds.
      train: Training items for one sweep, or random views for any number.
      tests: Test items of each sweep, with the representations that it is trained on.
      groups: The image of each training item; None: no selection.
      checkpointer: Makes the checkpointer of a stage, "choosing" or "final".
      log: Called with a sweep's index and its epoch after each of its pieces; the second stage continues
        the count.

    Returns:
      For each sweep, an outcome per representation.

    Raises:
      JaxpartError: All heads of a sweep have diverged.
    """
    shapes = [
        (len(test.features), len(sweep.seeds), len(sweep.recipe.rates))
        for sweep, test in zip(sweeps, tests, strict=True)
    ]
    rates = [np.zeros(shape[:2], np.int64) for shape in shapes]
    epochs = [np.full(shape[:2], -1) for shape in shapes]
    chosen_epochs = [np.full(shape, -1, np.int32) for shape in shapes]
    offsets = [0] * len(sweeps)
    if groups is not None and len(np.unique(groups)) > 1:
        is_held_out = held_out(groups, sweeps[0].seeds[0])
        test_items = np.flatnonzero(is_held_out)
        chosen = fit(
            sweeps,
            train,
            train.tests(test_items)
            if isinstance(train, RandomViews)
            else [train.subset(test_items)],
            items=np.flatnonzero(~is_held_out),
            checkpointer=checkpointer("choosing"),
            log=lambda sweep, epoch, metrics: log(sweep, epoch),
        )
        for i, (sweep, trained) in enumerate(zip(sweeps, chosen, strict=True)):
            rates[i] = trained.scores.best_right.argmax(axis=-1)
            epochs[i] = at_rate(trained.scores.best_epoch, rates[i])
            index = rates[i][..., None]
            np.put_along_axis(chosen_epochs[i], index, epochs[i][..., None], axis=-1)
            offsets[i] = sweep.recipe.epochs
    final = fit(
        sweeps,
        train,
        tests,
        chosen_epochs=chosen_epochs,
        checkpointer=checkpointer("final"),
        log=lambda sweep, epoch, metrics: log(sweep, offsets[sweep] + epoch),
    )
    return [
        [read(trained, i, rate[i], epoch[i]) for i in range(len(rate))]
        for trained, rate, epoch in zip(final, rates, epochs, strict=True)
    ]


def fit(
    sweeps: Sequence[Sweep],
    train: Items | RandomViews,
    tests: Sequence[Items],
    *,
    items: Int[np.ndarray, " item"] | None = None,
    chosen_epochs: Sequence[Int[np.ndarray, "representation seed rate"]] | None = None,
    checkpointer: Checkpointer | None = None,
    memory: int | None = None,
    log: Callable[[int, int, dict[str, np.ndarray]], None] = lambda sweep, epoch, metrics: None,
) -> list[Training]:
    """Trains all heads, resuming from a checkpoint if there is one; tests after every epoch.

    Args:
      sweeps: See `probe`.
      train: See `probe`.
      tests: See `probe`.
      items: Training items to use; default: all.
      chosen_epochs: For each head of each sweep, the epoch whose predictions go to `Scores.chosen`;
        default: none.
      checkpointer: Where the state is saved.
      memory: Bytes of features that may stay on the devices; the rest is streamed. Default: a share of the
        free memory.
      log: Called after every piece with its sweep's index, its epoch, and metrics: for a training piece
        the "losses" of its steps, [step, representation, seed, rate].

    Returns:
      For each sweep, the state after its last epoch, as NumPy arrays.

    Raises:
      JaxpartError: The loss of all heads of a sweep is not finite.
    """
    items = np.arange(len(train)) if items is None else items
    memory = free_memory() if memory is None else memory
    states = tuple(
        sweep.start(representations=len(test.features), items=len(test))
        for sweep, test in zip(sweeps, tests, strict=True)
    )
    if chosen_epochs is None:
        chosen_epochs = [np.full(state.scores.best_right.shape, -1, np.int32) for state in states]
    labels, chosen = devices.replicate(([test.labels for test in tests], list(chosen_epochs)))
    with contextlib.ExitStack() as stack:
        batches: Sequence[Batches]
        if isinstance(train, RandomViews):
            batches = train.batches(items, [sweep.recipe for sweep in sweeps])
        else:
            (sweep,) = sweeps
            batches = [train.batches(items, sweep.recipe, sweep.seeds, memory)]
        pieces = []
        for source, test in zip(batches, tests, strict=True):
            stack.enter_context(contextlib.closing(source))
            memory -= source.nbytes
            pieces.append(Pieces(source, test, memory))
            memory -= pieces[-1].nbytes
        turns = Turns(pieces, [sweep.recipe.epochs for sweep in sweeps])

        def step(states: tuple[Training, ...], work: Work) -> tuple[Any, dict[str, Any]]:
            i, epoch, piece = work
            sweep, state = sweeps[i], states[i]
            metrics: dict[str, Array]
            if isinstance(piece, EvalPiece):
                state, metrics = sweep.test(state, piece, labels[i], chosen[i])
            else:
                gather = batches[i].gather
                state, metrics = sweep.train(state, batches[i].arrays, piece, gather=gather)
            return (*states[:i], state, *states[i + 1 :]), {**metrics, "sweep": i, "epoch": epoch}

        states = training.fit(
            step,
            devices.replicate(states),
            turns,
            steps=turns.total,
            put=lambda work: work,  # on the devices already
            checkpointer=checkpointer,
            log=lambda _, metrics: log(
                int(metrics.pop("sweep")), int(metrics.pop("epoch")), metrics
            ),
        )
        if checkpointer is not None and checkpointer.is_due():  # too much work to redo
            checkpointer.save(turns.total, states, turns.get_state())
            checkpointer.wait()
    return list(devices.fetch(states))
