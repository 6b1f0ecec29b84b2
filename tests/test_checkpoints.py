"""Where arrays cannot be written, one exception says so and nothing else."""

import subprocess
import sys

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


def test_writes_that_fail_together_print_nothing(tmp_path):
    """Each of them would print a stack trace of an event loop that is closed, some hundreds in all."""
    done = subprocess.run(
        [sys.executable, "-c", WRITE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert not done.stdout
    assert not list(tmp_path.glob("full*[0-9]"))
