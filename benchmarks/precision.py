"""What each precision costs: python -m benchmarks precision

- Every golden encoder in float32 (JAX's default) and in bfloat16 against float32-highest, on the golden
  images: the largest absolute error and the least cosine;
- AP and mAP of part retrieval with DINO and iBOT on the samples of CUB and COCO: the difference from the
  reference, in points.

Needs the golden checkpoints and the samples (../shared), which are not part of the project.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pathlib
import tempfile
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.timing import Row, missing, value

if TYPE_CHECKING:
    from jaxpart.encoders.encoder import Encoder

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"
PRECISIONS = ("float32", "bfloat16")
OUTPUTS = ("tokens", "embedding", "projection")
RETRIEVING = ("dino_full", "ibot_full")
GOAL = 0.5
"""Points of AP."""


def retrieved(encoder: Encoder, data: str) -> dict[str, float]:
    """AP and mAP of each representation, in points."""
    from jaxpart.config import part_config
    from jaxpart.data.sets import retrieval_set
    from jaxpart.runs.progress import Progress
    from jaxpart.runs.workdir import WorkDir
    from jaxpart.tasks.plans import carry_out
    from jaxpart.tasks.retrieval import plan

    config = part_config(encoder.name, "paper", projector=True)
    config.data.root, config.features.cache = str(SHARED / "data"), "off"
    source, selection = retrieval_set(data, config.data)
    quiet = Progress(shown=False)
    task = plan(encoder, data, source, selection, config, quiet)
    with tempfile.TemporaryDirectory() as folder:
        workdir = WorkDir(pathlib.Path(folder), config.to_dict())
        results = list(carry_out([task], config.features, workdir, quiet))
    return {row.key.label: 100 * row.value for row in results if row.metric in ("AP", "mAP")}


def golden(note: pathlib.Path) -> tuple[Encoder, np.ndarray]:
    """A golden encoder, freshly converted, and its images."""
    from convert.pipeline import convert
    from jaxpart.encoders.loading import load_encoder

    metadata = json.loads(note.read_text())
    method = "deit" if metadata["method"] == "deit3" else metadata["method"]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        out = pathlib.Path(folder) / "encoder"
        convert(method, note.parent / metadata["file"], out, num_heads=3)
        encoder = load_encoder(out)
    images = np.load(note.parent / "expected.npz")["images"].transpose(0, 2, 3, 1)
    return encoder, np.ascontiguousarray(images)


def rows(quick: bool) -> list[Row]:
    notes = sorted((SHARED / "golden" / "encoders").glob("*/note.json"))
    if not notes:
        return [missing("precision", f"{SHARED / 'golden'} is not here")]
    table = []
    worst = dict.fromkeys(PRECISIONS, 0.0)
    largest_change = dict.fromkeys(PRECISIONS, 0.0)
    for note in notes[:1] if quick else notes:
        name = note.parent.name
        exact, images = golden(note)
        expected = exact(images)
        reference = {}
        if name in RETRIEVING:
            reference = {data: retrieved(exact, data) for data in ("cub", "coco")}
        for precision in PRECISIONS:
            encoder = dataclasses.replace(exact, precision=precision)
            ours = encoder(images)
            for output in OUTPUTS:
                if output not in expected:
                    continue
                error, distance = _compare(np.asarray(ours[output]), np.asarray(expected[output]))
                size = float(np.abs(expected[output]).max())
                worst[precision] = max(worst[precision], error / size)
                if precision == "bfloat16":
                    what = f"bfloat16, {name}, {output}"
                    table.append(value(f"{what}: largest absolute error", error, ""))
                    table.append(value(f"{what}: 1 − least cosine", distance, ""))
            for data, points in reference.items():
                retrieval = retrieved(encoder, data)
                for key, point in points.items():
                    change = retrieval[key] - point
                    largest_change[precision] = max(largest_change[precision], abs(change))
                    if precision == "bfloat16":
                        table.append(value(f"bfloat16, {name}, {key}: change", change, "points"))
    for precision in PRECISIONS:
        what = f"{precision}, all encoders: largest error over the largest value"
        table.append(value(what, worst[precision], ""))
        what = f"{precision}, AP and mAP: largest change"
        table.append(value(what, largest_change[precision], "points", most=GOAL))
    return table


def _compare(actual: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """The largest absolute error, and 1 minus the least cosine of corresponding vectors."""
    lengths = np.linalg.norm(actual, axis=-1) * np.linalg.norm(expected, axis=-1)
    cosines = (actual * expected).sum(axis=-1) / lengths
    return float(np.abs(actual - expected).max()), float(1 - cosines.min())
