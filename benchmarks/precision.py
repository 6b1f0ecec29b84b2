"""What each precision costs: python -m benchmarks.precision

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
import sys
import tempfile

import numpy as np

from benchmarks.timing import report

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"
PRECISIONS = ("float32", "bfloat16")
OUTPUTS = ("tokens", "embedding", "projection")
RETRIEVING = ("dino_full", "ibot_full")
GOAL = 0.5
"""Points of AP."""


def main() -> int:
    from convert.pipeline import convert
    from jaxpart.config import part_config
    from jaxpart.data.sets import retrieval_set
    from jaxpart.encoders.encoder import Encoder
    from jaxpart.encoders.loading import load_encoder
    from jaxpart.progress import Progress
    from jaxpart.tasks.retrieval import part_retrieval

    folders = sorted((SHARED / "golden" / "encoders").glob("*/note.json"))
    if not folders:
        print(f"error: {SHARED / 'golden'} is not here; nothing to measure", file=sys.stderr)
        return 2

    def retrieved(encoder: Encoder, data: str) -> dict[str, float]:
        """AP and mAP by representation, in points."""
        config = part_config(encoder.name, "paper", projector=True)
        config.data.root, config.features.cache = str(SHARED / "data"), "off"
        found = part_retrieval(
            encoder,
            *retrieval_set(data, config.data),
            config.retrieval,
            config.features,
            Progress(shown=False),
        )
        return {key: 100 * value for key, value in found if key.endswith("AP")}

    rows: dict[str, object] = {}
    worst = dict.fromkeys(PRECISIONS, 0.0)
    furthest = dict.fromkeys(PRECISIONS, 0.0)
    for note in folders:
        name, about = note.parent.name, json.loads(note.read_text())
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            out = pathlib.Path(folder) / "encoder"
            convert(
                "deit" if about["method"] == "deit3" else about["method"],
                note.parent / about["file"],
                out,
                num_heads=3,
            )
            exact = load_encoder(out)
        images = np.load(note.parent / "expected.npz")["images"].transpose(0, 2, 3, 1)
        right = exact(np.ascontiguousarray(images))
        reference = {}
        if name in RETRIEVING:
            reference = {data: retrieved(exact, data) for data in ("cub", "coco")}
        for precision in PRECISIONS:
            encoder = dataclasses.replace(exact, precision=precision)
            found = encoder(np.ascontiguousarray(images))
            for output in OUTPUTS:
                if output not in right:
                    continue
                error, cosine = _compare(np.asarray(found[output]), np.asarray(right[output]))
                share = error / float(np.abs(right[output]).max())
                worst[precision] = max(worst[precision], share)
                if precision == "bfloat16":
                    rows[f"{precision}, {name}, {output}: largest absolute error"] = error
                    rows[f"{precision}, {name}, {output}: 1 - least cosine"] = 1 - cosine
            for data, values in reference.items():
                ours = retrieved(encoder, data)
                for key, value in values.items():
                    off = ours[key] - value
                    furthest[precision] = max(furthest[precision], abs(off))
                    if precision == "bfloat16":
                        rows[f"{precision}, {name}, {data} {key}: points"] = off
    for precision in PRECISIONS:
        rows[f"{precision}, all encoders: largest error over the largest value"] = worst[precision]
        rows[f"{precision}, AP and mAP: largest difference in points (goal {GOAL})"] = furthest[
            precision
        ]
    report(rows, __doc__ or "")
    return 0


def _compare(found: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """The largest absolute error, and the least cosine of two vectors."""
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(right, axis=-1)
    cosines = (found * right).sum(axis=-1) / lengths
    return float(np.abs(found - right).max()), float(cosines.min())


if __name__ == "__main__":
    sys.exit(main())
