"""I-JEPA, data2vec, EVA-02 and the original JAX ViT against timm and transformers."""

import numpy as np
import pytest
from twins import BODY as _BODY
from twins import (
    TIMM,
    Twin,
    blocks_of,
    encoder_of,
    forward_features,
    last_hidden_state,
    randomise,
    renamed,
    same_weights,
    with_logits,
)

import jaxpart

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

BODY = _BODY | {"num_labels": 5}


def interpolated(model, images):
    return last_hidden_state(model, images, interpolate_pos_encoding=True)


def test_ijepa_of_timm_and_original(twin):
    """Of the two encoders of a release the target is the one that the paper evaluates."""
    model = timm.create_model("vit_huge_patch14_gap_224", num_classes=0, **TIMM)
    pair = twin("ijepa", "timm", model, model.blocks)
    pair.compare((24, 40), forward_features)
    assert "cls_token" not in pair.encoder(np.zeros((2, 24, 40, 3), np.float32), blocks=True)
    target = {f"module.{key}": value for key, value in model.state_dict().items()}
    online = {key: value + 1 for key, value in target.items()}
    path = pair.path.with_name("ijepa.pth.tar")
    rest = {"predictor": {"module.mask_token": torch.ones(3)}, "epoch": 300, "scaler": None}
    torch.save({"encoder": online, "target_encoder": target, "opt": {"state": {}}} | rest, path)
    encoder = encoder_of(path, "ijepa", "original", num_heads=3)
    assert same_weights(encoder, pair.encoder)


def test_ijepa_of_transformers(twin):
    model = transformers.IJepaModel(transformers.IJepaConfig(**BODY))
    pair = twin("ijepa", "transformers", model, blocks_of(model))
    pair.compare((32, 32), last_hidden_state)
    pair.compare((24, 40), interpolated)


@pytest.mark.parametrize("shared", [True, False])
def test_data2vec_of_transformers(shared, twin):
    """Square alone: transformers lays the bias table of another grid out with its sides exchanged."""
    bias = "use_shared_relative_position_bias" if shared else "use_relative_position_bias"
    config = transformers.Data2VecVisionConfig(**BODY | {bias: True, "use_mask_token": shared})
    name = "Data2VecVisionModel" if shared else "Data2VecVisionForImageClassification"
    model = getattr(transformers, name)(config)
    pair = twin("data2vec", "transformers", model, blocks_of(model))

    def outputs(model, images):
        out = model(images)
        if not shared:
            return {"projection": out.logits}
        return {"tokens": out.last_hidden_state}

    pair.compare((32, 32), outputs)


BEIT_NAMES = [
    (r"^embeddings\.(cls|mask)_token", r"\1_token"),
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^encoder\.relative_position_bias", "rel_pos_bias"),
    (r"^encoder\.layer\.", "blocks."),
    (r"attention\.attention\.qkv", "attn.qkv"),
    (r"attention\.attention\.query\.bias", "attn.q_bias"),
    (r"attention\.attention\.value\.bias", "attn.v_bias"),
    (r"attention\.output\.dense", "attn.proj"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"output\.dense", "mlp.fc2"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"lambda_", "gamma_"),
]


def test_data2vec_original(twin):
    """The release keeps the final norm, which transformers drops."""
    bias = {"use_shared_relative_position_bias": True, "use_mask_token": True}
    model = transformers.Data2VecVisionModel(transformers.Data2VecVisionConfig(**BODY, **bias))
    pair = twin("data2vec", "transformers", model, blocks_of(model))
    arrays = model.state_dict()
    for key in [key for key in arrays if key.endswith(".query.weight")]:
        parts = [arrays.pop(key.replace("query", name)) for name in ("query", "key", "value")]
        arrays[key.replace("query", "qkv")] = torch.cat(parts)
    arrays = renamed(arrays, BEIT_NAMES) | {"norm.weight": torch.ones(48)}
    arrays |= {"norm.bias": torch.zeros(48), "lm_head.weight": torch.ones(48, 48)}
    path = pair.path.with_name("checkpoint-799.pth")
    torch.save({"model": arrays, "epoch": 799}, path)
    encoder = encoder_of(path, "data2vec", "original", num_heads=3)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    ours, theirs = (e(images, blocks=True)["blocks"][-1] for e in (encoder, pair.encoder))
    assert (np.asarray(ours) == np.asarray(theirs)).all()
    arrays["lm_head.weight"] = torch.ones(8192, 48)
    torch.save({"model": arrays}, path)
    with pytest.raises(jaxpart.JaxpartError, match="predicts 8192 visual tokens, like BEiT's"):
        encoder_of(path, "data2vec", "original", num_heads=3)


EVA02 = {
    "tiny": ("eva02_tiny_patch14_224", forward_features, {"num_classes": 0}),
    "base": ("eva02_base_patch14_448", with_logits, {"num_classes": 5}),
    "clip": ("eva02_base_patch16_clip_224", with_logits, {"num_classes": 20}),
}


@pytest.mark.parametrize("name", EVA02)
def test_eva02_of_timm(name, twin):
    architecture, outputs, changes = EVA02[name]
    model = timm.create_model(architecture, **TIMM | changes | {"ref_feat_shape": (16, 16)})
    pair = twin("eva02", "timm", model, model.blocks)
    pair.compare((32, 32) if name == "clip" else (24, 40), outputs)


EVA02_NAMES = [
    (r"\.mlp\.fc1_g\.", ".mlp.w1."),
    (r"\.mlp\.fc1_x\.", ".mlp.w2."),
    (r"\.mlp\.fc2\.", ".mlp.w3."),
    (r"\.mlp\.norm\.", ".mlp.ffn_ln."),
    (r"\.attn\.([qv])_proj\.bias", r".attn.\1_bias"),
]


def test_eva02_original(twin):
    model = timm.create_model("eva02_base_patch14_448", num_classes=0, **TIMM)
    pair = twin("eva02", "timm", model, model.blocks)
    arrays = renamed(model.state_dict(), EVA02_NAMES)
    arrays |= {"rope.freqs_cos": torch.ones(16, 16), "mask_token": torch.ones(1, 1, 48)}
    path = pair.path.with_name("eva02.pt")
    torch.save({"module": arrays}, path)
    encoder = encoder_of(path, "eva02", "original", num_heads=3)
    assert same_weights(encoder, pair.encoder)


def as_npz(model):
    """The model's arrays as `vision_transformer` saves them."""
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    arrays = {
        "cls": state["cls_token"],
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    for i in range(2):
        ours, theirs = f"blocks.{i}", f"Transformer/encoderblock_{i}"
        for norm, number in (("norm1", 0), ("norm2", 2)):
            arrays[f"{theirs}/LayerNorm_{number}/scale"] = state[f"{ours}.{norm}.weight"]
            arrays[f"{theirs}/LayerNorm_{number}/bias"] = state[f"{ours}.{norm}.bias"]
        attention = f"{theirs}/MultiHeadDotProductAttention_1"
        weights = np.split(state[f"{ours}.attn.qkv.weight"], 3)
        biases = np.split(state[f"{ours}.attn.qkv.bias"], 3)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            arrays[f"{attention}/{name}/kernel"] = weight.T.reshape(48, 3, 16)
            arrays[f"{attention}/{name}/bias"] = bias.reshape(3, 16)
        arrays[f"{attention}/out/kernel"] = state[f"{ours}.attn.proj.weight"].T.reshape(3, 16, 48)
        arrays[f"{attention}/out/bias"] = state[f"{ours}.attn.proj.bias"]
        for number in range(2):
            dense = f"{theirs}/MlpBlock_3/Dense_{number}"
            arrays[f"{dense}/kernel"] = state[f"{ours}.mlp.fc{number + 1}.weight"].T
            arrays[f"{dense}/bias"] = state[f"{ours}.mlp.fc{number + 1}.bias"]
    return arrays


@pytest.mark.parametrize("prefix", ["", "opt/target/"])
def test_augreg_npz(prefix, tmp_path):
    """The original has the GELU by tanh, timm's port the exact one: here both the former."""
    model = timm.create_model("vit_base_patch16_224", act_layer="gelu_tanh", num_classes=5, **TIMM)
    arrays = as_npz(randomise(model))
    if prefix:
        arrays["pre_logits/kernel"], arrays["pre_logits/bias"] = np.eye(48), np.zeros(48)
    path = tmp_path / "augreg.npz"
    np.savez(path, **{prefix + key: value for key, value in arrays.items()})
    encoder = encoder_of(path, "augreg", "original", num_heads=3)
    outputs = forward_features if prefix else with_logits
    Twin(model, list(model.blocks), encoder, path).compare((32, 32), outputs)


def test_augreg_of_timm_and_transformers(twin):
    model = timm.create_model("vit_base_patch16_224", num_classes=5, **TIMM)
    twin("augreg", "timm", model, model.blocks).compare((24, 40), with_logits)
    model = transformers.ViTModel(transformers.ViTConfig(**BODY))
    pair = twin("augreg", "transformers", model, blocks_of(model))
    pair.compare((24, 40), interpolated)


@pytest.mark.parametrize("prefix", ["", "params/img/"])
def test_scanned_layers(prefix, tmp_path):
    """big_vision and PaliGemma stack the arrays of all blocks along their first axis."""
    model = timm.create_model("vit_base_patch16_224", num_classes=5, **TIMM)
    arrays, scanned = as_npz(randomise(model)), {}
    for key, value in arrays.items():
        if "encoderblock_0" in key:
            blocks = [value, arrays[key.replace("encoderblock_0", "encoderblock_1")]]
            scanned[key.replace("encoderblock_0", "encoderblock")] = np.stack(blocks)
        elif "encoderblock" not in key:
            scanned[key] = value
    beside = {"params/llm/embedder/kernel": np.ones((3, 3))} if prefix else {}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez(tmp_path / "scanned.npz", **{prefix + k: v for k, v in scanned.items()}, **beside)
    pair = [
        encoder_of(tmp_path / f"{n}.npz", "augreg", "original", num_heads=3)
        for n in ("plain", "scanned")
    ]
    assert pair[0].config == pair[1].config
    assert same_weights(*pair)
