"""CLIP, OpenCLIP and SigLIP against timm, transformers and the layout of OpenAI's release."""

import pytest
from twins import blocks_of

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

TIMM = {"patch_size": 8, "img_size": 32, "embed_dim": 48, "depth": 2, "num_heads": 3}
TIMM |= {"dynamic_img_size": True}
BODY = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 32}
BODY |= {"patch_size": 8, "intermediate_size": 96, "projection_dim": 20}


def timm_outputs(model, images):
    tokens = model.forward_features(images)
    return {"tokens": tokens, "projection": model.forward_head(tokens)}


@pytest.mark.parametrize(("family", "name"), [
    ("clip", "vit_base_patch16_clip_quickgelu_224"),
    ("openclip", "vit_base_patch16_clip_224"),
])  # fmt: skip
def test_clip_of_timm(family, name, twin):
    model = timm.create_model(name, num_classes=20, **TIMM)
    pair = twin(family, "timm", model, model.blocks)
    pair.compare((32, 32), timm_outputs)
    if family == "clip":
        pair.compare((24, 40), timm_outputs)


def clip_outputs(model, images):
    tower = model.vision_model
    out = tower(images, interpolate_pos_encoding=True)
    tokens = tower.post_layernorm(out.last_hidden_state)
    return {"tokens": tokens, "projection": model.visual_projection(tokens[:, 0])}


@pytest.mark.parametrize("family", ["clip", "openclip"])
def test_clip_of_transformers(family, twin):
    activation = "quick_gelu" if family == "clip" else "gelu"
    config = transformers.CLIPVisionConfig(hidden_act=activation, **BODY)
    model = transformers.CLIPVisionModelWithProjection(config)
    pair = twin(family, "transformers", model, blocks_of(model))
    pair.compare((32, 32), clip_outputs)
    pair.compare((24, 40), clip_outputs)
