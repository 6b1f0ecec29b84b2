"""CLIP, OpenCLIP, SigLIP and AIMv2 against timm, transformers and the original layouts."""

import dataclasses

import numpy as np
import pytest
from twins import BODY as _BODY
from twins import (
    TIMM,
    blocks_of,
    encoder_of,
    forward_features,
    renamed,
    same_weights,
    with_logits,
)

import jaxpart
from convert.families import FAMILIES
from convert.options import Options
from convert.pipeline import convert
from convert.plan import make_plan
from convert.sources import stated_by

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

BODY = _BODY | {"projection_dim": 20}


@pytest.mark.parametrize(("family", "name"), [
    ("clip", "vit_base_patch16_clip_quickgelu_224"),
    ("openclip", "vit_base_patch16_clip_224"),
])  # fmt: skip
def test_clip_of_timm(family, name, twin):
    model = timm.create_model(name, num_classes=20, **TIMM)
    pair = twin(family, "timm", model, model.blocks)
    pair.compare((24, 40), with_logits)


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
    if family == "openclip":
        pair.compare((24, 40), clip_outputs)


OPENAI_NAMES = [
    (r"^vision_model\.embeddings\.class_embedding", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.position_embedding\.weight", "visual.positional_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding", "visual.conv1"),
    (r"^vision_model\.pre_layrnorm", "visual.ln_pre"),
    (r"^vision_model\.post_layernorm", "visual.ln_post"),
    (r"^vision_model\.encoder\.layers", "visual.transformer.resblocks"),
    (r"layer_norm([12])", r"ln_\1"),
    (r"self_attn\.qkv\.", "attn.in_proj_"),
    (r"self_attn\.out_proj", "attn.out_proj"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
]


def test_clip_original(twin):
    model = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**BODY))
    pair = twin("clip", "transformers", model, blocks_of(model))
    arrays = model.state_dict()
    for key in [key for key in arrays if ".q_proj." in key]:
        parts = [arrays.pop(key.replace("q_proj", f"{letter}_proj")) for letter in "qkv"]
        arrays[key.replace("q_proj", "qkv")] = torch.cat(parts)
    arrays["visual.proj"] = arrays.pop("visual_projection.weight").T
    arrays = renamed(arrays, OPENAI_NAMES)
    text = {"positional_embedding": torch.ones(3, 4), "transformer.resblocks.0.ln_1.bias": 0}
    path = pair.path.with_name("clip.pt")
    torch.save(arrays | text | {"logit_scale": torch.ones(())}, path)
    encoder = encoder_of(path, "clip", "original", num_heads=3)
    assert {"class_embedding", "proj"} <= {key.partition(".")[2] for key in arrays}
    assert encoder.config == pair.encoder.config
    assert same_weights(encoder, pair.encoder)


@pytest.mark.parametrize("pool", ["map", "avg"])
def test_siglip_of_timm(pool, twin):
    """timm builds this variant with the exact GELU, SigLIP was trained with the other."""
    name = "vit_base_patch16_siglip_224" if pool == "map" else "vit_base_patch16_siglip_gap_224"
    model = timm.create_model(name, num_classes=0, act_layer="gelu_tanh", **TIMM)
    pair = twin("siglip", "timm", model, model.blocks)
    assert pair.encoder.config.prefix == ()
    pair.compare((24, 40), with_logits if pool == "map" else forward_features)


@pytest.mark.parametrize(("family", "head"), [("siglip", "head"), ("clip", "fc")])
def test_a_classifier_beside_a_projector_is_left_out(family, head):
    name = {"clip": "vit_base_patch16_clip_224", "siglip": "vit_base_patch16_siglip_224"}[family]
    classes = {"clip": 20, "siglip": 0}[family]
    state = timm.create_model(name, num_classes=classes, **TIMM).state_dict()
    arrays = {key: value.numpy() for key, value in state.items()}
    arrays |= {f"{head}.weight": np.ones((5, 48)), f"{head}.bias": np.ones(5)}
    plan = make_plan(FAMILIES[family], arrays, Options("timm", num_heads=3))
    assert plan.config.projector is not None
    assert plan.ignored.keys() == {f"{head}.weight", f"{head}.bias"}


def siglip_outputs(model, images):
    out = model(images, interpolate_pos_encoding=True)
    return {"tokens": out.last_hidden_state, "projection": out.pooler_output}


def test_siglip_of_transformers(twin):
    config = transformers.SiglipVisionConfig(**BODY, layer_norm_eps=1e-2)
    model = transformers.SiglipVisionModel(config)
    pair = twin("siglip", "transformers", model, blocks_of(model), epsilon=1e-2)
    pair.compare((32, 32), siglip_outputs)
    pair.compare((24, 40), siglip_outputs)
    encoder = encoder_of(pair.path, "siglip2", "transformers", num_heads=3, epsilon=1e-2)
    assert encoder.config == pair.encoder.config
    assert same_weights(encoder, pair.encoder)


def as_npz(model):
    """The arrays of a SigLIP model of timm as `big_vision` saves them."""
    state = {key: value.numpy() for key, value in model.state_dict().items()}

    def dense(theirs, weight, bias):
        return {f"{theirs}/kernel": weight.T, f"{theirs}/bias": bias}

    def norm(theirs, ours):
        return {f"{theirs}/scale": state[f"{ours}.weight"], f"{theirs}/bias": state[f"{ours}.bias"]}

    def attention(theirs, weights, biases, ours):
        arrays = {}
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            arrays[f"{theirs}/{name}/kernel"] = weight.T.reshape(48, 3, 16)
            arrays[f"{theirs}/{name}/bias"] = bias.reshape(3, 16)
        arrays[f"{theirs}/out/kernel"] = state[f"{ours}.proj.weight"].T.reshape(3, 16, 48)
        return arrays | {f"{theirs}/out/bias": state[f"{ours}.proj.bias"]}

    def mlp(theirs, ours):
        fc = [(state[f"{ours}.fc{n}.weight"], state[f"{ours}.fc{n}.bias"]) for n in (1, 2)]
        return dense(f"{theirs}/Dense_0", *fc[0]) | dense(f"{theirs}/Dense_1", *fc[1])

    arrays = {
        "pos_embedding": state["pos_embed"],
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "MAPHead_0/probe": state["attn_pool.latent"],
    }
    arrays |= norm("Transformer/encoder_norm", "norm")
    for i in range(2):
        ours, theirs = f"blocks.{i}", f"Transformer/encoderblock_{i}"
        arrays |= norm(f"{theirs}/LayerNorm_0", f"{ours}.norm1")
        arrays |= norm(f"{theirs}/LayerNorm_1", f"{ours}.norm2")
        parts = [np.split(state[f"{ours}.attn.qkv.{kind}"], 3) for kind in ("weight", "bias")]
        arrays |= attention(f"{theirs}/MultiHeadDotProductAttention_0", *parts, f"{ours}.attn")
        arrays |= mlp(f"{theirs}/MlpBlock_0", f"{ours}.mlp")
    parts = [
        [state[f"attn_pool.q.{kind}"], *np.split(state[f"attn_pool.kv.{kind}"], 2)]
        for kind in ("weight", "bias")
    ]
    arrays |= attention("MAPHead_0/MultiHeadDotProductAttention_0", *parts, "attn_pool")
    arrays |= norm("MAPHead_0/LayerNorm_0", "attn_pool.norm")
    arrays |= mlp("MAPHead_0/MlpBlock_0", "attn_pool.mlp")
    return {f"params/img/{key}": value for key, value in arrays.items()}


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_siglip_original(family, twin):
    model = timm.create_model("vit_base_patch16_siglip_224", num_classes=0, **TIMM)
    pair = twin(family, "timm", model, model.blocks)
    path = pair.path.with_name("webli.npz")
    text = {"params/txt/Embed_0/embedding": np.ones((3, 4)), "params/t": np.ones(1)}
    np.savez(path, **as_npz(model), **text, **{"params/b": np.ones(1)})
    with pytest.raises(
        jaxpart.JaxpartError, match=f"this looks like the original layout of {family}"
    ):
        convert(family, path, path.with_name("out"), layout="timm", num_heads=3)
    encoder = encoder_of(path, family, "original", num_heads=3)
    assert encoder.config == dataclasses.replace(pair.encoder.config, position_resize="bicubic")
    assert same_weights(encoder, pair.encoder)


def naflex_outputs(model, images):
    patches = images.unfold(2, 8, 8).unfold(3, 8, 8)  # batch, rgb, row, column, y, x
    grid = patches.shape[2:4]
    patches = patches.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
    out = model(
        patches,
        pixel_attention_mask=torch.ones(patches.shape[:2], dtype=torch.int64),
        spatial_shapes=torch.tensor([list(grid)] * len(images)),
    )
    return {"tokens": out.last_hidden_state, "projection": out.pooler_output}


def test_siglip2_naflex(twin):
    settings = {key: value for key, value in BODY.items() if key != "image_size"}
    config = transformers.Siglip2VisionConfig(num_patches=16, **settings)
    model = transformers.Siglip2VisionModel(config)
    pair = twin("siglip2", "transformers", model, blocks_of(model))
    pair.compare((32, 32), naflex_outputs)
    pair.compare((24, 40), naflex_outputs)


AIMV2_NAMES = [
    (r"^patch_embed\.", "preprocessor.patchifier."),
    (r"^pos_embed$", "preprocessor.pos_embed"),
    (r"^norm\.", "trunk.post_trunk_norm."),
    (r"^blocks\.", "trunk.blocks."),
    (r"\.norm([12])\.", r".norm_\1."),
    (r"\.fc1_g\.", ".fc1."),
    (r"\.fc1_x\.", ".fc3."),
]


def test_aimv2_of_timm_and_original(twin):
    model = timm.create_model("aimv2_large_patch14_224", num_classes=0, **TIMM)
    pair = twin("aimv2", "timm", model, model.blocks)
    pair.compare((24, 40), forward_features)
    path = pair.path.with_name("aimv2.pth")
    torch.save(renamed(model.state_dict(), AIMV2_NAMES), path)
    encoder = encoder_of(path, "aimv2", "original", num_heads=3)
    assert encoder.config == pair.encoder.config
    assert same_weights(encoder, pair.encoder)


def test_aimv2_of_transformers(twin):
    """At its own size alone: transformers does not interpolate."""
    config = transformers.Aimv2VisionConfig(**BODY)
    model = transformers.Aimv2VisionModel(config)
    pair = twin("aimv2", "transformers", model, blocks_of(model))
    pair.compare((32, 32), lambda m, x: m(x).last_hidden_state)


def test_timms_notes_say_which_clip_has_the_quick_gelu():
    names = timm.list_pretrained("vit_*clip_*")
    for name in names:
        notes = " ".join(timm.get_pretrained_cfg(name).notes or ())
        quick = "quickgelu" in name or "QuickGELU" in notes
        config = {"architecture": name, "pretrained_cfg": {}}
        assert (name, stated_by(config, {}).family) == (name, "clip" if quick else "openclip")
    assert len(names) > 40
