"""No hidden work: what compiled steps exchange, trace, move and copy beside what they must.

Here are the steps of features, probes, windows and retrieval; those of segmentation's training and of
pretraining are looked at where they are compiled anyway.
"""

import contextlib
import types

import jax
import numpy as np
import pytest
from compile_checks import exchanges, steady, taken_over, values
from flax import nnx
from ml_collections import ConfigDict

from jaxpart import devices
from jaxpart.data.views import View
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.vit import ViTConfig
from jaxpart.features import extract as features
from jaxpart.metrics.average_precision import device_queries
from jaxpart.probes.items import EvalPiece, FeatureBatches, Items, TrainPiece
from jaxpart.probes.linear import LinearHead
from jaxpart.probes.pixel import PixelHeads
from jaxpart.probes.probe import fit
from jaxpart.probes.random_views import RandomViews, ViewBatches, encoded
from jaxpart.probes.recipe import Recipe
from jaxpart.probes.sweep import Sweep
from jaxpart.runs.progress import Progress
from jaxpart.tasks.segmentation.heads import Readers, window_logits
from jaxpart.tasks.segmentation.sliding import LabelledImage, SlidingWindow, evaluate

SIDE, CLASSES = 16, 3
RECIPE = Recipe((0.1, 1.0), epochs=3, batch_size=8)
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (16, SIDE, SIDE, 3)).astype(np.uint8)
LABELS = np.arange(16) % CLASSES


@pytest.fixture(scope="module")
def encoder():
    config = ViTConfig(
        image_size=(SIDE, SIDE), patch_size=8, width=16, depth=2, num_heads=2, mlp_width=16
    )
    return devices.replicate(random_encoder("ibot", config))


def head(rngs):
    return LinearHead(16, CLASSES, rngs=rngs)


def test_unasked_work_is_seen():
    with pytest.raises(AssertionError, match="Finished tracing"), steady():
        jax.jit(lambda x: x + 2)(devices.replicate(np.ones(3)))
    double = jax.jit(lambda x: x * 2)
    double(np.ones(5))
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"), steady():
        double(np.ones(5))


def test_features(encoder):
    names = ("cls_token", "tokens")
    view = View(
        "pictures", "image eval", SIDE, list(map(str, range(10))), list, lambda i: iter(PIXELS[i])
    )
    settings = ConfigDict({"cache": "off", "folder": "", "precision": "float32"})

    def extract():
        features.extract(encoder, view, names, settings, Progress(shown=False), batch_size=4)

    extract()
    with steady():
        extract()
    program = features._step.lower(encoder, devices.shard(PIXELS), names=names).compile()
    assert not exchanges(program)


class Watched:
    """Makes sure of a run of a sweep that its later epochs are steady."""

    def __init__(self):
        self.stack = contextlib.ExitStack()

    def log(self, sweep, epoch, metrics):
        if epoch == 0 and "losses" not in metrics:  # its test, the last thing that is new
            self.stack.enter_context(steady())


def gradients_alone(program, state):
    """Whether sums of the heads' gradients, and a loss of each, are all that a program exchanges."""
    found = exchanges(program)
    assert {kind for kind, _ in found} == {"all-reduce"}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.heads.parameters))
    return parameters <= values(found) <= parameters + len(RECIPE.rates)


def test_a_probes_epoch():
    items = Items([RANDOM.normal(size=(16, 16)).astype(np.float32)], LABELS)
    watched = Watched()
    with watched.stack:
        fit([Sweep(head, RECIPE, [0])], items, [items], log=watched.log)
        assert watched.stack._exit_callbacks

    sweep, state = sweep_and_state(items)
    rows = devices.shard(np.arange(16, dtype=np.int32).reshape(2, 1, 8), axis=2)
    rates = devices.replicate(np.ones((2, 2), np.float32))
    piece = TrainPiece(rows, rates, None)
    batches = FeatureBatches(items, np.arange(16), RECIPE, [0], resident=True)
    lowered = sweep.train.lower(state, items.sharded, piece, gather=batches.gather)
    train = lowered.compile()
    # A batch's features go to the device that works on them, and which rows they are to all.
    found = exchanges(train)
    assert {kind for kind, _ in found} == {"all-reduce", "all-gather", "reduce-scatter"}
    for kind, size in (("all-gather", 8), ("reduce-scatter", 8 // 4 * 16)):
        assert values({key: count for key, count in found.items() if key[0] == kind}) == size
    place = devices.replicate((np.int32(0), np.int32(0)))
    chosen = devices.replicate(np.full((1, 1, 2), -1, np.int32))
    labels = devices.replicate(items.labels)
    tested = EvalPiece(items.replicated[0], *place)
    test = sweep.test.lower(state, tested, labels, chosen).compile()
    assert not exchanges(test)
    for program in (train, test):
        assert taken_over(program) == len(jax.tree.leaves(state))
    before = jax.tree.leaves(state)
    train(state, items.sharded, piece)
    assert all(leaf.is_deleted() for leaf in before)


def sweep_and_state(items):
    sweep = Sweep(head, RECIPE, [0])
    state = sweep.start(representations=1, items=len(items))
    return sweep, devices.replicate(state)


class Loader:
    """Batches from memory."""

    def __next__(self):
        arrays = {"image": PIXELS[:8], "label": LABELS[:8].astype(np.int32)}
        return types.SimpleNamespace(arrays=arrays, ids=("a",))

    def close(self):
        pass


def test_a_step_on_random_views(encoder, monkeypatch):
    monkeypatch.setattr("jaxpart.data.input.load", lambda *args, **options: Loader())
    names = (("embedding",),)
    views = RandomViews(encoder, LABELS, names, SIDE, seed=0, workers=0, tests=None)
    items = Items([RANDOM.normal(size=(16, 16)).astype(np.float32)], LABELS)
    sweep, state = sweep_and_state(items)
    watched = Watched()
    with watched.stack:
        fit([sweep], views, [items], log=watched.log)
        assert watched.stack._exit_callbacks
    pixels = devices.shard(PIXELS[:8])
    assert not exchanges(encoded.lower(encoder, pixels, names=names).compile())
    (features,) = encoded(encoder, pixels, names=names)
    labels = devices.shard(LABELS[None, None, :8].astype(np.int32), axis=2)
    piece = TrainPiece(((features, labels),), devices.replicate(np.ones((1, 2), np.float32)), None)
    program = sweep.train.lower(state, None, piece, gather=ViewBatches.gather).compile()
    assert gradients_alone(program, state)
    assert taken_over(program) == len(jax.tree.leaves(state))


def test_windows(encoder):
    heads = PixelHeads({"paper": (0, 1)}, 16, CLASSES, rngs=nnx.Rngs(0))
    logits = window_logits(encoder, Readers([heads]))
    sliding = SlidingWindow(SIDE, 8, batch=4)

    def images():
        for i, (height, width) in enumerate([(24, 24), (24, 24), (24, 24)]):
            pixels = RANDOM.integers(0, 256, (height, width, 3)).astype(np.uint8)
            label = RANDOM.integers(0, CLASSES, (20 + i, 30)).astype(np.uint8)
            yield LabelledImage(str(i), pixels, label)

    list(evaluate(logits, images(), sliding))
    with steady():
        list(evaluate(logits, images(), sliding))
    batch = devices.shard((PIXELS[:4], np.full((4, 2), SIDE, np.int32)), local=True)
    assert not exchanges(logits.func.lower(*logits.args, *batch).compile())


def test_retrieval():
    rows = RANDOM.normal(size=(10, 4)).astype(np.float32)
    kinds = np.arange(10, dtype=np.int32) % 2
    device_queries(rows, kinds, False)
    with steady():
        device_queries(rows, kinds, False)
