"""Folders of runs that are damaged: every command that reads them says so in a sentence, or is right."""

import io
import json
import pathlib
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jaxpart.config import part_config
from jaxpart.evaluation import measure
from jaxpart.runs.progress import Progress

pytestmark = pytest.mark.slow

HERE = pathlib.Path(__file__).resolve().parent
REPORT = ("report", ["{run}", "--tables-only", "--out", "{run}/out"])
COMPARISON = ("comparison", ["{run}", "whole"])
READERS = {
    "results.json": [REPORT, COMPARISON, ("verify", ["results", "{run}", "whole"])],
    "config.json": [REPORT, ("export", ["{run}", "{run}/out", "--views", "none"])],
    "metrics.jsonl": [REPORT],
    "classification_critters.npz": [COMPARISON],
    "retrieval_critters.npz": [COMPARISON],
    "heads/classification_critters.npz": [
        ("load_head", ["{run}/heads/classification_critters.npz"])
    ],
}


def without_half(document):
    return {key: value for i, (key, value) in enumerate(document.items()) if i % 2}


def of_other_types(document):
    return {key: 3 if isinstance(value, str) else "x" for key, value in document.items()}


def rewritten(change):
    def damage(content):
        document = json.loads(content)
        document.pop("checksum", None)
        return json.dumps(change(document)).encode()

    return damage


def of_arrays(change):
    def damage(content):
        arrays = dict(np.load(io.BytesIO(content), allow_pickle=False))
        file = io.BytesIO()
        np.savez(file, **{name: change(array) for name, array in arrays.items()})
        return file.getvalue()

    return damage


ANY = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "a pickle": lambda content: pickle.dumps({"a": 1}),
    "not UTF-8": lambda content: b"\xff\xfe\xe9" + content[3:],
    "nested": lambda content: b"[" * 100_000,
    "flipped": lambda content: bytes(b ^ (i % 97 == 13) for i, b in enumerate(content)),
}
JSON = {
    "a list": lambda content: b"[1, 2, 3]",
    "null": lambda content: b"null",
    "half": rewritten(without_half),
    "other types": rewritten(of_other_types),
}
NPZ = {
    "one row": of_arrays(lambda array: array[:1] if array.ndim else array),
    "texts": of_arrays(lambda array: array.astype("U5")),
    "objects": of_arrays(lambda array: np.array([{}], object)),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Exit status, output and files of every reader of every damaged folder."""
    base = tmp_path_factory.mktemp("damaged")
    config = part_config("ibot", "", projector=True)
    config.data.num_images, config.tasks = 12, ("retrieval", "classification")
    config.classification.heads, config.classification.references = ("linear",), ()
    config.classification.selection, config.classification.linear.epochs = False, 2
    measure(config, base / "whole", Progress(shown=False))
    orders = []
    for name, readers in READERS.items():
        kinds = ANY | (NPZ if name.endswith(".npz") else JSON if name.endswith(".json") else {})
        for number, (kind, damage) in enumerate(kinds.items()):
            run = f"{name.replace('/', '-')}-{number}"
            shutil.copytree(base / "whole", base / run)
            file = base / run / name
            file.write_bytes(damage(file.read_bytes()))
            for program, arguments in readers:
                filled = [argument.format(run=run) for argument in arguments]
                orders.append([f"{name}, {kind}: {program}", program, filled])
    done = subprocess.run(
        [sys.executable, str(HERE / "forked.py"), str(base)],
        input=json.dumps(orders),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_damage_is_told_or_does_not_matter(answers):
    wrong = {}
    for key, (status, output, _) in answers.items():
        last = (output.strip().splitlines() or [""])[-1]
        told = status == 2 and "error: " in last
        # Curves are left out; what is left of a document without a checksum may do; one seed is a run's.
        harmless = ("metrics.jsonl", "json, half", "one row: load_head")
        unharmed = status in (0, 1) and any(case in key for case in harmless)
        if "Traceback" in output or not (told or unharmed):
            wrong[key] = status, output[-300:]
    assert not wrong, "\n".join(f"{key}: {found}" for key, found in wrong.items())
    assert len(answers) >= 60
