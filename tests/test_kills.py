"""Runs killed at random points and started again end bitwise as if nothing had happened.

`pytest tests/test_kills.py -n 0 --kills 200 --kill-seed 7` kills more of them, elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxpart.checkpoints import load_arrays

RUN = (
    "--config=configs/ibot_part.py",
    "--workdir=run",
    "--config.data.num_images=6",
    "--config.data.image_size=64",
    "--config.features.folder=features",
)


@dataclasses.dataclass(frozen=True)
class Killed:
    """A program of the nursery, how it is called, and its share of the kills."""

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
    "segmentation": Killed(
        "main",
        (
            *RUN,
            "--config.tasks=('segmentation',)",
            "--config.segmentation.sets=('critters_part',)",
            "--config.segmentation.readouts=('paper',)",
            "--config.segmentation.shares=(0.5,)",
            "--config.segmentation.train_images=4",
            "--config.segmentation.test_images=2",
            "--config.segmentation.iterations=3",
            "--config.segmentation.batch_size=2",
            "--config.segmentation.window_batch=4",
            "--config.segmentation.incontext.images=0",
            "--config.segmentation.pictures=1",
        ),
        0.2,
    ),
}


class Nursery:
    """Starts programs, and has them killed."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        (folder / "tmp").mkdir()
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "TMPDIR": str(folder / "tmp"),
            "XLA_FLAGS": "",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        here = pathlib.Path(__file__).resolve().parent
        self._process = subprocess.Popen(
            [sys.executable, str(here / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._answer() == "ready"

    def _answer(self):
        line = self._process.stdout.readline()
        assert line, "the nursery has died"
        return json.loads(line)

    def run(self, one: Killed, folder: pathlib.Path, kill: tuple[int, float] | None):
        """Runs a program in a folder; returns its "status", "changes", "seconds" and "output"."""
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        order = {
            "program": one.program,
            "arguments": one.arguments,
            "folder": str(folder),
            "log": str(log),
            "kill": kill,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return {**self._answer(), "output": log.read_text()}

    def close(self):
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    one = Nursery(tmp_path_factory.mktemp("nursery"))
    yield one
    one.close()


def state(folder: pathlib.Path) -> dict[str, object]:
    """All that a run has left, by path, in a form that two runs share bitwise."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        checkpoint = next((p for p in path.parents if (p / "_METADATA").exists()), None)
        if path.is_dir():
            if (path / "_METADATA").exists():  # Orbax calls its files as it likes
                arrays = load_arrays(path).items()
                found[name] = {key: (a.dtype.str, a.shape, a.tobytes()) for key, a in arrays}
            elif checkpoint is None:
                found[name] = "folder"
        elif checkpoint is not None or path.name in ("_CHECKPOINT_METADATA", "commit_success.txt"):
            continue  # holds times
        elif path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [[line["name"], line.get("step"), repr(line["value"])] for line in lines]
        elif path.parent.parent.name == "features":  # rows are whichever fitted into one go
            (rows,) = load_file(path).values()
            header = path.read_bytes()
            about = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
            about = about["__metadata__"]
            kept = found.setdefault(about["address"], {})
            for item, row in zip(json.loads(about["ids"]), rows, strict=True):
                assert item not in kept, f"{item} is kept twice: {about['address']}"
                kept[item] = row.tobytes()
        else:
            found[name] = path.read_bytes()
    return found


def differences(found, expected) -> list[str]:
    return [
        f"{key}: {'is gone' if key not in found else 'is left' if key not in expected else 'differs'}"
        for key in sorted(found.keys() | expected.keys())
        if found.get(key) != expected.get(key)
    ]


@pytest.mark.parametrize("name", RUNS)
def test_killed_and_started_again(name, nursery, tmp_path, request):
    kills = round(RUNS[name].share * request.config.getoption("--kills"))
    seed = request.config.getoption("--kill-seed")
    rng, one = random.Random(f"{seed} {name}"), RUNS[name]
    (tmp_path / "0").mkdir()
    one.begin(tmp_path / "0")
    calm = nursery.run(one, tmp_path / "0", None)
    assert calm["status"] == 0, calm["output"]
    expected = state(tmp_path / "0")
    number, killed, told = 0, 0, []
    while killed < kills:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        one.begin(folder)
        status, story = -9, []
        while status == -9:
            kill = None
            if killed < kills:
                later = rng.choice((0, rng.random() * calm["seconds"] / 10))
                kill = rng.randint(1, calm["changes"]), later
            found = nursery.run(one, folder, kill)
            status = found["status"]
            killed += status == -9
            story.append(f"{kill} -> {status} after {found['changes']}")
        what = f"{name} (--kill-seed {seed}), round {number}: {'; '.join(story)}"
        told.append(what)
        assert status == 0, f"{what}\n{found['output']}"
        wrong = differences(state(folder), expected)
        assert not wrong, f"{what}\n" + "\n".join(wrong)
        assert not list((nursery.folder / "tmp").iterdir()), what
        shutil.rmtree(folder)
    print("\n".join(told))
