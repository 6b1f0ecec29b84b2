"""The paper's seven families in the layouts of timm and transformers, against those models."""

import functools
import json

import numpy as np
import pytest
from twins import BODY as _BODY
from twins import (
    blocks_of,
    encoder_of,
    forward_features,
    last_hidden_state,
    randomise,
    same_weights,
    save,
    with_logits,
)

import jaxpart
from convert.__main__ import main
from convert.families import FAMILIES
from convert.options import Options
from convert.pipeline import convert
from convert.plan import make_plan
from jaxpart.io.tensor_files import open_checkpoint

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

TIMM = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 5}
BODY = _BODY | {"num_labels": 5}
CAE = {"use_abs_pos_emb": True, "use_rel_pos_bias": False, "global_pool": "token"}
TIMM_MODELS = {
    "deit": ("deit", "deit_base_patch16_224", {}),
    "deit_distilled": ("deit", "deit_base_distilled_patch16_224", {}),
    "deit3": ("deit", "deit3_base_patch16_224", {}),
    "headless": ("deit", "vit_base_patch16_224", {"num_classes": 0}),
    "beit": ("beit", "beit_base_patch16_224", {}),
    "cae": ("cae", "beit_base_patch16_224", CAE | {"num_classes": 0}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM_MODELS)
def test_timm(name, twin):
    """At another size timm's own interpolation; what has relative biases is built at that size."""
    family, architecture, changes = TIMM_MODELS[name]
    resizes = name in ("deit3", "headless")
    size = (32, 32) if resizes else (24, 40)
    changes = changes | ({"dynamic_img_size": True} if resizes else {})
    model = timm.create_model(architecture, img_size=size, **TIMM | changes)
    pair = twin(family, "timm", model, model.blocks, image_size=size)
    outputs = with_logits if changes.get("num_classes", 5) else forward_features
    pair.compare(size, outputs)
    if resizes:
        pair.compare((24, 40), outputs)


def deit_teacher(model, images, **options):
    tokens = model.deit(images, **options).last_hidden_state
    logits = model.cls_classifier(tokens[:, 0]) + model.distillation_classifier(tokens[:, 1])
    return {"tokens": tokens, "projection": logits / 2}


def vit_classifier(model, images, **options):
    tokens = model.vit(images, **options).last_hidden_state
    return {"tokens": tokens, "projection": model.classifier(tokens[:, 0])}


def mae_encoder(model, images, **options):
    patches = images.shape[2] // 8 * (images.shape[3] // 8)
    noise = torch.arange(float(patches)).expand(len(images), patches)  # keeps the patches in order
    return model.vit(images, noise=noise, **options).last_hidden_state


def beit_pretraining(model, images):
    return model.layernorm(model.beit(images).last_hidden_state)


def beit_classifier(model, images):
    return {"projection": model(images).logits}


SHARED_BIAS = {"use_shared_relative_position_bias": True, "use_mask_token": True, "vocab_size": 7}
TRANSFORMERS_MODELS = {
    "deit": ("deit", "DeiTForImageClassificationWithTeacher", deit_teacher, {}),
    "plain": ("deit", "ViTForImageClassification", vit_classifier, {}),
    "mae": ("mae", "ViTMAEForPreTraining", mae_encoder, {"mask_ratio": 0.0}),
    "beit": ("beit", "BeitForMaskedImageModeling", beit_pretraining, SHARED_BIAS),
    "beit_finetuned": (
        "beit",
        "BeitForImageClassification",
        beit_classifier,
        {"use_relative_position_bias": True},
    ),
    "cae": (
        "cae",
        "BeitModel",
        last_hidden_state,
        {"use_absolute_position_embeddings": True, "use_mean_pooling": False},
    ),
}
DECODER = {"decoder_hidden_size": 24, "decoder_num_hidden_layers": 1}
DECODER |= {"decoder_num_attention_heads": 3, "decoder_intermediate_size": 48}


def transformers_model(name, **changes):
    architecture = TRANSFORMERS_MODELS[name][1]
    model = getattr(transformers, architecture)
    settings = BODY | DECODER | TRANSFORMERS_MODELS[name][3] | changes
    return model(model.config_class(attn_implementation="eager", **settings))


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMERS_MODELS)
def test_transformers(name, twin):
    family, _, outputs, _ = TRANSFORMERS_MODELS[name]
    model = transformers_model(name)
    pair = twin(family, "transformers", model, blocks_of(model))
    pair.compare((32, 32), outputs)
    if name in ("deit", "mae"):
        pair.compare((24, 40), functools.partial(outputs, interpolate_pos_encoding=True))


def test_a_segmentation_on_top_of_the_blocks_is_left_out():
    settings = {"num_hidden_layers": 4, "out_indices": [1, 2, 3, 4]}
    config = transformers.BeitConfig(**BODY | settings, use_relative_position_bias=True)
    state = transformers.BeitForSemanticSegmentation(config).state_dict()
    arrays = {key: value.numpy() for key, value in state.items()}
    plan = make_plan(FAMILIES["beit"], arrays, Options("transformers", num_heads=3))
    assert not any(key.startswith("beit.") for key in plan.ignored)
    assert {
        "auxiliary_head.classifier.bias",
        "decode_head.classifier.weight",
    } <= plan.ignored.keys()


def test_plain_vits(twin):
    """Where a method is a plain ViT, a layout's arrays are the same encoder whatever its name."""
    model = transformers.ViTModel(transformers.ViTConfig(**BODY | {"image_size": (24, 40)}))
    pair = twin("dino", "transformers", model, blocks_of(model), image_size=(24, 40))
    pair.compare((24, 40), last_hidden_state)
    for family in ("ibot", "mae", "mocov3"):
        options = {"num_heads": 3, "image_size": (24, 40)}
        encoder = encoder_of(pair.path, family, "transformers", **options)
        assert same_weights(encoder, pair.encoder)


@pytest.mark.parametrize("name", TRANSFORMERS_MODELS)
def test_names_in_memory_and_in_files_are_both_known(name, tmp_path):
    """transformers 5 names its arrays otherwise in memory than in the files that it writes."""
    model = transformers_model(name)
    in_file = open_checkpoint(save(model, "transformers", tmp_path)).contents
    in_memory = {key: value.numpy() for key, value in model.state_dict().items()}
    assert in_file.keys() != in_memory.keys()
    family, options = FAMILIES[TRANSFORMERS_MODELS[name][0]], Options("transformers", num_heads=3)
    plans = [make_plan(family, contents, options) for contents in (in_file, in_memory)]
    assert plans[0].config == plans[1].config
    for entries in zip(*(plan.entries for plan in plans), strict=True):
        left, right = (entry.read() for entry in entries)
        np.testing.assert_array_equal(left, right)


def test_command_line(tmp_path, capsys):
    model = transformers_model("mae")
    path = save(randomise(model), "transformers", tmp_path)
    out = tmp_path / "out"
    assert main(["mae", str(path), str(out), "--num-heads", "3"]) == 2
    sentence = "this looks like the transformers layout of mae"
    assert sentence in capsys.readouterr().err
    assert main(["mae", str(path), str(out), "--num-heads", "3", "--layout", "timm"]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()
    layout = ["--num-heads", "3", "--layout", "transformers"]
    assert main(["mae", str(path), str(out), *layout]) == 0
    assert jaxpart.load_encoder(out).config.positions == "sincos"
    about = json.loads((out / "encoder.json").read_text())
    assert about["source"]["layout"] == "transformers"
    assert ["vit.layernorm.weight", "norm.scale"] in about["mapping"]["mapped"]
    assert about["mapping"]["ignored"]["decoder.mask_token"] == "decoder"
    capsys.readouterr()
    assert main(["deit", str(path), str(out), *layout]) == 2
    assert "this looks like the transformers layout of deit" not in capsys.readouterr().err


def test_a_wrong_layout_is_told(golden, tmp_path):
    source = golden / "encoders/mae/mae_pretrain_vit_base.pth"
    with pytest.raises(jaxpart.JaxpartError, match="looks like the original layout of mae"):
        convert("mae", source, tmp_path / "out", layout="transformers", num_heads=3)
    with pytest.raises(jaxpart.JaxpartError, match="there is no 'jax' layout of mae; choose"):
        convert("mae", source, tmp_path / "out", layout="jax")


def test_two_keys_of_one_name_are_told():
    lead, token = "embeddings", np.zeros((1, 1, 48))
    arrays = {f"vit.{lead}.patch_embeddings.projection.weight": np.zeros((48, 3, 8, 8))}
    arrays |= {f"vit.{lead}.cls_token": token, f"vit.{lead}._orig_mod.cls_token": token}
    with pytest.raises(jaxpart.JaxpartError, match="differ only in the prefixes of their names"):
        make_plan(FAMILIES["mae"], arrays, Options(layout="transformers"))


RELEASED = {
    "deit": ("deit_tiny_patch16_224", "deit3_medium_patch16_224", "deit3_huge_patch14_224"),
    "beit": ("beit_large_patch16_512",),
    "dinov2": ("vit_small_patch14_dinov2", "vit_giant_patch14_reg4_dinov2"),
    "dinov3": ("vit_huge_plus_patch16_dinov3", "vit_7b_patch16_dinov3"),
    "openclip": ("vit_giant_patch14_clip_224", "vit_gigantic_patch14_clip_224"),
    "siglip": ("vit_so400m_patch14_siglip_378",),
    "siglip2": ("vit_giantopt_patch16_siglip_384",),
    "ijepa": ("vit_giant_patch16_gap_224",),
    "eva02": ("eva02_tiny_patch14_224", "eva02_large_patch14_clip_336"),
    "aimv2": ("aimv2_large_patch14_224", "aimv2_3b_patch14_448"),
    "augreg": ("vit_small_patch32_224", "vit_base_patch8_224"),
}


@pytest.mark.parametrize("family", RELEASED)
def test_released_sizes(family):
    """Number of heads, patches and pixels of full-size models, of which one block is looked at."""
    for name in RELEASED[family]:
        headless = family not in ("deit", "beit", "openclip", "eva02", "augreg")
        with torch.device("meta"):
            changes = {"num_classes": 0} if headless else {}
            model = timm.create_model(name, depth=1, **changes)
        arrays = {
            key: np.broadcast_to(np.float32(0.5), tuple(value.shape))
            for key, value in model.state_dict().items()
        }
        config = make_plan(FAMILIES[family], arrays, Options(layout="timm")).config
        assert config.num_heads == model.blocks[0].attn.num_heads, name
        assert config.patch_size == model.patch_embed.patch_size[0]
        assert config.positions == "none" or config.image_size == model.patch_embed.img_size
