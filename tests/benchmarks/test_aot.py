"""Steps compiled for TPUs that are not there; without the compiler what is asked of it is refused."""

import importlib.util

import pytest

from benchmarks import aot

HAS_COMPILER = importlib.util.find_spec("libtpu") is not None


def test_collectives_are_counted_with_their_bytes():
    text = """
      %a = f32[8,128]{1,0:T(8,128)} all-gather(%b), channel_id=1
      %c = (bf16[4]{0}, bf16[4]{0}) all-reduce-start(%d), channel_id=2
      %e = (bf16[4]{0}, bf16[4]{0}) all-reduce-done(%c)
    """
    assert list(aot._collectives(text)) == [("all-gather", 4096), ("all-reduce", 8)]


def test_what_does_not_fit_is_said():
    message = "RESOURCE_EXHAUSTED: the total (23.82G) exceeds available HBM (15.75G)."
    assert aot._reason(message) == "does not fit: 23.82G of 15.75G"


@pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda12_plugin") is not None, reason="the compiler is installed"
)
def test_what_to_install_for_gpus(capsys):
    assert aot.main(["--topology", "h100:8"]) == 2
    assert "pip install --no-deps jax-cuda12-plugin==" in capsys.readouterr().err


@pytest.mark.skipif(HAS_COMPILER, reason="libtpu is installed")
def test_without_the_compiler(capsys):
    assert aot.main(["--topology", "v5e:2x2"]) == 2
    assert "pip install" in capsys.readouterr().err


@pytest.mark.skipif(not HAS_COMPILER, reason="libtpu is not installed")
def test_a_probe_for_four_chips(capsys):
    assert (
        aot.main(["--topology", "v5e:2x2", "--steps", "linear probe, 50 000 × 768 resident"]) == 0
    )
    assert "| fits |" in capsys.readouterr().out
