"""A wide projection by few channels: the same inner products, of any rank, with and without a bias."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.encoders.projectors import ProjectorConfig
from jaxpart.encoders.sharding import put_on_devices

WIDE = {
    "bottleneck": ProjectorConfig(
        "bottleneck", out=300, hidden=(16, 16), bottleneck=12, patch_out=40
    ),
    "classifier": ProjectorConfig("classifier", out=200),
    "classifier without bias": ProjectorConfig("classifier", out=200, bias=False),
    "mlp_bn": ProjectorConfig("mlp_bn", out=150, hidden=(16,)),
}
NARROW = {
    "none": None,
    "narrow": ProjectorConfig("classifier", out=24),
    "no wider with its bias": ProjectorConfig("classifier", out=25),
    "two classifiers": ProjectorConfig("classifier", out=200, heads=2),
    "a predictor follows": ProjectorConfig("mlp_bn", out=150, hidden=(16,), predictor=8),
    "an MLP follows": ProjectorConfig("attention_pool", out=24, hidden=(8,), num_heads=3),
}


def encoder_with(projector, *, rank=None):
    """A tiny encoder; all arrays are random, the widest kernel of a given rank."""
    heads = projector.heads if projector else 1
    config = ViTConfig(
        image_size=(16, 16),
        patch_size=8,
        width=24,
        depth=1,
        num_heads=3,
        mlp_width=24,
        prefix=("cls", "dist")[:heads],
        projector=projector,
    )
    encoder = random_encoder("dino", config)
    rng = np.random.default_rng(1)
    for path, leaf in nnx.to_flat_state(nnx.state(encoder.vit)):
        if path[0] != "projector":
            continue
        drawn = rng.normal(size=leaf[...].shape)
        if path[-1] == "var":
            drawn = rng.uniform(0.5, 2, drawn.shape)
        if rank and path[-1] == "kernel" and drawn.shape[1] == projector.out:
            drawn = rng.normal(size=(len(drawn), rank)) @ rng.normal(size=(rank, projector.out))
        leaf.set_value(jnp.asarray(drawn, jnp.float32))
    return encoder


def outputs(encoder):
    pixels = np.random.default_rng(2).integers(0, 256, (9, 16, 16, 3)).astype(np.uint8)
    return encoder(encoder.normalize(pixels), blocks=True)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [None, 5])
@pytest.mark.parametrize("kind", WIDE)
def test_inner_products_are_the_same(kind, rank):
    encoder = encoder_with(WIDE[kind], rank=rank)
    few = narrowed(encoder)
    ours, theirs = outputs(few), outputs(encoder)
    inputs = {"bottleneck": 12, "mlp_bn": 17, "classifier": 25}.get(kind, 24)
    assert ours["projection"].shape == (9, inputs)
    assert few.config.projector.out == inputs
    exact = [np.asarray(out["projection"], np.float64) for out in (ours, theirs)]
    products = [rows @ rows.T for rows in exact]
    assert np.abs(products[0] - products[1]).max() <= 2e-6 * np.abs(products[1]).max()
    for name in ("tokens", "embedding", "cls_token"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    if theirs["projector"]:
        np.testing.assert_array_equal(ours["projector"][-1], ours["projection"])
        np.testing.assert_array_equal(ours["projector"][-2], theirs["projector"][-2])
    assert (few.name, few.digest, few.trained) == (encoder.name, encoder.digest, False)


@pytest.mark.parametrize("kind", NARROW)
def test_others_are_left_as_they_are(kind):
    encoder = encoder_with(NARROW[kind])
    assert narrowed(encoder) is encoder


def test_the_root_does_not_depend_on_how_rows_are_turned():
    """What another LAPACK may do to eigenvectors, and what a kernel of permuted channels has."""
    encoder = encoder_with(WIDE["bottleneck"])
    other = dataclasses.replace(encoder, vit=nnx.clone(encoder.vit))
    last = other.vit.projector.head.last.kernel
    last.set_value(last[...][:, ::-1])
    roots = [np.asarray(narrowed(e).vit.projector.head.last.kernel[...]) for e in (encoder, other)]
    np.testing.assert_allclose(*roots, rtol=0, atol=1e-5)


def test_on_several_devices():
    encoder = encoder_with(WIDE["bottleneck"])
    few = narrowed(put_on_devices(encoder))
    kernel = few.vit.projector.head.last.kernel[...]
    assert kernel.sharding.device_set == set(jax.devices())
    expected = outputs(narrowed(encoder))["projection"]
    np.testing.assert_allclose(outputs(few)["projection"], expected, rtol=0, atol=1e-5)
