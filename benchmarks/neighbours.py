"""All patches' nearest patches, as the explorer finds them: python -m benchmarks neighbours"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.timing import Row, forget_peak, memory, value
from jaxpart.report.neighbours import nearest_patches

CHANNELS, NEIGHBOURS = 768, 24


def rows(quick: bool) -> list[Row]:
    patches = 500 if quick else 20_000
    features = np.random.default_rng(0).standard_normal((patches, CHANNELS), np.float32)
    nearest_patches(features[:3000], NEIGHBOURS)  # initialises the device
    forget_peak()
    before, start = memory("VmRSS"), time.perf_counter()
    nearest_patches(features, NEIGHBOURS)
    seconds = time.perf_counter() - start
    return [
        value(f"{patches:,} patches, {NEIGHBOURS} nearest of each", seconds, "s"),
        value(f"{patches:,} patches, memory beyond the features", memory() - before, "GiB"),
    ]
