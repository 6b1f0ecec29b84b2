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
