"""DINOv2 and DINOv3 against timm and transformers."""

import dataclasses

import pytest
from twins import BODY as _BODY
from twins import TIMM as _TIMM
from twins import (
    Twin,
    blocks_of,
    encoder_of,
    forward_features,
    last_hidden_state,
    randomise,
    renamed,
    same_weights,
    save,
)

import jaxpart
from convert.pipeline import convert
from jaxpart.encoders.encoder import with_stride

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

TIMM = _TIMM | {"patch_size": 14, "img_size": 56, "num_classes": 0}
BODY = {key: value for key, value in _BODY.items() if key != "intermediate_size"}
BODY |= {"image_size": 56, "patch_size": 14}


@pytest.mark.parametrize("name", ["base_reg4", "giant"])
def test_dinov2_of_timm(name, twin):
    size, _, registers = name.partition("_")
    name = f"vit_{size}_patch14_{registers + '_' if registers else ''}dinov2"
    model = timm.create_model(name, **TIMM)
    pair = twin("dinov2", "timm", model, model.blocks)
    assert len(pair.encoder.config.prefix) == (5 if registers else 1)
    assert pair.encoder.config.gated_mlp == (size == "giant")
    pair.compare((42, 70), forward_features)


def test_overlapping_patches(twin):
    model = timm.create_model("vit_small_patch14_dinov2", **TIMM)
    pair = twin("dinov2", "timm", model, model.blocks)
    model.patch_embed.proj.stride = (7, 7)
    dense = dataclasses.replace(pair, encoder=with_stride(pair.encoder, 7))
    assert dense.encoder.grid_of(42, 70) == (5, 9)
    dense.compare((42, 70), forward_features)


@pytest.mark.parametrize("registers", ["", "WithRegisters"])
def test_dinov2_of_transformers(registers, twin):
    model = dinov2(registers, use_swiglu_ffn=not registers)
    pair = twin("dinov2", "transformers", model, blocks_of(model))
    pair.compare((56, 56), last_hidden_state)
    pair.compare((42, 70), last_hidden_state)


def dinov2(registers, **changes):
    config = getattr(transformers, f"Dinov2{registers}Config")(**BODY, **changes)
    return getattr(transformers, f"Dinov2{registers}Model")(config)


def original(model, names):
    """A checkpoint in the original layout: transformers' arrays under the original's names."""
    arrays = model.state_dict()
    for key in [key for key in arrays if ".q_proj." in key]:
        parts = [arrays.pop(key.replace("q_proj", f"{letter}_proj"), None) for letter in "qkv"]
        parts = [torch.full_like(parts[0], 9.0) if part is None else part for part in parts]
        arrays[key.replace("q_proj", "qkv")] = torch.cat(parts)
    return renamed(arrays, names)


NAMES = [
    (r"^embeddings\.(cls_token|mask_token)", r"\1"),
    (r"^(?:encoder|model)\.layer\.", "blocks."),
    (r"attention\.(qkv)", r"attn.\1"),
    (r"attention\.o_proj", "attn.proj"),
    (r"layer_scale([12])\.lambda1", r"ls\1.gamma"),
    (r"^layernorm\.", "norm."),
]
DINOV2_NAMES = [
    *NAMES,
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^embeddings\.register_tokens", "register_tokens"),
]


@pytest.mark.parametrize("registers", ["", "WithRegisters"])
def test_dinov2_original(registers, twin):
    """Without registers positions are interpolated as DINO's, with them antialiased."""
    model = dinov2(registers)
    pair = twin("dinov2", "transformers", model, blocks_of(model))
    path = pair.path.with_name("dinov2_pretrain.pth")
    torch.save(original(model, DINOV2_NAMES), path)
    encoder = encoder_of(path, "dinov2", "original", num_heads=3)
    assert same_weights(encoder, pair.encoder)
    resize = "bicubic_antialias" if registers else "bicubic_offset"
    assert encoder.config == dataclasses.replace(pair.encoder.config, position_resize=resize)
    sentence = "this looks like the transformers layout of dinov2.*: python -m convert dinov2 "
    with pytest.raises(jaxpart.JaxpartError, match=sentence):
        convert("dinov2", pair.path, path.with_name("out"), num_heads=3)


DINOV3 = TIMM | {"patch_size": 16, "img_size": 64}


@pytest.mark.parametrize("name", ["small", "small_plus_qkvb"])
def test_dinov3_of_timm(name, twin):
    bias = "_qkvb" if "qkvb" in name else ""
    model = timm.create_model(f"vit_{name.removesuffix(bias)}_patch16_dinov3{bias}", **DINOV3)
    pair = twin("dinov3", "timm", model, model.blocks)
    assert pair.encoder.config.qkv_bias == ("qv" if bias else "none")
    pair.compare((48, 80), forward_features)


DINOV3_BODY = BODY | {"image_size": 64, "patch_size": 16, "num_register_tokens": 4}


@pytest.mark.parametrize("gated", [False, True])
def test_dinov3_of_transformers(gated, twin):
    hidden = {"use_gated_mlp": True, "hidden_act": "silu"} if gated else {}
    model = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**DINOV3_BODY, **hidden))
    pair = twin("dinov3", "transformers", model, blocks_of(model))
    pair.compare((48, 80) if gated else (64, 64), last_hidden_state)


def test_dinov3_without_registers(tmp_path):
    body = DINOV3_BODY | {"num_register_tokens": 0}
    path = save(
        transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**body)), "transformers", tmp_path
    )
    encoder = encoder_of(path, "dinov3", "transformers", num_heads=3)
    assert encoder.config.prefix == ("cls",)


DINOV3_NAMES = [
    *NAMES,
    (r"^embeddings\.patch_embeddings", "patch_embed.proj"),
    (r"^embeddings\.register_tokens", "storage_tokens"),
    (r"mlp\.up_proj", "mlp.fc1"),
    (r"mlp\.down_proj", "mlp.fc2"),
]


@pytest.mark.parametrize("rounded", [False, True])
def test_dinov3_original(rounded, tmp_path):
    """The key's bias is masked, whatever it holds; released periods are rounded to bfloat16."""
    model = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**DINOV3_BODY))
    randomise(model)
    arrays = original(model, DINOV3_NAMES)
    for i in range(2):
        mask = torch.ones(144)
        mask[48:96] = float("nan") if rounded else 0
        arrays[f"blocks.{i}.attn.qkv.bias_mask"] = mask
    periods = 1 / model.rope_embeddings.inv_freq
    if rounded:
        periods = periods.bfloat16()
        model.rope_embeddings.inv_freq = 1 / periods.float()
    arrays["rope_embed.periods"] = periods
    path = tmp_path / "dinov3_pretrain.pth"
    torch.save(arrays, path)
    encoder = encoder_of(path, "dinov3", "original", num_heads=3)
    assert encoder.config.rotary == ("dinov3_bfloat16" if rounded else "dinov3")
    if rounded:
        Twin(model, list(blocks_of(model)), encoder, path).compare((48, 80), last_hidden_state)
    torch.save(arrays | {"rope_embed.periods": 2 * periods}, path)
    with pytest.raises(jaxpart.JaxpartError, match="not those of DINOv3's releases"):
        encoder_of(path, "dinov3", "original", num_heads=3)
