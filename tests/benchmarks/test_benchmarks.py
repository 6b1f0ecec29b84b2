import json
import os
import pathlib

import jax
import pytest

from benchmarks import __main__ as command
from benchmarks import flops, scaling, timing
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.vit import abstract_vit
from jaxpart.pretraining.recipe import architecture

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
def test_one_table_of_those_named_and_of_those_that_failed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "NAMES", ("critters", "nothing"))
    path = tmp_path / "rows.json"
    assert command.main(["nothing", "critters", "--quick", "--json", str(path)]) == 1
    found = json.loads(path.read_text())
    assert set(found["machine"]) >= {"cpu", "cores", "device", "jax", "commit", "load", "quick"}
    assert list(found["failed"]) == ["nothing"]
    assert list(found["seconds"]) == ["critters"]
    drawn = found["rows"][0]
    assert (drawn["benchmark"], drawn["unit"]) == ("critters", "images/s")
    assert drawn["met"] == (drawn["ours"] >= 200)
    out = capsys.readouterr().out
    assert sum(line.startswith("| critters ") for line in out.splitlines()) == len(found["rows"])


def test_unknown_names_are_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["nosuch"])
    assert "there is no benchmark nosuch" in capsys.readouterr().err


def test_every_benchmark_has_rows():
    for name in command.NAMES:
        text = (ROOT / "benchmarks" / f"{name}.py").read_text()
        assert f"python -m benchmarks {name}" in text
        assert "\ndef rows(quick: bool) -> list[Row]:" in text


def test_the_steps_in_pytorch_fit_the_recipes():
    """They once stayed at the sizes of an earlier recipe, and the benchmark failed."""
    pytest.importorskip("timm")
    from benchmarks.pretraining import METHODS, Theirs, recipe

    for method in METHODS:
        width = architecture(recipe(method))[0].width
        assert Theirs(method, 2, 1, False)() > 12 * width**2 * 4  # four blocks and the rest


def test_a_goal_is_met_on_its_own_side():
    assert timing.faster("", 1.0, 2.0, "", goal=1.5).met
    assert not timing.faster("", 1.0, 2.0, "", goal=2.5).met
    assert timing.faster("", 20.0, 10.0, "", goal=1, unit="images/s").ratio == 2
    assert timing.share("", 1.0, 2.0, "", "GiB", goal=0.5).met
    assert not timing.share("", 1.2, 2.0, "", "GiB", goal=0.5).met
    assert timing.value("", 1.0, "s", most=1).met
    assert not timing.value("", 1.0, "s", least=2).met
    assert timing.value("", 1.0, "s").met is None
    table = timing.table([("x", timing.share("y", 1.2, 2.0, "z", "GiB", goal=0.5))])
    cells = [cell.strip() for cell in table.splitlines()[-1].split("|")[1:-1]]
    assert cells == ["x", "y", "1.2 GiB", "2 GiB, z", "0.6 ×", "≤ 0.5 ×", "**missed**"]


def test_medians_and_peaks():
    calls = []
    seconds = timing.medians(3, a=lambda: calls.append("a"), b=lambda: calls.append("b"))
    assert calls == ["a", "b"] * 3
    assert set(seconds) == {"a", "b"}
    if pathlib.Path("/proc/self/status").exists():
        assert 0 < timing.memory("VmRSS") <= timing.memory()


def process_with(number):
    return lambda: (os.getpid(), number)


@pytest.mark.slow
def test_a_side_has_a_process_of_its_own():
    with timing.Apart(process_with, 3) as side, timing.Apart(process_with, 4) as other:
        (process, number), (elsewhere, _) = side(), other()
        assert side() == (process, number) == (process, 3)
    assert len({process, elsewhere, os.getpid()}) == 3


def test_operations_are_those_that_xla_counts():
    config = ViTConfig(image_size=(96, 96), width=384, depth=1, num_heads=6, mlp_width=1536)

    run = jax.jit(lambda vit, images: vit(images)["tokens"])
    images = jax.ShapeDtypeStruct((1, 96, 96, 3), "float32")
    counted = run.lower(abstract_vit(config), images).cost_analysis()["flops"]
    # What is not a matrix product is counted there, too: less than a thirtieth.
    assert 0.96 * counted < flops.encoder_flops(config) < counted


def test_operations_of_the_papers_encoder():
    # 17.6 G multiplications with additions at 224 pixels, as published for ViT-B/16.
    assert flops.encoder_flops(ViTConfig()) == pytest.approx(2 * 17.56e9, rel=0.01)
    assert flops.encoder_flops(ViTConfig(), 512) > 6 * flops.encoder_flops(ViTConfig(), 224)


@pytest.mark.slow
def test_the_document_holds_the_tables_of_the_calculation():
    assert scaling.tables() in (ROOT / "docs" / "performance.md").read_text()
