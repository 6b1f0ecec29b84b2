"""DINOv2 and DINOv3 against timm and transformers."""

import pytest
from twins import blocks_of

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

TIMM = {"patch_size": 14, "img_size": 56, "embed_dim": 48, "depth": 2, "num_heads": 3}
TIMM |= {"dynamic_img_size": True, "num_classes": 0}
BODY = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 56}
BODY |= {"patch_size": 14}


def forward_features(model, images):
    return model.forward_features(images)


def last_hidden_state(model, images):
    return model(images).last_hidden_state


@pytest.mark.parametrize("name", ["base", "base_reg4", "giant", "giant_reg4"])
def test_dinov2_of_timm(name, twin):
    size, _, registers = name.partition("_")
    name = f"vit_{size}_patch14_{registers + '_' if registers else ''}dinov2"
    model = timm.create_model(name, **TIMM)
    pair = twin("dinov2", "timm", model, model.blocks)
    assert len(pair.encoder.config.prefix) == (5 if registers else 1)
    assert pair.encoder.config.gated_mlp == (size == "giant")
    pair.compare((56, 56), forward_features)
    if size == "base":
        pair.compare((42, 70), forward_features)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("registers", ["", "WithRegisters"])
def test_dinov2_of_transformers(registers, gated, twin):
    config = getattr(transformers, f"Dinov2{registers}Config")(use_swiglu_ffn=gated, **BODY)
    model = getattr(transformers, f"Dinov2{registers}Model")(config)
    pair = twin("dinov2", "transformers", model, blocks_of(model))
    pair.compare((56, 56), last_hidden_state)
    if not gated:
        pair.compare((42, 70), last_hidden_state)
