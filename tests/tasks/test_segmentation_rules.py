"""Positions and weight decay in segmentation follow the published code of each method, and are said."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from convert.pipeline import convert
from jaxpart import config as configs
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.loading import load_encoder, random_encoder
from jaxpart.encoders.positions import resize_positions
from jaxpart.encoders.small import small_config
from jaxpart.evaluation import measure, results_text
from jaxpart.runs.paper import METHODS
from jaxpart.runs.progress import Progress
from jaxpart.tasks.segmentation.heads import feature_maps
from jaxpart.tasks.segmentation.rules import decays_bias, described, for_segmentation


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_golden_blocks_at_larger_crops(method, golden, tmp_path):
    """Every block of the published backbones; what training and the sliding test both read."""
    arrays = np.load(golden / f"protocol/segmentation_positions/{method}.npz")
    note = json.loads((golden / f"encoders/{method}/note.json").read_text())
    (source,) = (golden / f"encoders/{method}").glob("*.pth*")
    convert(method, source, tmp_path / method, num_heads=note["arch"]["num_heads"])
    encoder = load_encoder(tmp_path / method)
    sides = sorted({int(key.split("_")[1]) for key in arrays.files if key.startswith("pixels")})
    assert {128, 160} <= set(sides)
    depth = encoder.config.depth
    for side in sides:
        pixels = arrays[f"pixels_{side}"]
        sizes = np.full((len(pixels), 2), side, np.int32)
        maps = feature_maps(encoder, pixels, sizes, range(depth))
        tokens = for_segmentation(encoder)(encoder.normalize(jnp.asarray(pixels)), blocks=True)
        for block in range(depth):
            expected = arrays[f"block{block}_{side}"]
            assert np.abs(tokens["blocks"][block] - expected).max() <= 1e-4
            patches = np.asarray(maps[block]).reshape(expected[:, 1:].shape)
            assert np.abs(patches - expected[:, 1:]).max() <= 1e-4


def stored(method):
    """A small encoder of a method whose positions are no sines, so that recomputing them would show."""
    return random_encoder(method, small_config(method))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_stored_positions_are_resized_whatever_the_method_does_itself(method):
    encoder = stored(method)
    ours = for_segmentation(encoder)
    if method == "beit":
        assert ours is encoder
        return
    rule = "bicubic_offset" if method in ("dino", "ibot") else "bicubic"
    images = jnp.zeros((1, 128, 128, 3))
    tokens, grid = ours.model.embed(images)
    without = ours.model.stem(images)
    positions = resize_positions(encoder.model.positions[...][1:], (6, 6), grid, rule)
    np.testing.assert_allclose(tokens[:, 1:], without + positions, atol=1e-6)
    assert dataclasses.replace(ours.config, position_resize="bicubic") == dataclasses.replace(
        encoder.config, position_resize="bicubic"
    )


def test_an_encoder_from_another_layout_follows_the_published_code_too():
    """timm and transformers have rules of their own, which the published code does not know."""
    config = dataclasses.replace(small_config("deit"), position_resize="bicubic_antialias")
    assert for_segmentation(random_encoder("deit", config)).config == small_config("deit")


def test_other_families_keep_their_own_rule():
    config = ViTConfig(image_size=(28, 28), patch_size=14, width=32, depth=1, num_heads=2)
    config = dataclasses.replace(config, position_resize="bicubic_antialias")
    encoder = random_encoder("dinov2", config)
    assert for_segmentation(encoder) is encoder
    options = configs.part_config("ibot", None, projector=True).segmentation
    rotary = dataclasses.replace(config, positions="none", rotary="dinov3")
    said = [described(random_encoder("new", one), options) for one in (config, rotary)]
    assert [one["positions"] for one in said] == [
        "stored positions, antialiased bicubic (its own rule)",
        "rotary (its own rule)",
    ]
    assert {one["weight decay"] for one in said} == {"weights and bias"}


@pytest.mark.slow
def test_beit_mae_and_cae_spare_the_bias():
    spared = {method for method in METHODS if not decays_bias(stored(method))}
    assert spared == {"beit", "mae", "cae"}


@pytest.mark.slow
def test_rules_stand_in_the_result_and_are_shown(tmp_path):
    config = configs.part_config("mocov3", None, projector=True)
    config.tasks = ("segmentation",)
    config.data.num_images = 8
    config.segmentation.update(
        {"sets": ("critters_part",), "train_images": 4, "test_images": 1, "iterations": 1}
        | {"warmup": 0, "batch_size": 4, "readouts": ("paper",), "shares": (), "pictures": 0}
        | {"resize": "pillow"}
    )
    config.segmentation.incontext.images = 0
    results = measure(config, tmp_path, Progress(shown=False))
    assert json.loads((tmp_path / "results.json").read_text())["rules"] == results["rules"]
    assert results["rules"] == {
        "segmentation": {
            "positions": "stored positions, bicubic (as published)",
            "weight decay": "weights and bias",
            "resize": "pillow",
        }
    }
    assert results_text(results).splitlines()[-1] == (
        "segmentation: positions: stored positions, bicubic (as published); weight decay: weights and "
        "bias; resize: pillow"
    )
