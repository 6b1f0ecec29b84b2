"""The script for one accelerator runs on a CPU at small sizes."""

import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from benchmarks import device
from jaxpart import devices

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
def test_every_measurement_in_small(monkeypatch, capsys):
    """In this process: that each has one of its own is tested elsewhere."""
    alone = Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), ("data", "model"))
    monkeypatch.setattr(devices, "mesh", lambda: alone)
    monkeypatch.setattr(
        device, "in_fresh_process", lambda function, *arguments: function(*arguments)
    )
    assert device.main(["--quick"]) == 0
    rows = {
        line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if "|" in line
    }
    assert rows >= {measurement.__name__ for measurement in device.MEASUREMENTS}


@pytest.mark.slow
def test_the_script_starts_it():
    path = str(pathlib.Path(sys.executable).parent)
    done = subprocess.run(
        [shutil.which("bash"), ROOT / "benchmarks" / "device.sh", "--help"],
        env={"PATH": f"{path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: python -m benchmarks.device [-h] [--quick]" in done.stdout


def test_a_measurement_that_fails_does_not_stop_the_others(monkeypatch, capsys):
    def measured(function, name="", quick=True):
        if function is device.machine:
            return {}
        if name == "encoder":
            raise RuntimeError("out of memory")
        return [device.value(f"{name} measured", 1.0, "s")]

    monkeypatch.setattr(device, "in_fresh_process", measured)
    assert device.main(["--quick"]) == 1
    out, err = capsys.readouterr()
    assert "encoder failed: RuntimeError: out of memory" in err
    assert "pretraining measured" in out
