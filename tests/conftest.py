"""Shared fixtures: several fake CPU devices, and the golden data where it lies at hand."""

import atexit
import gc
import os
import pathlib
import shutil
import tempfile
import threading
from importlib import metadata
from typing import Any

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
# More devices than cores: all-reduces of one program, or of several in flight, could each hold some of the
# threads that the others wait for. So there are more threads (XLA reads NPROC), and one program at a time.
os.environ.setdefault("NPROC", "16")
os.environ.setdefault("JAX_CPU_ENABLE_ASYNC_DISPATCH", "false")

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers and what they start share this one
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="jaxpart-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

import pytest
from local_server import server as server

HERE = pathlib.Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
SUBSET = HERE / "golden"


def pytest_configure(config: pytest.Config) -> None:
    """Most of the suite's time went into compiling: it is done fast, and kept between tests and runs.

    Fast is with few of XLA's optimisations, in half the time; `--optimized` compiles as for users.
    Programs that are killed get a folder of their own, as JAX may leave half an entry. `--cache-clear`
    empties it.
    """
    if not config.getoption("--optimized"):
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        if metadata.version("jaxlib").startswith("0.10."):  # others may not know it, and abort
            flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
            os.environ.setdefault("XLA_FLAGS", flags)
    if config.pluginmanager.hasplugin("cacheprovider"):
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("xla")))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--optimized", action="store_true", help="compile as for users, which takes twice as long"
    )
    parser.addoption("--kills", type=int, default=8, help="in all, of tests/test_kills.py")
    parser.addoption("--kill-seed", default="0", help="of the points at which it kills")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that short ones fill the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported stays, so the collector need not look through it: a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    if not session.config.getoption("--optimized"):
        _share_contexts()


def _share_contexts() -> None:
    """JAX makes a context of MLIR for every program that it lowers, in 4 ms: a tenth of the time again."""
    from jax._src.interpreters import mlir

    make = getattr(mlir, "make_ir_context", None)  # not of JAX's interface, so others may lack it
    mine = threading.local()

    def shared() -> Any:
        mine.programs = getattr(mine, "programs", 0) + 1
        if mine.programs % 100 == 1:  # a context keeps all constants of its programs
            mine.context = make()
        return mine.context

    if make:
        mlir.make_ir_context = shared


class Golden:
    """Files of ../shared/golden; where that is absent, of the subset in tests/golden."""

    def __truediv__(self, name: str) -> pathlib.Path:
        """The path of a file or folder; the test is skipped where it is in neither."""
        for folder in (SHARED / "golden", SUBSET):
            if (folder / name).exists():
                return folder / name
        pytest.skip(f"{name} is neither in ../shared/golden nor in tests/golden")


@pytest.fixture(scope="session")
def golden() -> Golden:
    """What the original PyTorch code computes, as `golden / "protocol/retrieval.npz"`."""
    return Golden()


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder ../shared; tests that need more of it than `golden` are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not here")
    return SHARED


@pytest.fixture(scope="session")
def samples() -> pathlib.Path:
    """Small real samples of the data sets in their official layouts."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the data samples (../shared/data) are not here")
    return SHARED / "data"
