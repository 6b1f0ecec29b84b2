"""Shared fixtures: several fake CPU devices, and the golden data where it lies at hand."""

import atexit
import os
import pathlib
import shutil
import tempfile

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers and what they start share this one
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="jaxpart-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

import pytest
from local_server import server as server

SHARED = pathlib.Path(__file__).resolve().parent.parent.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=22, help="in all, of tests/test_kills.py")
    parser.addoption("--kill-seed", default="0", help="of the points at which it kills")


@pytest.fixture(scope="session")
def golden() -> pathlib.Path:
    """What the original PyTorch code computes; tests that need it are skipped without it."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("the golden arrays (../shared/golden) are not here")
    return SHARED / "golden"


@pytest.fixture(scope="session")
def samples() -> pathlib.Path:
    """Small real samples of the data sets in their official layouts."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the data samples (../shared/data) are not here")
    return SHARED / "data"
