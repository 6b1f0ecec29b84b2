"""Runs that are killed, or find the disk full, at random points end bitwise as if nothing had happened.

They only have to be started again. `pytest tests/test_kills.py -n 0 --kills 200 --kill-seed 7` kills more
of them, elsewhere.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import math
import os
import pathlib
import random
import re
import shutil
from collections.abc import Callable

import numpy as np
import pytest
from fork_server import ForkServer
from safetensors.numpy import load_file, save_file
from tiny_folders import tiny_folder

from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.saving import save_encoder
from jaxpart.encoders.small import small_config
from jaxpart.io.checkpoints import _read_arrays
from jaxpart.runs.rows import by_key, read_rows

pytestmark = pytest.mark.slow

RUN = (
    "--config=configs/ibot_part.py",
    "--config.encoder.checkpoint={encoder}",
    "--workdir=run",
    "--config.data.num_images=6",
    "--config.data.image_size=64",
    "--config.features.folder=features",
)


@dataclasses.dataclass(frozen=True)
class Killed:
    """A program of the fork server, how it is called, its share of the kills, and what it begins with.

    Among the arguments, {encoder} is the folder of a tiny encoder.
    """

    program: str
    arguments: tuple[str, ...]
    share: float
    begin: Callable[[pathlib.Path], None] = lambda folder: None


def checkpoint(path: pathlib.Path, seed: int) -> None:
    """A released checkpoint in timm's layout, with random weights."""
    width, rng = 32, np.random.default_rng(seed)
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 5, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    layers = {"attn.qkv": 3 * width, "attn.proj": width, "mlp.fc1": 4 * width, "mlp.fc2": width}
    for block in ("blocks.0", "blocks.1"):
        for name, out in layers.items():
            shapes[f"{block}.{name}.weight"] = (out, 4 * width if name == "mlp.fc2" else width)
            shapes[f"{block}.{name}.bias"] = (out,)
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            shapes[f"{block}.{name}"] = (width,)
    save_file({n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}, path)


def two_checkpoints(folder: pathlib.Path) -> None:
    checkpoint(folder / "new.safetensors", 1)


TINY = """
from configs.pretrain import mae

def get_config():
    config = mae.get_config()
    config.encoder.update(width=32, depth=1, num_heads=2, mlp_width=64)
    config.decoder.update(width=32, depth=1, num_heads=2, mlp_width=64)
    return config
"""


def tiny_configuration(folder: pathlib.Path) -> None:
    (folder / "tiny.py").write_text(TINY)


RUNS = {
    "preparation": Killed(
        "prepare",
        ("critters", "--out=out", "--num-images=12", "--image-size=32", "--workers=1"),
        0.25,
    ),
    "conversion": Killed(
        "convert",
        ("deit", "new.safetensors", "out", "--layout=timm", "--num-heads=2", "--overwrite"),
        0.2,
        two_checkpoints,
    ),
    "features": Killed(
        "main", (*RUN, "--config.tasks=('retrieval',)", "--config.retrieval.batch_size=8"), 0.2
    ),
    "classification": Killed(
        "main",
        (
            *RUN,
            "--config.tasks=('classification',)",
            "--config.classification.references=()",
            "--config.classification.heads=('linear',)",
            "--config.classification.linear.epochs=3",
            "--config.classification.encoder_batch_size=16",
        ),
        0.15,
    ),
    "random views": Killed(
        "main",
        (
            "--config=configs/imagenet_probe.py",
            *RUN[1:],
            "--config.object_classification.views=random",
            "--config.object_classification.heads=('linear','attentive')",
            "--config.object_classification.references=()",
            "--config.object_classification.own_classifier=False",
            "--config.object_classification.selection=False",
            "--config.object_classification.encoder_batch_size=4",
            "--config.object_classification.linear.epochs=2",
            "--config.object_classification.linear.batch_size=4",
            "--config.object_classification.attentive.epochs=1",
            "--config.object_classification.attentive.batch_size=2",
        ),
        0.1,
    ),
    "segmentation": Killed(
        "main",
        (
            *RUN,
            "--config.tasks=('segmentation',)",
            "--config.segmentation.sets=('critters_part',)",
            "--config.segmentation.readouts=('paper',)",
            "--config.segmentation.shares=(0.5,)",
            "--config.segmentation.train_images=6",
            "--config.segmentation.test_images=2",
            "--config.segmentation.iterations=3",
            "--config.segmentation.warmup=1",
            "--config.segmentation.batch_size=4",
            "--config.segmentation.window_batch=4",
            "--config.segmentation.incontext.images=0",
            "--config.segmentation.pictures=1",
        ),
        0.2,
    ),
    "pretraining": Killed(
        "pretraining",
        (
            "--config=tiny.py",
            "--workdir=run",
            "--config.data.num_images=24",
            "--config.batch_size=8",
            "--config.epochs=2",
            "--config.validation.points=2",
            "--config.validation.images=72",
        ),
        0.02,  # it compiles for long, and is killed once where few are
        tiny_configuration,
    ),
}


class Programs:
    """Starts programs, and has something happen to them."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self._calm = folder, {}
        self.encoder = tiny_folder(folder / "encoder", "ibot")
        self._server = ForkServer(folder, keep_the_place=True)

    def run(self, one: Killed, folder: pathlib.Path, **what):
        """Runs a program in a folder, see fork_server.py; returns what is known of it."""
        arguments = [argument.format(encoder=self.encoder) for argument in one.arguments]
        return self._server.run(one.program, arguments, folder, **what)

    def calm(self, name: str):
        """An undisturbed run: its folder, what is known of it, and what it has left."""
        if name not in self._calm:
            folder = self.folder / name
            folder.mkdir()
            RUNS[name].begin(folder)
            found = self.run(RUNS[name], folder)
            assert found["status"] == 0, found["output"]
            self._calm[name] = folder, found, state(folder)
        return self._calm[name]

    def close(self):
        self._server.close()


@pytest.fixture(scope="module")
def fork_server(tmp_path_factory):
    one = Programs(tmp_path_factory.mktemp("fork_server"))
    yield one
    one.close()


def state(folder: pathlib.Path) -> dict[str, object]:
    """All that a run has left, by path, in a form that two runs share bitwise."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        in_arrays = any((parent / "_METADATA").exists() for parent in path.parents)
        if path.is_dir() and (path / "_METADATA").exists():  # Orbax names its files as it likes
            arrays = _read_arrays(path).items()
            found[name] = {key: (a.dtype.str, a.shape, a.tobytes()) for key, a in arrays}
        elif path.is_dir() and not in_arrays:
            found[name] = "folder"
        elif in_arrays:
            continue
        elif path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{**line, "time": None, "crc32": None} for line in lines]
        elif path.suffix == ".json":
            found[name] = re.sub(r'"(seconds|checksum)": [0-9a-f."]+', "", path.read_text())
        elif path.suffix == ".safetensors" and "features" in path.parts:
            add_rows(found, path)  # files hold whichever rows fitted into one go
        else:
            found[name] = path.read_bytes()
    return found


def add_rows(found, path):
    (rows,) = load_file(path).values()
    header = path.read_bytes()
    about = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]
    kept = found.setdefault(about["address"], {})
    for item, row in zip(json.loads(about["ids"]), rows, strict=True):
        assert item not in kept, f"{item} is kept twice"
        kept[item] = row.tobytes()


def assert_same(found, expected, story):
    wrong = [
        f"{key}: {'is gone' if key not in found else 'is left' if key not in expected else 'differs'}"
        for key in sorted(found.keys() | expected.keys())
        if found.get(key) != expected.get(key)
    ]
    assert not wrong, f"{story}\n" + "\n".join(wrong)


@pytest.fixture
def seeded(request):
    """Draws from --kill-seed, and what one says of it."""
    seed = f"{request.node.callspec.id} --kill-seed={request.config.getoption('--kill-seed')}"
    return random.Random(seed), seed


def rounds(one, tmp_path):
    """Fresh folders to run in, each removed when the next is asked for."""
    for number in itertools.count():
        folder = tmp_path / str(number)
        folder.mkdir()
        one.begin(folder)
        yield folder
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", RUNS)
def test_killed_and_started_again(name, fork_server, tmp_path, request, seeded):
    one, (rng, seed), killed = RUNS[name], seeded, 0
    kills = max(1, round(one.share * request.config.getoption("--kills")))
    _, calm, expected = fork_server.calm(name)
    for folder in rounds(one, tmp_path):
        status, story = -9, seed
        while status == -9:
            where = {}
            if killed < kills:
                where["at"] = rng.randint(1, calm["changes"])
                where["later"] = rng.choice((0, rng.random() * calm["seconds"] / 10))
            found = fork_server.run(one, folder, **where)
            status = found["status"]
            killed += status == -9
            story += f"; {where} -> {status} after {found['changes']} changes"
        print(story)
        assert status == 0, f"{story}\n{found['output']}"
        assert_same(state(folder), expected, story)
        assert not list((fork_server.folder / "tmp").iterdir()), story
        if killed == kills:
            break


def assert_told(found, reason, story):
    """One sentence."""
    assert found["status"] == 2, f"{story}\n{found['output']}"
    errors = [line for line in found["output"].splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, f"{story}\n{found['output']}"
    assert "cannot be " in errors[0], story
    assert reason in errors[0], f"{story}\n{found['output']}"
    assert "Traceback" not in found["output"], f"{story}\n{found['output']}"


@pytest.mark.parametrize("name", RUNS)
def test_a_disk_that_is_full_at_some_time(name, fork_server, tmp_path, request, seeded):
    """Told in one sentence; when there is room again, the run goes on."""
    one, (rng, seed) = RUNS[name], seeded
    folders = rounds(one, tmp_path)
    read_only = fork_server.run(one, next(folders), at=1, fault=errno.EROFS)
    assert_told(read_only, "Read-only file system", name)
    times = one.share * request.config.getoption("--kills") / 4
    for _ in range(math.ceil(times - 0.25)):
        _, calm, expected = fork_server.calm(name)
        folder, at = next(folders), rng.randint(1, calm["changes"])
        story = f"{seed}, full at {at}"
        full = fork_server.run(one, folder, at=at, fault=errno.ENOSPC)
        if full["status"]:  # else it had nothing more to write
            assert_told(full, "No space left on device", story)
        again = fork_server.run(one, folder)
        assert again["status"] == 0, f"{story}\n{again['output']}"
        assert_same(state(folder), expected, story)


@pytest.mark.parametrize("name", ["preparation", "conversion", "segmentation"])
def test_a_disk_that_is_full_where_no_python_writes(name, fork_server, tmp_path):
    """array_record and Orbax write by themselves: here, files of over 2000 bytes cannot be."""
    one = RUNS[name]
    _, _, expected = fork_server.calm(name)
    folder = next(rounds(one, tmp_path))
    full = fork_server.run(one, folder, largest=2000)
    assert_told(full, "", name)
    again = fork_server.run(one, folder)
    assert again["status"] == 0, again["output"]
    assert_same(state(folder), expected, name)


@pytest.mark.parametrize("kind", ["features", "weights", "views"])
def test_an_export_on_a_bad_disk(kind, fork_server, tmp_path, tmp_path_factory):
    """One sentence, and no file that is not whole."""
    linear = dataclasses.replace(small_config("mae"), stem="patch")  # as timm's layout has it
    folder = tmp_path_factory.mktemp("encoder") / "mae"
    save_encoder(random_encoder("mae", linear), folder)
    run = fork_server.calm("features")[0] / "run"
    arguments = {
        "features": (str(run), "out", "--cache=off", "--views=parts_test"),
        "weights": ("weights", str(folder), "out/x.safetensors", "--layout=timm"),
        "views": ("views", "out", "--data=critters", "--views=parts_test"),
    }[kind]
    one = Killed("export", arguments, 0)
    if kind == "weights":
        (tmp_path / "out").mkdir()
    for fault, at in ((errno.EROFS, 1), (errno.ENOSPC, 1), (errno.ENOSPC, 2)):
        found = fork_server.run(one, tmp_path, at=at, fault=fault)
        if found["status"] or at == 1:  # else it had nothing more to write
            assert_told(found, os.strerror(fault), kind)
            assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        for path in tmp_path.rglob("*.*"):
            path.unlink()
    assert_told(fork_server.run(one, tmp_path, largest=500), "", kind)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_report_on_a_bad_disk(fork_server, tmp_path):
    run = fork_server.calm("features")[0] / "run"
    one = Killed("report", (str(run), "--tables-only"), 0)
    for fault, at in ((errno.EROFS, 1), (errno.ENOSPC, 9)):
        found = fork_server.run(one, tmp_path, at=at, fault=fault)
        assert_told(found, os.strerror(fault), "report")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["classification", "segmentation"])
def test_resumed_on_other_devices(name, fork_server, tmp_path):
    folder, calm, _ = fork_server.calm(name)
    one = RUNS[name]
    changes = calm["changes"]
    places = rounds(one, tmp_path)
    for at in range(changes // 2, changes, changes // 8):
        place = next(places)
        killed = fork_server.run(one, place, at=at)
        assert killed["status"] == -9
        seen = [str(path.relative_to(place)) for path in (place / "run").rglob("place.json")]
        if any(".writing-" not in path for path in seen):
            break  # there is a checkpoint to resume from
    else:
        pytest.fail("no checkpoint was seen")
    found = fork_server.run(one, place, devices=4)
    assert found["status"] == 0, found["output"]
    ours, theirs = (
        by_key(read_rows(json.loads((run / "run" / "results.json").read_text()), run))
        for run in (place, folder)
    )
    assert ours.keys() == theirs.keys()
    for key, row in theirs.items():
        assert ours[key].value == pytest.approx(row.value, rel=0, abs=1e-5, nan_ok=True), key
