"""Encoders are written as they are, trained further or not, and their weights for PyTorch."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

import jaxpart
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.projectors import ProjectorConfig
from jaxpart.export.__main__ import main

CONFIG = ViTConfig(image_size=(16, 16), patch_size=8, width=12, depth=1, num_heads=3, mlp_width=24)


@pytest.fixture
def encoder():
    return random_encoder("dino", CONFIG)


def test_saved_and_loaded(encoder, tmp_path):
    encoder = dataclasses.replace(encoder, trained=True)
    jaxpart.save_encoder(encoder, tmp_path / "out")
    loaded = jaxpart.load_encoder(tmp_path / "out")
    assert (loaded.digest, loaded.config, loaded.name) == (encoder.digest, CONFIG, "dino")
    assert loaded.trained
    with pytest.raises(jaxpart.JaxpartError, match="exists; name another folder"):
        jaxpart.save_encoder(encoder, tmp_path / "out")


def test_random_weights_stay_untrained(encoder, tmp_path):
    jaxpart.save_encoder(encoder, tmp_path / "out")
    assert not jaxpart.load_encoder(tmp_path / "out").trained


def test_a_model_that_was_trained_on(encoder, tmp_path):
    model = encoder.model
    model.blocks[0].mlp.fc1.bias[...] = jax.numpy.ones(24)
    jaxpart.save_encoder(encoder, tmp_path / "out", model=model)
    loaded = jaxpart.load_encoder(tmp_path / "out")
    assert loaded.digest != encoder.digest
    assert (np.asarray(loaded.model.blocks[0].mlp.fc1.bias[...]) == 1).all()
    assert not (np.asarray(encoder.model.blocks[0].mlp.fc1.bias[...]) == 1).any()  # still frozen
    with pytest.raises(jaxpart.JaxpartError, match="architecture differs from the encoder's"):
        jaxpart.save_encoder(encoder, tmp_path / "b", model=nnx.Linear(2, 2, rngs=nnx.Rngs(0)))


def test_weights_for_pytorch(encoder, tmp_path, capsys):
    safetensors = pytest.importorskip("safetensors.numpy")
    head = ProjectorConfig("bottleneck", out=6, hidden=(5,), bottleneck=4)
    with_head = random_encoder("dino", dataclasses.replace(CONFIG, projector=head))
    jaxpart.save_encoder(with_head, tmp_path / "encoder")
    out = tmp_path / "model.safetensors"
    assert main(["weights", str(tmp_path / "encoder"), str(out), "--layout", "timm"]) == 0
    said = capsys.readouterr().out
    assert "create the model with: 3 heads, patches of 8, 16 × 16 pixels, eps 1e-06, gelu" in said
    assert "left out: projector.head" in said
    assert safetensors.load_file(out)["blocks.0.attn.qkv.weight"].shape == (36, 12)
    for arguments, sentence in (
        ([str(tmp_path / "encoder"), "model.pth"], "use a name that ends"),
        ([str(tmp_path / "none"), "a.safetensors"], "not a converted encoder"),
    ):
        assert main(["weights", *arguments, "--layout", "timm"]) == 2
        assert sentence in capsys.readouterr().err
