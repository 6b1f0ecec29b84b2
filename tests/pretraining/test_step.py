"""The seven objectives in training: they learn, on any number of devices, and go on where they were."""

import copy
import dataclasses
import json
import pathlib
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compile_checks import exchanges, steady, taken_over
from flax import nnx
from ml_collections import ConfigDict

import jaxpart
from jaxpart import devices
from jaxpart.encoders.loading import describe
from jaxpart.errors import JaxpartError
from jaxpart.io.checkpoints import Checkpointer
from jaxpart.io.files import write_json
from jaxpart.pretraining import run, zoo
from jaxpart.pretraining.crops import normalize
from jaxpart.pretraining.decoders import load_decoder
from jaxpart.pretraining.objective import Inputs, Student, find, information, spread
from jaxpart.pretraining.pool import Pool, PoolBatches, pool_supply
from jaxpart.pretraining.recipe import architecture
from jaxpart.pretraining.step import make_optimizer, make_step, start
from jaxpart.runs.paper import METHODS
from jaxpart.runs.progress import Progress
from jaxpart.runs.workdir import WorkDir
from jaxpart.training import fit
from jaxpart.zoo import bundled_folder

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH, STEPS = 16, 12
PATCH = 8
PIXELS = 3 * PATCH**2
DECODERS = {
    "mae": {"out": PIXELS, "width": 16, "num_heads": 2, "mlp_width": 32, "depth": 1},
    "beit": {"out": 16, "codebook": PIXELS},
    "cae": {
        "out": 16,
        "codebook": PIXELS,
        "num_heads": 2,
        "mlp_width": 32,
        "regressor_mlp_width": 32,
    },
}


def configuration(method, variant=None):
    path = ROOT / "configs" / "pretrain" / f"{method}.py"
    return runpy.run_path(str(path))["get_config"](variant)


def tiny(method):
    """The method's own configuration with a tiny encoder, and views larger than its images."""
    config = configuration(method)
    config.encoder = ConfigDict(
        {"image_size": (24, 24), "patch_size": PATCH, "width": 32}
        | {"depth": 1, "num_heads": 2, "mlp_width": 64}
    )
    if method == "mocov3":
        config.encoder.stem = "patch"  # which stays as it is
    for name, view in config.views.items():
        view.size = 16 if name == "local" else 32
    if "hidden" in dataclasses.asdict(architecture(config)[0].projector or Pool([], [], ())):
        config.projector.hidden = (32,)
    if method in ("dino", "ibot"):
        config.projector.out = 32
    config.decoder.update(DECODERS.get(method, {}))
    config.batch_size, config.epochs, config.warmup_epochs = BATCH, 6, 0
    config.optimizer.lr = 0.02 if "momentum" in config.objective else 0.05
    return config


@pytest.fixture(scope="module")
def pool():
    """32 pictures of two colours, of four classes."""
    random = np.random.default_rng(0)
    labels = np.arange(32, dtype=np.int32) % 4
    images = np.repeat(labels[:, None, None, None] * 60, 40, axis=1).repeat(40, 2).repeat(3, 3)
    images[:, 10:20, 10:30] = random.integers(0, 256, (32, 1, 1, 3))
    noise = random.integers(0, 30, images.shape)
    return Pool((images + noise).clip(0, 255).astype(np.uint8), labels, tuple(map(str, labels)))


class Trained:
    """A method's step, compiled once for all tests."""

    def __init__(self, method, pool):
        self.config = tiny(method)
        supply = pool_supply(pool, BATCH, 0)
        self.pool, self.put = pool, supply.put
        self.steps = self.config.epochs * supply.per_epoch
        plan = architecture(self.config)
        self.objective = find(method)(*plan, self.config, self.steps, supply.per_epoch)
        optimizer, rate = make_optimizer(self.config.optimizer, BATCH, self.steps, 0)
        codebook = run.make_codebook(self.objective, supply.sample)
        self.graph, state = start(self.objective, optimizer, 0, codebook)
        self.first = jax.device_get(state)
        self.jitted = make_step(self.objective, self.graph, optimizer, rate)
        rows = next(PoolBatches(pool, BATCH, 0)).arrays["row"]
        self.batch = {"image": pool.images[rows], "label": pool.labels[rows]}
        self.step = self.compiled(self.fresh(), devices.shard(self.batch))
        self.losses = []

    def compiled(self, state, batch):
        """For their devices, without optimisation: compiling is what these tests take long for."""
        options = {"xla_backend_optimization_level": 0}
        return self.jitted.lower(state, batch).compile(compiler_options=options)

    def fresh(self):
        return devices.replicate(self.first)

    def fit(self, steps, checkpointer=None):
        self.losses = []
        return fit(
            self.step,
            self.fresh(),
            PoolBatches(self.pool, BATCH, 0),
            steps=steps,
            put=self.put,
            checkpointer=checkpointer,
            log=lambda number, metrics: self.losses.append(metrics),
        )


def learns(one):
    """Below the untrained student's on the same views; a moving centre lets DINO's rise at first."""
    one.fit(STEPS)
    losses = [float(metrics["loss"]) for metrics in one.losses]
    assert np.isfinite(losses).all()
    untrained, state, batches = [], one.fresh(), PoolBatches(one.pool, BATCH, 0)
    for _ in range(STEPS):
        state, metrics = one.step(state, one.put(next(batches).arrays))
        untrained.append(float(metrics["loss"]))
        state = one.fresh()._replace(step=state.step, memory=state.memory)
    assert np.mean(losses[-4:]) < np.mean(untrained[-4:]) - 0.01, (losses, untrained)
    last = one.losses[-1]
    for detector in {"information", "spread"} & last.keys():
        assert last[detector] > 0.01


def one_and_four_devices_agree(one):
    many, metrics = one.step(one.fresh(), devices.shard(one.batch))
    single = jax.device_put((one.first, one.batch), jax.local_devices()[0])
    alone, expected = one.compiled(*single)(*single)
    np.testing.assert_allclose(metrics["loss"], expected["loss"], atol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(many.stats), jax.tree.leaves(alone.stats), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    # Adam's first update is a sign: two sums in another order may turn a gradient of nothing.
    for ours, theirs in zip(
        jax.tree.leaves(many.optimizer), jax.tree.leaves(alone.optimizer), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def resumed_run_is_bitwise_the_undisturbed_one(one, tmp_path):
    whole = jax.device_get(one.fit(4))
    checkpointer = Checkpointer(tmp_path / "place", every_seconds=0)
    one.fit(2, checkpointer)
    checkpointer.wait()
    resumed = jax.device_get(one.fit(4, Checkpointer(tmp_path / "place")))
    assert len(one.losses) == 2
    for ours, theirs in zip(jax.tree.leaves(resumed), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def average_moves_and_last_layers_wait(one):
    before = one.first
    after = jax.device_get(one.fit(1))
    momentum = float(one.objective.momentum(0))
    assert momentum == pytest.approx(0.99)
    assert float(one.objective.momentum(one.steps)) == pytest.approx(1)
    for old, new, teacher in zip(
        *map(jax.tree.leaves, (before.teacher, after.trained, after.teacher)), strict=True
    ):
        np.testing.assert_allclose(teacher, momentum * old + (1 - momentum) * new, atol=1e-6)
    head = ("vit", "projector", "head", "last", "kernel")
    np.testing.assert_array_equal(at(after.trained, head), at(before.trained, head))
    assert (
        at(after.trained, ("decoder", "mask_token"))
        != at(before.trained, ("decoder", "mask_token"))
    ).any()
    later = jax.device_get(one.fit(3))  # in the second epoch the last layer moves
    assert (at(later.trained, head) != at(before.trained, head)).any()
    assert np.abs(later.memory["center"]).max() > 0


def at(state, path):
    for name in path:
        state = state[name]
    return np.asarray(state[...])


def keeps_its_patch_projection(one):
    assert "stem" not in one.first.trained["vit"]
    assert "stem" in one.first.fixed["vit"]
    assert "positions" in one.first.fixed["vit"]
    after = jax.device_get(one.fit(1))
    changed = [
        bool((a != b).any())
        for a, b in zip(jax.tree.leaves(after.stats), jax.tree.leaves(one.first.stats), strict=True)
    ]
    assert all(changed)  # running statistics of projector and predictor


def hides_nothing(one, method):
    """Compiled ahead, a step refuses a state of other shapes or places than the one before it gave."""
    state, batch = one.fresh(), devices.shard(one.batch)
    for _ in range(2):
        before = jax.tree.leaves(state)
        with steady():
            state, _ = one.step(state, batch)
        assert all(leaf.is_deleted() for leaf in before)
    assert taken_over(one.step) == len(before)
    gathered = {
        shape: n for (kind, shape), n in exchanges(one.step).items() if kind != "all-reduce"
    }
    if method == "mocov3":  # it contrasts each image with the keys of all, in both views
        assert gathered == {f"f32[{one.objective.encoder.projector.out},{BATCH}]": 2}
    else:
        assert not gathered


def test_collapse_is_seen():
    random = np.random.default_rng(0)
    assert float(spread(np.ones((8, 4)))) == pytest.approx(0, abs=1e-6)
    assert float(spread(random.normal(size=(4096, 16)))) == pytest.approx(1, abs=0.02)
    uniform, constant = np.full((6, 5), 0.2), np.tile(np.eye(5)[2], (6, 1))
    assert float(information(uniform)) == pytest.approx(0, abs=1e-6)
    assert float(information(constant)) == pytest.approx(0, abs=1e-6)
    assert float(information(np.eye(5))) == pytest.approx(np.log(5), abs=1e-6)


def leaves_an_encoders_folder(one, tmp_path, monkeypatch):
    config, pool = one.config, one.pool
    config.validation.update(points=2, images=72)
    monkeypatch.setattr(run, "make_step", lambda *_: one.step)  # compiled already
    workdir = WorkDir(tmp_path, json.loads(config.to_json_best_effort()))
    supply = pool_supply(pool, BATCH, 0)
    results = run.pretrain(config, workdir, Progress(shown=False), supply=supply, max_steps=2)
    encoder = jaxpart.load_encoder(tmp_path / "encoder")
    assert encoder.trained
    assert encoder(np.zeros((1, 24, 24, 3), np.float32))["embedding"].shape == (1, 32)
    decoder = load_decoder(tmp_path / "encoder")
    assert decoder.codebook[...].shape == (16, 192)
    assert len(np.unique(decoder.codebook[...], axis=0)) > 1
    about = json.loads((tmp_path / "encoder" / "encoder.json").read_text())["pretraining"]
    assert about == json.loads(json.dumps(results))
    assert about["images_seen"] == 2 * BATCH
    assert len(about["curve"]["loss"]) == 2
    assert about["validation"]["step"] == [1, 2]
    assert 0 < about["validation"]["parts"][-1] < 1
    assert about["config"]["seed"] == 0
    assert not (tmp_path / "place").exists()
    again = run.pretrain(config, workdir, Progress(shown=False), supply=supply)
    assert again == about  # as after a kill between the encoder and the results
    other = ConfigDict({**config, "seed": 7})
    with pytest.raises(JaxpartError, match="holds another encoder"):
        run.pretrain(other, workdir, Progress(shown=False), supply=supply)
    workdir.finish(results)
    with pytest.raises(JaxpartError, match="the run is done"):
        run.pretrain(config, workdir, Progress(shown=False), supply=supply)
    half_precision(tmp_path / "encoder", tmp_path / "zoo" / "beit", monkeypatch)
    assert zoo.main(["--out", str(tmp_path / "zoo"), "--draw", str(tmp_path / "curves.svg")]) == 0
    assert "BEiT" in (tmp_path / "curves.svg").read_text()


def rebuilds_with_several_seeds(one, tmp_path, monkeypatch):
    one.config.validation.points = 0
    monkeypatch.setattr(run, "make_step", lambda *_: one.step)  # one program for all seeds
    monkeypatch.setattr(zoo, "recipe_of", lambda method: copy.deepcopy(one.config))
    monkeypatch.setattr(zoo, "draw_pool", lambda config, progress: one.pool)
    what = ["--rebuild", "beit", "--seed", "0", "3", "--epochs", "2", "--max-steps", "1"]
    assert zoo.main([*what, "--out", str(tmp_path)]) == 0
    stored = [tmp_path / f"seed{seed}" / "beit" for seed in (0, 3)]
    recipes = [describe(folder)[0]["pretraining"]["config"] for folder in stored]
    assert [(recipe["seed"], recipe["epochs"]) for recipe in recipes] == [(0, 2), (3, 2)]
    a, b = (jaxpart.load_encoder(folder).vit.prefix_tokens[...] for folder in stored)
    assert np.abs(np.asarray(a - b)).max() > 0.01


def half_precision(source, target, monkeypatch):
    size = zoo.store(source, target)
    assert size < 0.8 * zoo.bytes_of(source)
    whole, half = jaxpart.load_encoder(source), jaxpart.load_encoder(target)
    assert {leaf.dtype for leaf in jax.tree.leaves(half.vit)} == {np.dtype(np.float32)}
    for ours, theirs in zip(jax.tree.leaves(half.vit), jax.tree.leaves(whole.vit), strict=True):
        np.testing.assert_array_equal(ours, np.asarray(theirs, np.float16))
    about = json.loads((target / "encoder.json").read_text())
    assert 0 < about["storage"]["change_of_tokens"]["typical"] < 1e-3
    assert about["pretraining"]["images_seen"] == 2 * BATCH
    assert load_decoder(target).codebook[...].dtype == np.float32
    monkeypatch.setattr(zoo, "LIMIT", size // 2)
    with pytest.raises(JaxpartError, match="make it smaller"):
        zoo.store(source, target)
    assert zoo.bytes_of(target) == size  # the old one stays


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_in_training(method, pool, tmp_path, monkeypatch):
    """All that needs a method's compiled step, since compiling takes longest."""
    one = Trained(method, pool)
    learns(one)
    hides_nothing(one, method)
    if method == "mocov3":  # its BatchNorm and its contrast see the whole batch
        one_and_four_devices_agree(one)
        keeps_its_patch_projection(one)
    if method == "ibot":
        resumed_run_is_bitwise_the_undisturbed_one(one, tmp_path)
        average_moves_and_last_layers_wait(one)
    if method == "beit":
        rebuilds_with_several_seeds(one, tmp_path / "seeds", monkeypatch)
        leaves_an_encoders_folder(one, tmp_path / "run", monkeypatch)


def test_a_projector_is_not_trained_on_one_token_and_used_on_another():
    config = tiny("dino")
    config.encoder.pooled_norm = True
    with pytest.raises(JaxpartError, match="dino trains the projector on the cls token"):
        architecture(config)


@pytest.mark.slow
@pytest.mark.parametrize("prefix", [("cls",), ()])
def test_deit_trains_the_classifier_that_the_encoder_applies(prefix):
    config = tiny("deit")
    config.encoder.prefix = prefix
    config.views.view = {"size": 32, "scale": (1.0, 1.0), "flip": 0.0}
    config.objective.smoothing = 0.0
    objective = find("deit")(*architecture(config), config, 10, 5)
    assert objective.encoder.pooled_norm
    student = Student(objective.encoder, None, rngs=nnx.Rngs(0))
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    labels = jnp.arange(4)

    @jax.jit
    def loss_and_logits(images):
        inputs = Inputs(student, None, {}, images, labels, jax.random.key(0), jnp.zeros(()))
        return objective.loss(inputs).loss, student.vit(normalize(images / 255.0))["projection"]

    loss, logits = loss_and_logits(images)
    expected = -jax.nn.log_softmax(logits)[jnp.arange(4), labels].mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-3)


def test_zoo_mistakes(tmp_path, capsys):
    for option in ("--seed=-1", "--max-steps=0"):
        with pytest.raises(SystemExit):
            zoo.main(["--rebuild", "mae", option])
    assert "is not a whole number of 1 or more" in capsys.readouterr().err
    assert zoo.main(["--rebuild", "simclr"]) == 2
    assert "no method 'simclr'; choose from deit" in capsys.readouterr().err
    assert zoo.main(["--rebuild", "mae", "--seed", "0", "1"]) == 2
    assert "state --out for several" in capsys.readouterr().err
    about = describe(bundled_folder("mae"))[0]
    del about["pretraining"]
    (tmp_path / "mae").mkdir()
    write_json(tmp_path / "mae" / "encoder.json", about)
    assert zoo.main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "mae: not pretrained by jaxpart\n"
    assert zoo.main(["--out", str(tmp_path), "--draw", str(tmp_path / "curves.png")]) == 2
    assert "holds validation curves" in capsys.readouterr().err
    assert zoo.main(["--draw", str(tmp_path / "curves.gif")]) == 2
    with pytest.raises(JaxpartError, match="--rebuild simclr"):
        bundled_folder("simclr")


def test_batches_of_a_pool(pool):
    batches = PoolBatches(pool, 12, seed=3)
    first = [next(batches) for _ in range(5)]
    rows = np.concatenate([batch.arrays["row"] for batch in first[:2]])
    assert len(np.unique(rows)) == 24
    assert first[0].ids != first[2].ids
    again = PoolBatches(pool, 12, seed=3)
    again.set_state({"batch": 3})
    np.testing.assert_array_equal(next(again).arrays["row"], first[3].arrays["row"])
    made = pool_supply(pool, 12, seed=3).put(first[3].arrays)
    np.testing.assert_array_equal(made["image"], pool.images[first[3].arrays["row"]])
    np.testing.assert_array_equal(made["label"], pool.labels[first[3].arrays["row"]])
    with pytest.raises(JaxpartError, match="are fewer than a batch of 64"):
        pool_supply(pool, 64, 0)
    with pytest.raises(JaxpartError, match="batch_size is 6, which 4 devices cannot share evenly"):
        pool_supply(pool, 6, 0)


def test_a_classifier_without_an_output_for_each_class_is_refused(tmp_path):
    for number in range(25):
        folder = tmp_path / "data" / "train" / f"n{number}"
        folder.mkdir(parents=True)
        (folder / "0.jpg").touch()
    config = configuration("deit")
    config.data.name, config.data.root = "imagenet", str(tmp_path / "data")
    workdir = WorkDir(tmp_path / "run", {})
    with pytest.raises(JaxpartError, match="data holds 25 classes, but the classifier has 24 out"):
        run.make_supply(config, workdir, Progress(shown=False))
    config.projector.out = 25
    with pytest.raises(JaxpartError, match="25 images are fewer than a batch of 64"):
        run.make_supply(config, workdir, Progress(shown=False))


@pytest.mark.parametrize("method", METHODS)
def test_published_recipes_have_the_papers_architecture(method):
    config = configuration(method, "imagenet")
    encoder, decoder = architecture(config)
    assert (encoder.width, encoder.depth, encoder.image_size) == (768, 12, (224, 224))
    assert not encoder.pooled_norm
    assert (decoder is not None) == (method in ("ibot", "mae", "beit", "cae"))
    if method == "dino":
        assert encoder.projector.out == 65536
    with pytest.raises(JaxpartError, match="choose from imagenet"):
        configuration(method, "cifar")
