"""Part retrieval against the published implementation: python -m benchmarks retrieval

For each query, the published code broadcasts cosine similarity to all patches in PyTorch and calls
scikit-learn's average precision. Every query costs the same, so it is timed on some queries and scaled;
ours is timed in full.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.timing import Row, faster, in_fresh_process, medians, memory, value

CHANNELS, PARTS = 768, 4


def items(patches: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((patches, CHANNELS), np.float32)
    return features, rng.integers(0, PARTS, patches)


def whole(patches: int) -> tuple[float, float]:
    """Seconds, and the peak memory of the process in GiB."""
    from jaxpart.metrics.average_precision import average_precision

    features, parts = items(patches)
    start = time.perf_counter()
    average_precision(features, parts)
    return time.perf_counter() - start, memory()


def rows(quick: bool) -> list[Row]:
    import torch
    from sklearn.metrics import average_precision_score

    from jaxpart.metrics.average_precision import average_precision

    patches, queries, runs, many = (256, 4, 1, 512) if quick else (4096, 64, 5, 32768)
    features, parts = items(patches)
    tensor = torch.tensor(features)
    published_ap, ours_ap = [], []

    def published() -> None:
        published_ap.clear()
        for query in range(queries):
            similarity = torch.nn.functional.cosine_similarity(tensor[query][None], tensor)
            positives = parts == parts[query]
            published_ap.append(average_precision_score(positives, similarity.numpy()))

    def ours() -> None:
        ours_ap[:] = average_precision(features, parts).per_query

    seconds = medians(runs, published=published, ours=ours)
    scaled = seconds["published"] * patches / queries
    difference = np.abs(np.subtract(ours_ap[:queries], published_ap)).max()
    many_seconds, many_memory = in_fresh_process(whole, many)
    size = f"{patches:,} × {CHANNELS}"
    return [
        faster(size, seconds["ours"], scaled, "published implementation, scaled", goal=100),
        value(f"{size}, largest difference in AP", float(difference), "", most=1e-5),
        value(f"{many:,} × {CHANNELS}", many_seconds, "s"),
        value(f"{many:,} × {CHANNELS}, peak memory", many_memory, "GiB", most=4),
    ]
