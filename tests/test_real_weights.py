"""The main job on trained weights against the published way in PyTorch.

Needs a folder of unpacked weights (`python ../shared/weights/unpack.py FOLDER`, 0.5 GB) in the environment
variable JAXPART_WEIGHTS, and ../shared: JAXPART_WEIGHTS=FOLDER pytest -n 0 -s tests/test_real_weights.py
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from convert.pipeline import convert
from jaxpart.data.sets import find_set
from jaxpart.runs.rows import read_rows, select

WEIGHTS = os.environ.get("JAXPART_WEIGHTS")


@pytest.mark.skipif(not WEIGHTS, reason="JAXPART_WEIGHTS names no folder of unpacked weights")
def test_clip_retrieves_as_by_transformers(shared, samples, tmp_path):
    for name in ("torch", "transformers", "sklearn"):
        pytest.importorskip(name)
    from published_retrieval import published

    weights = pathlib.Path(WEIGHTS or "") / "clip_vitb16.safetensors"
    convert("clip", weights, tmp_path / "clip", layout="transformers")
    command = [sys.executable, "-m", "jaxpart.main", "--config", "configs/ibot_part.py:paper"]
    command += [f"--config.encoder.checkpoint={tmp_path / 'clip'}"]
    command += [f"--config.data.root={samples}", "--config.tasks=('retrieval',)"]
    command += ["--workdir", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = read_rows(json.loads((tmp_path / "run" / "results.json").read_text()), "results.json")
    print()
    for data, representations in published(weights, shared).items():
        for name, theirs in representations.items():
            for metric, value in zip(("AP", "mAP"), theirs, strict=True):
                (mine,) = (
                    row.value
                    for row in select(rows, data=find_set(data)[0], metric=metric, group="")
                    if (row.head, row.representation) == ("", name)
                )
                print(f"{data} {name} {metric}: {100 * mine:.4f}, by PyTorch {100 * value:.4f}")
                assert abs(mine - value) <= 1e-4, (data, name, metric)
