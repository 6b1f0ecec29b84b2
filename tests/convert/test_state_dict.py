"""Back to PyTorch: what is written is loaded strictly, and is what the encoder was made of."""

import functools
import json

import numpy as np
import pytest
from test_families_dino import DINOV3_BODY, DINOV3_NAMES, original
from test_layouts import BODY, TIMM, TIMM_MODELS, transformers_model
from twins import TIMM as ANY_SIZE
from twins import randomise

from convert.families import FAMILIES
from convert.locate import flat_arrays
from convert.options import Options
from convert.plan import make_plan
from convert.state_dict import state_dict, timm_model
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.rotary import dinov3_periods
from jaxpart.encoders.small import small_config
from jaxpart.encoders.weights import arrays_of
from jaxpart.errors import JaxpartError

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")


def there_and_back(family, layout, model, **options):
    """The state dict of the encoder that is made of a model's."""
    contents = {key: value.numpy() for key, value in model.state_dict().items()}
    plan = make_plan(FAMILIES[family], contents, Options(layout, num_heads=3, **options))
    arrays = {entry.target: entry.read() for entry in plan.entries}
    return state_dict(FAMILIES[family], layout, plan.config, arrays)


def check(model, written, missing=()):
    """Asserts that a model loads it strictly, and holds the same as before."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    tensors = {key: torch.from_numpy(value.copy()) for key, value in written.arrays.items()}
    tensors |= {key: before[key] for key in missing}
    with torch.no_grad():
        for value in model.parameters():
            value.zero_()
    model.load_state_dict(tensors, strict=True)
    for key, value in model.state_dict().items():
        if "mask_token" not in key:
            torch.testing.assert_close(value, before[key], rtol=1e-6, atol=1e-7, msg=key)


@pytest.mark.parametrize("name", TIMM_MODELS)
def test_timm(name):
    family, architecture, changes = TIMM_MODELS[name]
    model = randomise(timm.create_model(architecture, img_size=(24, 40), **TIMM | changes))
    check(model, there_and_back(family, "timm", model, image_size=(24, 40)))


@pytest.mark.parametrize(("family", "name", "changes"), [
    *((family, "vit_base_patch16_224", {}) for family in ("mocov3", "dino", "ibot", "mae")),
    ("dinov2", "vit_base_patch14_dinov2", {}),
    ("dinov2", "vit_giant_patch14_reg4_dinov2", {}),
    ("dinov3", "vit_small_patch16_dinov3", {}),
    ("dinov3", "vit_small_plus_patch16_dinov3_qkvb", {}),
    ("clip", "vit_base_patch16_clip_quickgelu_224", {"num_classes": 20}),
    ("siglip", "vit_base_patch16_siglip_224", {}),
    ("aimv2", "aimv2_large_patch14_224", {}),
])  # fmt: skip
def test_more_of_timm(family, name, changes):
    model = randomise(timm.create_model(name, **ANY_SIZE | {"num_classes": 0} | changes))
    check(model, there_and_back(family, "timm", model))


def norm(epsilon):
    return functools.partial(timm.layers.LayerNorm, eps=epsilon)


@pytest.mark.parametrize(("family", "options"), [
    ("vit", {"reg_tokens": 4, "no_embed_class": True}),
    ("vit", {"reg_tokens": 4, "num_classes": 5}),
    ("vit", {"class_token": False, "reg_tokens": 2, "no_embed_class": True, "global_pool": "avg",
             "num_classes": 5}),
    ("vit", {"class_token": False, "global_pool": "map"}),
    ("vit", {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": "silu", "qkv_bias": False}),
    ("vit", {"scale_attn_norm": True, "scale_mlp_norm": True, "norm_layer": norm(1e-2)}),
    ("dinov2", {"reg_tokens": 4, "no_embed_class": True, "init_values": 0.1}),
    ("clip", {"pre_norm": True, "act_layer": "quick_gelu", "norm_layer": norm(1e-5),
              "num_classes": 5}),
])  # fmt: skip
def test_the_model_of_timm_that_is_named_computes_the_same(family, options):
    """Created as told, it loads what was written strictly, and has the outputs of the encoder's source."""
    body = {key: value for key, value in ANY_SIZE.items() if key != "dynamic_img_size"}
    model = timm.models.VisionTransformer(**body | {"num_classes": 0} | options)
    contents = {key: value.numpy() for key, value in randomise(model).state_dict().items()}
    if family == "clip":  # whose projection has no bias
        model.head.bias.data.zero_()
        del contents["head.bias"]
    facts = {"epsilon": 1e-2} if "scale_mlp_norm" in options else {}
    plan = make_plan(FAMILIES[family], contents, Options("timm", num_heads=3, **facts))
    arrays = {entry.target: entry.read() for entry in plan.entries}
    written = state_dict(FAMILIES[family], "timm", plan.config, arrays).arrays
    twin = eval(timm_model(plan.config, written), {"timm": timm, "functools": functools}).eval()
    tensors = {key: torch.from_numpy(value.copy()) for key, value in written.items()}
    twin.load_state_dict(tensors, strict=True)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(twin(images), model(images), rtol=0, atol=1e-4)
        tokens = [m.forward_features(images) for m in (twin, model)]
    torch.testing.assert_close(*tokens, rtol=0, atol=1e-4)


def test_a_convolutional_stem_is_written_under_its_original_names_alone():
    config = small_config("mocov3")
    arrays = arrays_of(random_encoder("mocov3", config).vit)
    with pytest.raises(JaxpartError, match="only mocov3's original layout has those of a conv"):
        state_dict(FAMILIES["mocov3"], "timm", config, arrays)


@pytest.mark.parametrize("name", ["deit", "plain", "beit_finetuned", "cae"])
def test_transformers(name, tmp_path):
    family = {"plain": "augreg", "beit_finetuned": "beit"}.get(name, name)
    model = randomise(transformers_model(name))
    loads_as_file(model, there_and_back(family, "transformers", model), tmp_path)


@pytest.mark.parametrize("kind", ["Dinov2", "Dinov2WithRegisters", "DINOv3ViT"])
def test_dinov2_and_dinov3_of_transformers(kind, tmp_path):
    extra = {"num_register_tokens": 4} if kind == "DINOv3ViT" else {}
    body = {key: value for key, value in BODY.items() if key != "num_labels"}
    if not extra:
        del body["intermediate_size"]
    model = getattr(transformers, f"{kind}Model")(
        getattr(transformers, f"{kind}Config")(**body | extra)
    )
    family = "dinov3" if extra else "dinov2"
    loads_as_file(randomise(model), there_and_back(family, "transformers", model), tmp_path)


def test_dinov3_original():
    """With its buffers: the mask of the keys' biases, and the periods as released."""
    model = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**DINOV3_BODY))
    contents = {
        **{key: value.numpy() for key, value in original(randomise(model), DINOV3_NAMES).items()},
        "rope_embed.periods": dinov3_periods(16, rounded=True),
        "mask_token": np.zeros((1, 48), np.float32),
    }
    mask = np.repeat(np.float32([1, 0, 1]), 48)
    for i in range(2):
        contents[f"blocks.{i}.attn.qkv.bias"] *= mask
        contents[f"blocks.{i}.attn.qkv.bias_mask"] = mask
    plan = make_plan(FAMILIES["dinov3"], contents, Options(num_heads=3))
    arrays = {entry.target: entry.read() for entry in plan.entries}
    written = state_dict(FAMILIES["dinov3"], "original", plan.config, arrays).arrays
    assert written.keys() == contents.keys()
    for key, value in written.items():
        np.testing.assert_array_equal(value, contents[key], err_msg=key)


def loads_as_file(model, written, folder):
    """transformers loads what was written as its own file, with nothing missing and nothing left."""
    from safetensors.numpy import save_file

    model.config.save_pretrained(folder)
    save_file(dict(written.arrays), folder / "model.safetensors")
    loaded, report = type(model).from_pretrained(folder, output_loading_info=True)
    assert not report["unexpected_keys"]
    assert all("pooler" in key or "mask_token" in key for key in report["missing_keys"])
    before = model.state_dict()
    for key, value in loaded.state_dict().items():
        if "mask_token" not in key and "pooler.dense" not in key:
            torch.testing.assert_close(value, before[key], rtol=1e-6, atol=1e-7, msg=key)


GOLDENS = {
    "deit": "deit",
    "deit3": "deit",
    "deit_distilled": "deit",
    "mocov3": "mocov3",
    "mocov3_convstem": "mocov3",
    "dino": "dino",
    "dino_full": "dino",
    "ibot": "ibot",
    "ibot_full": "ibot",
    "mae": "mae",
    "beit": "beit",
    "beit_finetuned": "beit",
    "cae": "cae",
}


@pytest.mark.parametrize("name", GOLDENS)
def test_original(name, golden):
    """The released names: every array of the encoder in the release, and nothing else."""
    from jaxpart.io.tensor_files import open_checkpoint

    folder = golden / f"encoders/{name}"
    contents = open_checkpoint(folder / json.loads((folder / "note.json").read_text())["file"])
    family = FAMILIES[GOLDENS[name]]
    plan = make_plan(family, contents.contents, Options(num_heads=3))
    arrays = {entry.target: entry.read() for entry in plan.entries}
    written = state_dict(family, "original", plan.config, arrays).arrays
    assert written
    network = plan.network.location.network
    released = {
        key.removeprefix(network): value
        for key, value in flat_arrays(contents.contents).arrays.items()
        if key.startswith(network)
    }
    ignored = {key.removeprefix(network) for key in plan.ignored}
    assert set(written) - ignored == set(released) - ignored
    for key, value in written.items():
        if key in released and not key.endswith(("weight_g", "weight_v")):
            np.testing.assert_array_equal(value, released[key], err_msg=key)
        elif key.endswith("weight_v"):
            lead, direction = key.removesuffix("v"), released[key]
            norm = np.linalg.norm(direction, axis=1, keepdims=True)
            expected = released[f"{lead}g"] * direction / norm
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(np.abs(released[f"{lead}g"]), written[f"{lead}g"], rtol=1e-5)
