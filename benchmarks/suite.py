"""The list of benchmarks, and running one of them in its own process."""

from __future__ import annotations

import importlib
import os
import pathlib
import platform
import subprocess
import time
from typing import Any

from benchmarks.timing import Row

NAMES = (
    "encoder",
    "startup",
    "retrieval",
    "correspondence",
    "neighbours",
    "probe",
    "segmentation",
    "pretraining",
    "precision",
    "convert",
    "input",
    "prepare",
    "rehearsal",
    "critters",
    "explorer",
)


def measured(name: str, quick: bool) -> tuple[list[Row], float]:
    """The rows of a benchmark, and the seconds it took."""
    start = time.perf_counter()
    rows = list(importlib.import_module(f"benchmarks.{name}").rows(quick))
    return rows, time.perf_counter() - start


def machine() -> dict[str, Any]:
    """Hardware, versions and load that the numbers were measured with."""
    import jax

    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    git = ["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False)
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "device": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
        "load": round(os.getloadavg()[0], 2),
        "time": time.strftime("%Y-%m-%d %H:%M"),
    }
