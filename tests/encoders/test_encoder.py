"""The public encoder: what it takes, what it returns, and when it compiles."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

from jaxpart.encoders import encoder as encoder_module
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.small import small_config
from jaxpart.encoders.stems import ConvStem
from jaxpart.encoders.vit import ViTConfig, abstract_vit
from jaxpart.errors import JaxpartError
from jaxpart.runs.paper import METHODS

IMAGES = np.random.default_rng(0).normal(size=(2, 96, 96, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def ibot():
    return random_encoder("ibot", small_config("ibot"))


@pytest.mark.parametrize("method", METHODS)
def test_outputs(method):
    encoder = random_encoder(method, small_config(method))
    out = encoder(IMAGES, blocks=True)
    assert out["tokens"].shape == (2, 37, 128)
    assert out["embedding"].shape == out["cls_token"].shape == (2, 128)
    assert len(out["blocks"]) == encoder.config.depth
    np.testing.assert_allclose(out["tokens"][:, 1:].mean(axis=1), out["embedding"], atol=1e-6)
    np.testing.assert_array_equal(out["tokens"][:, 0], out["cls_token"])
    assert ("projection" in out) == (encoder.config.projector is not None)
    assert ("patch_projection" in out) == (method == "ibot")
    assert not encoder.trained
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(out))


def test_a_predictor_s_output_is_the_prediction():
    config = small_config("mocov3")
    projector = dataclasses.replace(config.projector, predictor=32)
    assert "prediction" not in random_encoder("mocov3", config)(IMAGES)
    encoder = random_encoder("mocov3", dataclasses.replace(config, projector=projector))
    out = encoder(IMAGES, blocks=True)
    assert [layer.shape for layer in out["predictor"]] == [(2, 32), (2, 64)]
    np.testing.assert_array_equal(out["prediction"], out["predictor"][-1])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_other_sizes(method):
    encoder = random_encoder(method, small_config(method))
    tokens = encoder(np.zeros((1, 80, 192, 3), np.float32))["tokens"]
    assert tokens.shape == (1, 5 * 12 + 1, 128)


def test_compiled_once_per_shape(ibot):
    before = encoder_module._forward._cache_size()
    for _ in range(3):
        ibot(IMAGES[:1])
    assert encoder_module._forward._cache_size() == before + 1


@pytest.mark.slow
def test_inside_a_users_own_jit(ibot):
    embed = jax.jit(lambda encoder, images: encoder(images)["embedding"])
    np.testing.assert_allclose(embed(ibot, IMAGES), ibot(IMAGES)["embedding"], atol=1e-5)
    gradient = jax.grad(lambda images: ibot(images)["embedding"].sum())(jnp.asarray(IMAGES))
    assert gradient.shape == IMAGES.shape


@pytest.mark.slow
def test_exported_for_batches_of_any_size(ibot):
    (batch,) = export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, *IMAGES.shape[1:]), jnp.float32)
    embed = jax.jit(lambda images: ibot(images)["embedding"])
    program = export.export(embed, platforms=["cpu", "tpu"])(shape)
    for images in (IMAGES, np.concatenate([IMAGES] * 3)):
        expected = ibot(images)["embedding"]
        np.testing.assert_allclose(program.call(images), expected, rtol=0, atol=1e-5)


def test_repr_says_what_an_encoder_is_in_a_few_lines(ibot):
    shown = repr(ibot)
    assert len(shown.splitlines()) < 6
    assert shown.startswith(
        f"Encoder('ibot', UNTRAINED, {sum(leaf.size for leaf in jax.tree.leaves(ibot.vit)):,} parameters"
    )
    assert "'position_resize': 'bicubic_offset'" in shown
    assert "norm_epsilon" not in shown  # its default
    assert ibot.digest in shown
    assert repr(jax.eval_shape(lambda encoder: encoder, ibot)) == shown


def test_normalize(ibot):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    mean, std = (np.array(v, np.float32) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = (pixels.astype(np.float32) / 255 - mean) / std
    assert np.abs(ibot.normalize(pixels) - expected).max() <= 1e-6


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (IMAGES[0], r"give \[batch, height, width, 3\]"),
        (IMAGES[..., :1], r"give \[batch, height, width, 3\]"),
        (IMAGES.astype(np.float16), "give float32"),
        (np.zeros((1, 60, 64, 3), np.float32), "60 × 64 pixels cannot be cut"),
    ],
)
def test_wrong_images(ibot, images, sentence):
    with pytest.raises(JaxpartError, match=sentence):
        ibot(images)
    with pytest.raises(JaxpartError, match="uint8"):
        ibot.normalize(IMAGES)


def test_random_weights_follow_the_seed():
    config = small_config("mae")
    digests = [random_encoder("mae", config, seed=seed).digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "depth", "heads", "millions"),
    [(192, 12, 3, 5.5), (384, 12, 6, 21.7), (768, 12, 12, 85.8), (1024, 24, 16, 303.3),
     (1280, 32, 16, 630.8)],
)  # fmt: skip
def test_sizes_tiny_to_huge(width, depth, heads, millions):
    patch = 14 if width == 1280 else 16
    config = ViTConfig(
        width=width, depth=depth, num_heads=heads, mlp_width=4 * width, patch_size=patch
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(abstract_vit(config)))
    assert count / 1e6 == pytest.approx(millions, abs=0.1)


def test_heads_must_divide_the_width():
    with pytest.raises(JaxpartError, match="cannot be split into 5 heads"):
        dataclasses.replace(small_config("mae"), num_heads=5)
    with pytest.raises(JaxpartError, match="choose from deit"):
        small_config("simclr")


def test_attention_weights_are_shares(ibot):
    weights = ibot(IMAGES, attention=True)["attention"]
    assert weights.shape == (2, 4, 37, 37)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)


def test_a_convolutional_stem_halves_until_a_patch_is_one_token():
    config = ViTConfig(image_size=(32, 32), patch_size=8, width=16, num_heads=2, stem="conv")
    stem = ConvStem(config, rngs=nnx.Rngs(0))
    assert [layer.out_features for layer in stem.convolutions] == [4, 8, 16]
    assert stem(np.zeros((2, 32, 48, 3), np.float32)).shape == (2, 4 * 6, 16)
    with pytest.raises(JaxpartError, match="cannot make patches of 14 pixels; give a power of 2"):
        ViTConfig(image_size=(28, 28), patch_size=14, stem="conv")
