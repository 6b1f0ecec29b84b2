"""What each precision costs: python -m benchmarks precision

- Every golden encoder in float32 (JAX's default) and in bfloat16 against float32-highest, on the golden
  images: the largest absolute error and the least cosine;
- AP and mAP of part retrieval with DINO and iBOT on the samples of CUB and COCO, in points from the
  reference's.

Needs the golden checkpoints and the samples (../shared), which are no part of the project.
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
    """AP and mAP by representation, in points."""
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
    one = plan(encoder, data, source, selection, config, quiet)
    with tempfile.TemporaryDirectory() as folder:
        workdir = WorkDir(pathlib.Path(folder), config.to_dict())
        found = list(carry_out([one], config.features, workdir, quiet))
    return {row.key.label: 100 * row.value for row in found if row.metric in ("AP", "mAP")}


def golden(note: pathlib.Path) -> tuple[Encoder, np.ndarray]:
    """A golden encoder, converted now, and its images."""
    from convert.pipeline import convert
    from jaxpart.encoders.loading import load_encoder

    about = json.loads(note.read_text())
    method = "deit" if about["method"] == "deit3" else about["method"]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        out = pathlib.Path(folder) / "encoder"
        convert(method, note.parent / about["file"], out, num_heads=3)
        encoder = load_encoder(out)
    images = np.load(note.parent / "expected.npz")["images"].transpose(0, 2, 3, 1)
    return encoder, np.ascontiguousarray(images)


def rows(quick: bool) -> list[Row]:
    notes = sorted((SHARED / "golden" / "encoders").glob("*/note.json"))
    if not notes:
        return [missing("precision", f"{SHARED / 'golden'} is not here")]
    found = []
    worst = dict.fromkeys(PRECISIONS, 0.0)
    furthest = dict.fromkeys(PRECISIONS, 0.0)
    for note in notes[:1] if quick else notes:
        name = note.parent.name
        exact, images = golden(note)
        right = exact(images)
        reference = {}
        if name in RETRIEVING:
            reference = {data: retrieved(exact, data) for data in ("cub", "coco")}
        for precision in PRECISIONS:
            encoder = dataclasses.replace(exact, precision=precision)
            ours = encoder(images)
            for output in OUTPUTS:
                if output not in right:
                    continue
                error, apart = _compare(np.asarray(ours[output]), np.asarray(right[output]))
                size = float(np.abs(right[output]).max())
                worst[precision] = max(worst[precision], error / size)
                if precision == "bfloat16":
                    what = f"bfloat16, {name}, {output}"
                    found.append(value(f"{what}: largest absolute error", error, ""))
                    found.append(value(f"{what}: 1 − least cosine", apart, ""))
            for data, points in reference.items():
                of_data = retrieved(encoder, data)
                for key, point in points.items():
                    off = of_data[key] - point
                    furthest[precision] = max(furthest[precision], abs(off))
                    if precision == "bfloat16":
                        found.append(value(f"bfloat16, {name}, {key}: change", off, "points"))
    for precision in PRECISIONS:
        what = f"{precision}, all encoders: largest error over the largest value"
        found.append(value(what, worst[precision], ""))
        what = f"{precision}, AP and mAP: largest change"
        found.append(value(what, furthest[precision], "points", most=GOAL))
    return found


def _compare(found: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """The largest absolute error, and 1 less the least cosine of two vectors."""
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(right, axis=-1)
    cosines = (found * right).sum(axis=-1) / lengths
    return float(np.abs(found - right).max()), float(1 - cosines.min())
