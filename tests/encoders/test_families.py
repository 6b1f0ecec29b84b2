"""The table of families is that of the converter, and every family's pixels reach its encoder."""

import json

import numpy as np
import pytest

import jaxpart
from convert.__main__ import main
from convert.families import FAMILIES
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.loading import random_encoder, write_encoder
from jaxpart.encoders.projectors import ProjectorConfig
from jaxpart.encoders.weights import arrays_of
from jaxpart.features.representations import check_representations, represent
from jaxpart.io.files import write_json

BODY = {"image_size": (28, 28), "patch_size": 14, "width": 24, "depth": 2, "num_heads": 2}
BODY |= {"mlp_width": 24}


def test_the_table_is_the_converters():
    facts = jaxpart.families()
    assert facts.keys() == FAMILIES.keys()
    for name, family in FAMILIES.items():
        assert facts[name].name == name
        assert facts[name].layouts == tuple(family.layouts)


def test_list(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--list"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "dinov2: DINOv2" in shown
    assert "  prefix     cls; with registers: cls, register1 … register4" in shown
    assert all(f"\n{name}: " in f"\n{shown}" for name in FAMILIES)


@pytest.mark.parametrize("name", ["dino", "clip", "siglip"])
def test_pixels(name):
    encoder = random_encoder(name, ViTConfig(**BODY))
    pixels = np.array([0, 128, 255], np.uint8).reshape(1, 1, 1, 3)
    mean, std = (
        np.array(value, np.float32)
        for value in (encoder.preprocessing.mean, encoder.preprocessing.std)
    )
    expected = (pixels.astype(np.float32) / 255 - mean) / std
    assert np.abs(np.asarray(encoder.normalize(pixels)) - expected).max() <= 1e-6
    assert (name == "dino") == (encoder.preprocessing.mean == (0.485, 0.456, 0.406))


def test_representations_of_an_encoder_without_prefix():
    pool = ProjectorConfig("attention_pool", out=24, hidden=(24,), num_heads=2)
    encoder = random_encoder("siglip", ViTConfig(**BODY, prefix=(), projector=pool))
    names = ("embedding", "projection", "block0/embedding")
    check_representations(encoder, names)
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 42, 3)).astype(np.uint8)
    out = represent(encoder, images, names=names)
    assert all(value.shape == (2, 24) for value in out.values())
    blocks = encoder(encoder.normalize(images), blocks=True)["blocks"]
    np.testing.assert_allclose(out["block0/embedding"], blocks[0].mean(axis=1), atol=1e-5)
    for name in ("cls_token", "block0/cls_token"):
        sentence = f"no representation '{name}'; choose from embedding, projection, block0/emb"
        with pytest.raises(jaxpart.JaxpartError, match=sentence):
            check_representations(encoder, (name,))


def test_registers_are_neither_patches_nor_cls():
    prefix = ("cls", "register1", "register2")
    encoder = random_encoder("dinov2", ViTConfig(**BODY, prefix=prefix))
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 42, 3)).astype(np.uint8)
    names = ("embedding", "cls_token", "block1/register2_token", "block1/embedding")
    out = represent(encoder, images, names=names)
    full = encoder(encoder.normalize(images), blocks=True)
    assert full["tokens"].shape == (2, 3 + 2 * 3, 24)
    np.testing.assert_allclose(out["embedding"], full["tokens"][:, 3:].mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(out["cls_token"], full["tokens"][:, 0], atol=1e-5)
    last = full["blocks"][1]
    np.testing.assert_allclose(out["block1/register2_token"], last[:, 2], atol=1e-5)
    np.testing.assert_allclose(out["block1/embedding"], last[:, 3:].mean(axis=1), atol=1e-5)


def test_rotary_heads_of_odd_width_are_told():
    with pytest.raises(
        jaxpart.JaxpartError, match="rotary positions need heads of a multiple of 4"
    ):
        ViTConfig(**BODY | {"width": 20}, rotary="dinov3")


def test_folders_written_before_a_field_came_load(tmp_path):
    encoder = random_encoder("dino", ViTConfig(**BODY))
    arrays = arrays_of(encoder.vit)
    config, preprocessing = encoder.config, encoder.preprocessing
    write_encoder(tmp_path, "dino", config, preprocessing, arrays, {})
    about = json.loads((tmp_path / "encoder.json").read_text())
    for name in (*("rotary", "norm", "norm_epsilon", "activation", "gated_mlp", "pre_norm"),
                 *("biases", "stem_bias", "stem_norm", "mlp_norm", "attention_norm")):  # fmt: skip
        del about["architecture"][name]
    write_json(tmp_path / "encoder.json", about)
    assert jaxpart.load_encoder(tmp_path).config == config
