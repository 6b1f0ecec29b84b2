"""The pixel loss by rows against the plain computation, PyTorch and the golden arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.upsampling import upsample
from jaxpart.labels import IGNORE
from jaxpart.probes.pixel_loss import pixel_cross_entropy


def value_and_grad(loss):
    return jax.jit(jax.value_and_grad(loss))


def plain(logits, labels):
    """What the paper's code does: full-size logits, then the loss."""
    likelihood = jax.nn.log_softmax(upsample(logits, labels.shape[1:]))
    valid = labels != IGNORE
    picked = jnp.take_along_axis(likelihood, jnp.where(valid, labels, 0)[..., None], -1)
    return jnp.where(valid, -picked[..., 0], 0).mean()


def sample(batch=2, height=4, width=5, classes=7, rows=64, columns=80, scale=3.0, seed=0):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(batch, height, width, classes), scale=scale)
    labels = random.integers(0, classes, (batch, rows, columns))
    labels[random.random(labels.shape) < 0.2] = IGNORE
    return jnp.asarray(logits, jnp.float32), jnp.asarray(labels, jnp.int32)


def assert_same(ours, theirs):
    """Loss to 1e-5, and the gradient to 1e-5 of its own largest entry: it is small itself."""
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)
    size = float(jnp.abs(theirs[1]).max())
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-5 * size)


@pytest.mark.slow
@pytest.mark.parametrize("block_rows", [None, 1, 3, 1000])
def test_any_block_gives_the_plain_loss_and_gradient(block_rows):
    logits, labels = sample()
    ours = value_and_grad(lambda z: pixel_cross_entropy(z, labels, block_rows=block_rows))
    assert_same(ours(logits), value_and_grad(plain)(logits, labels))
    # Without a gradient another program runs.
    np.testing.assert_allclose(
        pixel_cross_entropy(logits, labels, block_rows=block_rows), plain(logits, labels), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grid", "size", "block_rows"),
    [((1, 1), (1, 1), 1), ((1, 6), (40, 7), 9), ((6, 1), (5, 33), 2), ((5, 3), (23, 40), 4)],
)
def test_any_sizes_give_the_plain_loss_and_gradient(grid, size, block_rows):
    logits, labels = sample(2, *grid, 3, *size)
    ours = value_and_grad(lambda z: pixel_cross_entropy(z, labels, block_rows=block_rows))
    theirs = value_and_grad(plain)(logits, labels)
    loss, gradient = ours(logits)
    np.testing.assert_allclose(loss, theirs[0], atol=1e-5)
    np.testing.assert_allclose(gradient, theirs[1], atol=1e-6)


def test_large_logits_neither_overflow_nor_vanish():
    logits, labels = sample(scale=1000.0)
    ours = value_and_grad(lambda z: pixel_cross_entropy(z, labels))(logits)
    theirs = value_and_grad(plain)(logits, labels)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-6)


def test_pytorch_twin():
    torch = pytest.importorskip("torch")
    logits, labels = sample(3, 5, 7, 11, 50, 90)
    theirs = torch.from_numpy(np.array(logits)).permute(0, 3, 1, 2).requires_grad_()
    full = torch.nn.functional.interpolate(
        theirs, labels.shape[1:], mode="bilinear", align_corners=False
    )
    loss = torch.nn.functional.cross_entropy(
        full, torch.from_numpy(np.array(labels)).long(), ignore_index=IGNORE, reduction="none"
    ).mean()
    (gradient,) = torch.autograd.grad(loss, theirs)
    ours = value_and_grad(lambda z: pixel_cross_entropy(z, labels, block_rows=8))(logits)
    assert_same(ours, (loss.item(), gradient.permute(0, 2, 3, 1).numpy()))


def test_golden_loss_and_gradients(golden):
    arrays = np.load(golden / "protocol/segmentation.npz")
    features = np.concatenate([arrays[f"feature{i}"] for i in range(4)], 1).transpose(0, 2, 3, 1)

    def loss(parameters):
        weight, bias = parameters
        return pixel_cross_entropy(features @ weight.T + bias, arrays["labels"], block_rows=5)

    value, (weight, bias) = value_and_grad(loss)((arrays["head_weight"], arrays["head_bias"]))
    np.testing.assert_allclose(value, arrays["loss"], atol=1e-6)
    np.testing.assert_allclose(weight, arrays["grad_weight"], atol=1e-6)
    np.testing.assert_allclose(bias, arrays["grad_bias"], atol=1e-6)


def test_heads_are_separate_and_vmap_agrees():
    _, labels = sample()
    heads = jnp.stack([sample(seed=seed)[0] for seed in range(3)])
    together = pixel_cross_entropy(heads, labels, block_rows=16)
    assert together.shape == (3,)
    alone = jnp.stack([pixel_cross_entropy(head, labels) for head in heads])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(
        jax.vmap(lambda head: pixel_cross_entropy(head, labels))(heads), alone, atol=1e-6
    )
    weight = jnp.asarray([1.0, 0.0, -2.0])
    _, gradient = value_and_grad(lambda z: (weight * pixel_cross_entropy(z, labels)).sum())(heads)
    theirs = value_and_grad(plain)
    expected = jnp.stack([theirs(head, labels)[1] for head in heads])
    np.testing.assert_allclose(gradient, weight[:, None, None, None, None] * expected, atol=1e-7)


def test_a_batch_spread_over_devices_gives_the_same():
    logits, labels = sample(batch=4)
    mesh = Mesh(np.asarray(jax.devices()[:4]), "data")
    spread = NamedSharding(mesh, PartitionSpec("data"))
    compute = value_and_grad(lambda z, y: pixel_cross_entropy(z, y, block_rows=8))
    ours = compute(jax.device_put(logits, spread), jax.device_put(labels, spread))
    assert_same(ours, compute(logits, labels))
    assert len(ours[1].sharding.device_set) == 4
    assert not ours[1].sharding.is_fully_replicated


def test_memory_stays_below_a_third_of_the_plain_way():
    logits, labels = sample(2, 8, 8, 60, 128, 128)

    def temporary(loss):
        compiled = value_and_grad(loss).lower(logits, labels).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    lean = temporary(lambda z, y: pixel_cross_entropy(z, y, block_rows=8))
    assert lean * 3 < temporary(plain)
    # The default bounds the block: at the paper's size it is far below one full copy.
    paper = (
        jax.ShapeDtypeStruct((16, 32, 32, 209), jnp.float32),
        jax.ShapeDtypeStruct((16, 512, 512), jnp.int32),
    )
    compiled = value_and_grad(pixel_cross_entropy).lower(*paper).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 16 * 512 * 512 * 209 * 4 / 10


def test_every_pixel_ignored_is_zero_with_a_zero_gradient():
    logits, labels = sample()
    loss, gradient = value_and_grad(pixel_cross_entropy)(logits, jnp.full_like(labels, IGNORE))
    assert loss == 0
    assert not gradient.any()


@pytest.mark.parametrize("label", [7, 254, -1, 256])
def test_a_label_that_is_no_class_makes_the_loss_nan(label):
    logits, labels = sample()
    assert jnp.isnan(pixel_cross_entropy(logits, labels.at[0, 3, 5].set(label)))
