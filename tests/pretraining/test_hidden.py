"""Predictions of hidden patches: each image's own, whatever is hidden in those beside it."""

import dataclasses

import jax
import numpy as np
import programs
import pytest
from flax import nnx
from tiny_folders import SIZE, TOKENS, tiny_folder

import jaxpart
from jaxpart.encoders.small import small_config
from jaxpart.encoders.vit import ViT
from jaxpart.errors import JaxpartError
from jaxpart.pretraining import mae
from jaxpart.pretraining.decoders import load_decoder
from jaxpart.pretraining.encode import encode
from jaxpart.pretraining.masked_prediction import KINDS, load_predictor

TOLERANCE = 1e-5
GIVEN = {"mae": ("pixels",), "beit": ("logits",), "cae": ("logits", "latents", "targets")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", GIVEN)
def test_images_are_independent(kind, tmp_path):
    folder = tiny_folder(tmp_path / kind, kind)
    predictor = load_predictor(jaxpart.load_encoder(folder), folder)
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    mask = np.zeros((3, 16), bool)
    mask[0, 2:5] = mask[1, 1:6] = mask[2, 9:12] = True
    found, turned = predictor(images, mask), predictor(images[::-1], mask[::-1])
    assert {key for key, value in vars(found).items() if value is not None} == set(GIVEN[kind])
    for key in GIVEN[kind]:
        ours, other = getattr(found, key), getattr(turned, key)[::-1]
        assert np.array_equal(np.isfinite(ours).all(axis=-1), mask)
        assert np.abs(ours - other)[mask].max() <= TOLERANCE
    if kind == "mae":
        vit, decoder = predictor.encoder.model, load_decoder(tmp_path / kind)
        normal = predictor.encoder.normalize(images[1:2])
        direct = nnx.jit(mae.reconstruct, static_argnums=4)(vit, decoder, normal, mask[1:2], 5)
        assert np.abs(found.pixels[1] - direct[0])[mask[1]].max() <= TOLERANCE
        with pytest.raises(JaxpartError, match="mask 2 hides 0 of 16 patches; hide some, not all"):
            predictor(images, mask & (np.arange(3) < 2)[:, None])
        with pytest.raises(JaxpartError, match="give one of 16 patches for each of 3 images"):
            predictor(images, mask[:1])
    assert (predictor.codebook is None) == (kind == "mae")
    if kind == "cae":
        assert predictor.codebook.shape == (TOKENS, 192)


@pytest.mark.slow
@pytest.mark.parametrize("left_out", [True, False])
def test_a_convolutional_stem_does_not_see_hidden_patches(left_out):
    config = dataclasses.replace(
        small_config("mae"), image_size=(SIZE, SIZE), patch_size=8, width=16, depth=1, mlp_width=16
    )
    assert config.stem == "conv"
    vit = ViT(config, rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    images = random.normal(size=(2, SIZE, SIZE, 3)).astype(np.float32)
    mask = np.arange(16) % 3 == np.array([[0], [1]])
    side = config.patch_size
    pixels = np.kron(mask.reshape(2, 4, 4), np.ones((1, side, side)))[..., None] > 0
    others = np.where(pixels, random.normal(size=images.shape), images).astype(np.float32)
    given = (
        {"visible": np.stack([np.flatnonzero(~row)[:10] for row in mask])}
        if left_out
        else {"hidden": (mask, np.zeros(16, np.float32))}
    )
    seen, again = (encode(vit, pictures, **given) for pictures in (images, others))
    np.testing.assert_array_equal(seen, again)
    assert np.abs(encode(vit, images) - encode(vit, others)).max() > 0.01


@pytest.mark.parametrize("kind", GIVEN)
def test_every_product_states_the_reference(kind, tmp_path):
    folder = tiny_folder(tmp_path / kind, kind)
    encoder, decoder = jaxpart.load_encoder(folder), load_decoder(folder)
    images = np.zeros((2, SIZE, 2 * SIZE, 3), np.float32)  # positions are resized
    mask = np.arange(32) < 5

    def predict(images):
        return KINDS[kind](encoder.model, decoder, images, np.stack([mask, mask]), 5)

    program = jax.make_jaxpr(predict)(images)
    assert programs.precisions(program) == {(jax.lax.Precision.HIGHEST,) * 2}
