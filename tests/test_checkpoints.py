"""Arrays are written without a copy; where they cannot be, one exception says so and nothing else."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from jaxpart.io.checkpoints import load_arrays, save_arrays

WRITE = """
import pathlib, resource, signal, sys, time
import numpy as np
from jaxpart.io.checkpoints import save_arrays

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
arrays = {f"layer{i}.weight": np.full((64, 64), i, np.float32) for i in range(60)}
save_arrays(pathlib.Path("calm"), arrays)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
for number in range(5):
    try:
        save_arrays(pathlib.Path(f"full{number}"), arrays)
    except ValueError as error:
        assert "File too large" in str(error), error
    else:
        sys.exit("written")
time.sleep(0.2)  # the other writes end
"""


@pytest.mark.slow
def test_writes_that_fail_together_print_nothing(tmp_path):
    """Each of them would print a stack trace of an event loop that is closed, some hundreds in all."""
    done = subprocess.run(
        [sys.executable, "-c", WRITE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert not done.stdout
    assert not list(tmp_path.glob("full*[0-9]"))


def test_no_copy_of_all_arrays_is_made(tmp_path):
    """A ViT-g is converted in the memory of its arrays, not of twice as many."""
    arrays = {f"layer{i}.weight": np.full((1000, 500), i, np.float32).T for i in range(10)}
    save_arrays(tmp_path / "first", {"small": np.ones(3)})  # imports Orbax
    tracemalloc.start()
    try:
        save_arrays(tmp_path / "arrays", arrays)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6e6, peak  # of 20 MB
    read = load_arrays(tmp_path / "arrays", {name: a.shape for name, a in arrays.items()})
    assert read.keys() == arrays.keys()
    assert all((read[name] == array).all() for name, array in arrays.items())
