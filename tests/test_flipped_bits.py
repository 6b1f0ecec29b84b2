"""One changed bit in any file that is read back: the value is right, or one sentence says so."""

import dataclasses
import json
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data import layouts
from flax import nnx

import jaxpart
from jaxpart.config import part_config
from jaxpart.data.prepared import Prepared
from jaxpart.data.preparing import prepare
from jaxpart.data.sets.imagenet import ImageNet
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.loading import random_encoder, write_encoder
from jaxpart.encoders.weights import arrays_of
from jaxpart.features.cache import Cache, Shard
from jaxpart.io.checkpoints import Checkpointer
from jaxpart.io.files import write_json
from jaxpart.io.npz import read_npz
from jaxpart.pretraining.decoders import DecoderConfig, decoder_shapes, load_decoder, write_decoder
from jaxpart.probes.trained import load_head
from jaxpart.report.runs import read_runs
from jaxpart.runs.items import items_npz, read_items
from jaxpart.runs.rows import VERSION, Key, Row
from jaxpart.runs.workdir import WorkDir
from jaxpart.study.entries import Entry, Study, read_study

ENCODER = ViTConfig(
    image_size=(16, 16), patch_size=8, width=8, depth=1, num_heads=2, mlp_width=16, prefix=("cls",)
)
WRONG = object()


def outcomes(folder, read, flips, seed=0):
    """What `read` gives for the folder as it is, and after each of some flips of one bit in its files.

    Files have as many flips as others whatever their size.
    """
    expected = read(folder)
    rng = random.Random(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    for number in range(flips):
        work = folder.with_name(f"{folder.name}-flipped")
        shutil.copytree(folder, work)
        path = work / files[number % len(files)].relative_to(folder)
        data = bytearray(path.read_bytes())
        place, bit = rng.randrange(len(data)), rng.randrange(8)
        data[place] ^= 1 << bit
        path.write_bytes(data)
        where = f"{path.relative_to(work)}, byte {place}, bit {bit}"
        try:
            found = read(work)
        except jaxpart.JaxpartError as error:
            found, where = WRONG, f"{where}: {error}"
        yield expected, found, where
        shutil.rmtree(work)


def check(folder, read, flips, *, seed=0):
    """Returns how often the flip was told."""
    told = 0
    for expected, found, where in outcomes(folder, read, flips, seed):
        told += found is WRONG
        assert len(where.splitlines()) == 1, where
        if found is not WRONG:
            assert same(found, expected), where
    assert told, "no flip was told"
    return told


def same(a, b):
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.slow
def test_encoders_and_decoders(tmp_path):
    folder = tmp_path / "encoder"
    folder.mkdir()
    encoder = random_encoder("mae", ENCODER)
    arrays = arrays_of(encoder.vit)
    config = DecoderConfig("mae", (2, 2), 192, 8, num_heads=2, mlp_width=16, depth=1)
    rng = np.random.default_rng(0)
    behind = {
        path: rng.normal(size=shape).astype(np.float32)
        for path, shape in decoder_shapes(ENCODER, config).items()
    }
    about = write_decoder(folder, config, behind)
    write_encoder(folder, "mae", ENCODER, encoder.preprocessing, arrays, about)

    def read(folder):
        found = jaxpart.load_encoder(folder, put=np.asarray)
        decoder = load_decoder(folder)
        parts = found.name, dataclasses.asdict(found.config), found.preprocessing, found.digest
        return repr(parts), jax.tree.leaves(found.vit), jax.tree.leaves(nnx.state(decoder))

    assert check(folder, read, 60) > 15


def test_places_of_training(tmp_path):
    state = {"w": jnp.arange(600, dtype=jnp.float32).reshape(20, 30), "n": jnp.int32(3)}
    keeper = Checkpointer(tmp_path / "place")
    keeper.save(7, state, {"epoch": 1, "rows": [1, 2.5]})
    keeper.wait()

    def read(folder):
        found = Checkpointer(folder).restore(jax.tree.map(jnp.zeros_like, state))
        return found if found is None else (found[0], found[1], json.dumps(found[2]))

    assert check(tmp_path / "place", read, 60) > 15


def test_heads_and_predictions(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    rng = np.random.default_rng(0)
    head = {
        "linear/embedding/best/kernel": rng.normal(size=(2, 6, 3)).astype(np.float32),
        "linear/embedding/best/bias": rng.normal(size=(2, 3)).astype(np.float32),
        "linear/embedding/best/norm.mean": rng.normal(size=(2, 6)).astype(np.float32),
        "linear/embedding/best/norm.var": np.ones((2, 6), np.float32),
    }
    np.savez_compressed(folder / "heads.npz", **head)
    features = jnp.asarray(rng.normal(size=(4, 6)), jnp.float32)

    def read(folder):
        head = load_head(folder / "heads.npz", "linear/embedding/best", seed=1)
        return head(features, statistics="running")

    assert check(folder, read, 100) > 50
    (folder / "heads.npz").unlink()
    key = Key("cub_parts", "classification", "best", "linear", "embedding")
    items = {"ids": np.array(["a", "b"]), "labels": np.arange(2), "classes": np.array(["x", "y"])}
    (folder / "items.npz").write_bytes(items_npz(items, {key: np.ones((1, 2))}))
    assert check(folder, lambda folder: read_items(folder / "items.npz", "run again"), 100) > 50


@pytest.mark.slow
def test_work_directories(tmp_path):
    folder = tmp_path / "run"
    config = json.loads(part_config("ibot", "", projector=True).to_json_best_effort())
    workdir = WorkDir(folder, config)
    workdir.belongs_to("the encoder", "abc")
    for step in range(4):
        workdir.metric("loss", 1 / (step + 1), step=step)
    row = Row("cub_parts", "retrieval", "AP", 0.625, representation="embedding")
    workdir.row(row)
    about = {"name": "ibot", "trained": True}
    workdir.finish({"version": VERSION, "encoder": about, "rules": {}, "rows": [row.fields()]})

    def resumed(folder):
        again = WorkDir(folder, config)
        again.belongs_to("the encoder", "abc")
        return repr([{k: v for k, v in m.items() if k != "time"} for m in again.measured()])

    def reported(folder):
        (run,) = read_runs([folder])
        return repr((run.encoder, run.config, run.rows, run.steps))

    assert check(folder, resumed, 200) > 50
    assert check(folder, reported, 200) > 50


def test_studies(tmp_path):
    (tmp_path / "study").mkdir()
    rows = [Row("critters", "retrieval", "AP", 0.5)]
    entries = [Entry("ibot", 0, {"digest": "a", "trained": True}, {}, rows)]
    write_json(tmp_path / "study" / "results.json", Study({"seed": 0}, entries).document())
    assert check(tmp_path / "study", lambda folder: repr(read_study(folder)), 60) > 30


def test_cached_features(tmp_path):
    address = {"encoder": "abc", "data": "cub 1"}
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    Cache("disk", tmp_path / "features").write(address, Shard(list("abcde"), rows))

    def read(folder):
        shards, complaints = Cache("disk", folder).read(address)
        if complaints:
            raise jaxpart.JaxpartError(complaints[0])
        return repr([(list(shard.ids), shard.rows.tolist()) for shard in shards])

    assert check(tmp_path / "features", read, 200) > 100


def test_prepared_sets(tmp_path):
    layouts.imagenet(tmp_path)
    sources = {split: ImageNet(tmp_path, split) for split in ("train", "val")}
    folder, _ = prepare("imagenet", sources, tmp_path / "out", workers=1)

    def read(folder):
        found = Prepared(folder, "train")
        return repr((found.info, [found[i] for i in range(len(found))]))

    assert check(folder, read, 200) > 30  # files for tensorflow-datasets alone are not read


def test_an_npz_whose_header_names_fewer_rows(tmp_path):
    """NumPy reads what the header says, and never comes to the checksum."""
    file = tmp_path / "a.npz"
    np.savez(file, a=np.arange(9e3).reshape(3000, 3))
    data = file.read_bytes()
    file.write_bytes(data.replace(b"(3000, 3)", b"(1000, 3)"))
    with np.load(file) as found:
        assert found["a"].shape == (1000, 3)
    with pytest.raises(jaxpart.JaxpartError, match=r"a\.npz is damaged .*; run again"):
        read_npz(file, "run again")
