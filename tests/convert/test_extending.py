"""The example of docs/extending.md is true: its blocks are run as they stand."""

import pathlib
import re

import pytest

from convert.families import FAMILIES
from jaxpart.encoders import families as facts_module

GUIDE = pathlib.Path(__file__).parent.parent.parent / "docs" / "extending.md"


@pytest.fixture
def blocks(monkeypatch):
    """What the guide's three blocks define, with its family registered for the test."""
    pytest.importorskip("transformers")
    sources = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)
    family, facts, proof = ({} for _ in range(3))
    for source, defined in zip(sources, (family, facts, proof), strict=True):
        exec(compile(source, str(GUIDE), "exec"), defined)
    monkeypatch.setitem(FAMILIES, family["FAMILY"].name, family["FAMILY"])
    monkeypatch.setattr(facts_module, "_FAMILIES", (*facts_module._FAMILIES, facts["FACTS"]))
    return proof


@pytest.mark.slow
def test_the_example_is_true(blocks, twin):
    blocks["test_msn"](twin)


def test_its_original_layout(blocks, tmp_path):
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    from twins import encoder_of, same_weights

    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=48, depth=1, num_heads=3, num_classes=0
    )
    arrays = model.state_dict()
    torch.save(arrays, tmp_path / "timm.pth")
    target = {f"module.{key}": value for key, value in arrays.items()}
    target |= {"module.fc.fc1.weight": torch.ones(3, 3)}
    release = {"target_encoder": target, "encoder": target, "prototypes": torch.ones(3), "epoch": 1}
    torch.save(release, tmp_path / "msn.pth.tar")
    left = encoder_of(tmp_path / "timm.pth", "msn", "timm", num_heads=3)
    right = encoder_of(tmp_path / "msn.pth.tar", "msn", "original", num_heads=3)
    assert same_weights(left, right)


def test_a_family_in_a_file_of_ones_own(tmp_path, capsys):
    """It works without any change to this package; what is wrong with it is told."""
    from made import plain_vit

    import jaxpart
    from convert.__main__ import main

    numpy = pytest.importorskip("safetensors.numpy")
    source = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)[0]
    (tmp_path / "msn.py").write_text(source)
    state = {f"module.{key}": value for key, value in plain_vit().items()}
    numpy.save_file(state, tmp_path / "msn.safetensors")

    def run(family):
        given = [
            family,
            str(tmp_path / "msn.safetensors"),
            str(tmp_path / "out"),
            "--num-heads",
            "3",
        ]
        return main(given)

    assert run(f"{tmp_path / 'msn.py'}:FAMILY") == 0
    assert jaxpart.load_encoder(tmp_path / "out").name == "msn"
    (tmp_path / "bad.py").write_text("FAMILY = 1 / 0")
    for family, sentence in (
        (f"{tmp_path / 'none.py'}:FAMILY", "none.py does not exist"),
        (f"{tmp_path / 'bad.py'}:FAMILY", "cannot be imported (ZeroDivisionError"),
        (f"{tmp_path / 'msn.py'}:NAMES", "is a Names, not a convert.family.Family"),
        ("none", "there is no family 'none'; choose from deit"),
    ):
        assert run(family) == 2
        assert sentence in capsys.readouterr().err


def test_a_family_of_an_installed_package(monkeypatch):
    import importlib.metadata

    from convert.families import dino, find_family

    point = importlib.metadata.EntryPoint("own", "convert.families.dino:FAMILY", "jaxpart.families")
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group, name: [point] if name == "own" else []
    )
    assert find_family("own") is dino.FAMILY
