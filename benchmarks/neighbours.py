"""Nearest patches of all patches: python -m benchmarks.neighbours [PATCHES] [CHANNELS]"""

from __future__ import annotations

import resource
import sys
import time

import jax
import numpy as np

from jaxpart.report.neighbours import nearest_patches


def main() -> None:
    patches, channels = (int(given) for given in (*sys.argv[1:], 200_000, 768)[:2])
    rows = np.random.default_rng(0).standard_normal((patches, channels), np.float32)
    nearest_patches(rows[:3000], 24)  # starts the device
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    nearest_patches(rows, 24)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{patches:,} patches of {channels} channels on {jax.default_backend()}: {seconds:.1f} s, "
        f"{patches / seconds:,.0f} queries a second; {(after - before) / 1024:,.0f} MiB more than before, "
        f"of which the patches themselves are {rows.nbytes >> 20:,} MiB"
    )


if __name__ == "__main__":
    main()
