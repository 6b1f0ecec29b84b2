"""Time to first results from cold processes: python -m benchmarks startup

Imports, and the bundled retrieval as a user starts it: without a compilation cache and without cached
features, then with the compilation cache left by the first run.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

from benchmarks.timing import Row, faster, medians, share, value

COMMAND = (
    *("-m", "jaxpart.main", "--config", "configs/ibot_part.py"),
    *("--config.tasks=('retrieval',)", "--config.features.cache=off"),
)


def run(*arguments: str, cache: str | None = None, folder: str | None = None) -> None:
    root = str(pathlib.Path(__file__).resolve().parent.parent)
    environment = os.environ | {"PYTHONPATH": root} | ({"XDG_CACHE_HOME": cache} if cache else {})
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, *arguments]
    subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)


def rows(quick: bool) -> list[Row]:
    imports, runs = (1, 1) if quick else (5, 3)
    small = ("--config.data.num_images=4",) if quick else ()
    modules = {"jaxpart": "jaxpart", "flax": "flax.nnx", "main": "jaxpart.main"}
    importing = medians(
        imports,
        **{
            name: lambda module=module: run("-c", f"import {module}")
            for name, module in modules.items()
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        caches = iter(range(runs))

        def cold() -> None:
            run(*COMMAND, *small, cache=f"{folder}/{next(caches)}", folder=folder)

        def warm() -> None:
            run(*COMMAND, *small, cache=f"{folder}/0", folder=folder)

        first = medians(runs, cold=cold, warm=warm)
    nnx = "import flax.nnx"
    return [
        share("import jaxpart", importing["jaxpart"], importing["flax"], nnx, "s", goal=1.2),
        share("import jaxpart.main", importing["main"], importing["flax"], nnx, "s"),
        value("first result, cold", first["cold"], "s", most=30),
        faster("first result, warm compilation cache", first["warm"], first["cold"], "cold"),
    ]
