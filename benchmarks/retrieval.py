"""Part retrieval against the published way: python -m benchmarks.retrieval

The published way, for each query: broadcast cosine similarity to all patches in PyTorch, then
scikit-learn's average precision. Its cost is the same for every query, so that it is timed on
PUBLISHED_QUERIES of them and scaled; ours is timed whole.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from benchmarks.timing import medians, report

PATCHES, CHANNELS, PARTS = 4096, 768, 4
PUBLISHED_QUERIES = 64
RUNS = 5
MANY = 32768

MANY_CODE = f"""
import resource, time
import numpy as np
from jaxpart.metrics.average_precision import average_precision
rng = np.random.default_rng(0)
features = rng.standard_normal(({MANY}, {CHANNELS}), np.float32)
parts = rng.integers(0, {PARTS}, {MANY})
start = time.perf_counter()
average_precision(features, parts)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def main() -> None:
    import torch
    from sklearn.metrics import average_precision_score

    from jaxpart.metrics.average_precision import average_precision

    rng = np.random.default_rng(0)
    features = rng.standard_normal((PATCHES, CHANNELS), np.float32)
    parts = rng.integers(0, PARTS, PATCHES)
    tensor = torch.tensor(features)
    published_ap, ours_ap = [], []

    def published() -> None:
        published_ap.clear()
        for query in range(PUBLISHED_QUERIES):
            similarity = torch.nn.functional.cosine_similarity(tensor[query][None], tensor)
            right = parts == parts[query]
            published_ap.append(average_precision_score(right, similarity.numpy()))

    def ours() -> None:
        ours_ap[:] = average_precision(features, parts).per_query

    seconds = medians(RUNS, published=published, ours=ours)
    whole = seconds["published"] * PATCHES / PUBLISHED_QUERIES
    difference = np.abs(np.subtract(ours_ap[:PUBLISHED_QUERIES], published_ap)).max()
    many = subprocess.run([sys.executable, "-c", MANY_CODE], capture_output=True, check=True)
    many_seconds, many_memory = map(float, many.stdout.split())
    report(
        {
            f"published way, {PATCHES} patches (s, scaled)": whole,
            f"jaxpart, {PATCHES} patches (s)": seconds["ours"],
            "times faster (goal 100)": whole / seconds["ours"],
            "largest difference in AP": float(difference),
            f"jaxpart, {MANY} patches (s)": many_seconds,
            f"jaxpart, {MANY} patches, peak memory (GiB, goal 4)": many_memory,
        },
        __doc__ or "",
    )


if __name__ == "__main__":
    main()
