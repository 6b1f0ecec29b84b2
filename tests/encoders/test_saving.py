"""Encoders are written as they are, trained further or not, and their weights for PyTorch."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from flax import nnx

import jaxpart
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.loading import random_encoder, read_about
from jaxpart.encoders.projectors import ProjectorConfig
from jaxpart.encoders.weights import arrays_of
from jaxpart.export.__main__ import main
from jaxpart.io.checkpoints import save_arrays
from jaxpart.io.files import write_json

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


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"depth": 1000000}, "depth is 1000000; give a number from 1 to 256"),
        ({"depth": "4"}, "depth is '4'"),
        ({"width": 0}, "width is 0; give"),
        ({"num_heads": 0}, "num_heads is 0; give"),
        ({"image_size": [16]}, r"image_size is \[16\]"),
        ({"image_size": [1 << 30, 8]}, "give at most 65536 pixels a side"),
        ({"prefix": [["cls"]]}, r"prefix is \['cls'\]"),
        ({"layer_scale": [1]}, r"layer_scale is \[1\]"),
        ({"positions": "x"}, "positions is 'x'"),
        ({"norm_epsilon": "a"}, "norm_epsilon is 'a'"),
        ({"colour": 1}, "architecture has colour, which is unknown"),
        (
            {"projector": {"kind": "classifier", "out": 3, "heads": 10**6}},
            "projector's heads is 1000000",
        ),
        (
            {"projector": {"kind": "attention_pool", "out": 3, "hidden": [3], "num_heads": 0}},
            "num_heads is 0",
        ),
        ({"mlp_width": 25}, "do not fit the architecture at blocks.0.mlp.fc1.bias, "),
    ],
)
def test_what_no_architecture_is(change, sentence, encoder, tmp_path):
    jaxpart.save_encoder(encoder, tmp_path / "out")
    about = read_about(tmp_path / "out")
    changed = about | {"architecture": about["architecture"] | change}
    write_json(tmp_path / "out/encoder.json", changed)
    with pytest.raises(jaxpart.JaxpartError, match=rf"damaged \(.*{sentence}.*\); convert"):
        jaxpart.load_encoder(tmp_path / "out")
    for change in ({"preprocessing": {"mean": "abc"}}, {"preprocessing": 5}, {"family": 5}):
        write_json(tmp_path / "out/encoder.json", about | change)
        with pytest.raises(jaxpart.JaxpartError, match=r"json is damaged \(.* is .*\); convert"):
            jaxpart.load_encoder(tmp_path / "out")


def test_shapes_are_compared_before_anything_is_read(encoder, tmp_path, monkeypatch):
    jaxpart.save_encoder(encoder, tmp_path / "out")
    stored = arrays_of(encoder.vit) | {"positions": np.zeros((99, 12), np.float32)}
    shutil.rmtree(tmp_path / "out/weights")
    save_arrays(tmp_path / "out/weights", stored)
    monkeypatch.delattr("orbax.checkpoint.Checkpointer.restore")
    with pytest.raises(jaxpart.JaxpartError, match="do not fit the architecture at positions"):
        jaxpart.load_encoder(tmp_path / "out")


def test_weights_for_pytorch(encoder, tmp_path, capsys):
    safetensors = pytest.importorskip("safetensors.numpy")
    head = ProjectorConfig("bottleneck", out=6, hidden=(5,), bottleneck=4)
    with_head = random_encoder("dino", dataclasses.replace(CONFIG, projector=head))
    jaxpart.save_encoder(with_head, tmp_path / "encoder")
    out = tmp_path / "model.safetensors"
    assert main(["weights", str(tmp_path / "encoder"), str(out), "--layout", "timm"]) == 0
    said = capsys.readouterr().out
    assert "create the model with: 3 heads, patches of 8, 16 × 16 pixels, eps 1e-06, gelu" in said
    assert "\nin timm: timm.models.VisionTransformer(img_size=(16, 16), patch_size=8" in said
    assert "left out: projector.head" in said
    assert safetensors.load_file(out)["blocks.0.attn.qkv.weight"].shape == (36, 12)
    for arguments, sentence in (
        ([str(tmp_path / "encoder"), "model.pth"], "use a name that ends"),
        ([str(tmp_path / "none"), "a.safetensors"], "not a converted encoder"),
    ):
        assert main(["weights", *arguments, "--layout", "timm"]) == 2
        assert sentence in capsys.readouterr().err
