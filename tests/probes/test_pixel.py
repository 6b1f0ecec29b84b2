"""The pixel heads: golden gradients, a PyTorch twin of the training, schedule, bad input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxpart.errors import JaxpartError
from jaxpart.labels import IGNORE
from jaxpart.probes.pixel import (
    PixelHead,
    PixelHeads,
    learning_rate,
    optimizer,
    paper_blocks,
    patch_map,
    training,
)
from jaxpart.probes.pixel_loss import pixel_cross_entropy


def blocks_and_labels(count=4, batch=2, grid=(4, 5), width=6, classes=3, patch=8, seed=0):
    random = np.random.default_rng(seed)
    blocks = [
        jnp.asarray(random.normal(size=(batch, *grid, width)), jnp.float32) for _ in range(count)
    ]
    labels = random.integers(0, classes, (batch, grid[0] * patch, grid[1] * patch))
    labels[random.random(labels.shape) < 0.2] = IGNORE
    return blocks, jnp.asarray(labels, jnp.int32)


def test_golden_head(golden):
    arrays = np.load(golden / "protocol/segmentation.npz")
    maps = [jnp.asarray(arrays[f"feature{i}"]).transpose(0, 2, 3, 1) for i in range(4)]
    head = PixelHead(80, 6, rngs=nnx.Rngs(0))
    head.kernel[...] = jnp.asarray(arrays["head_weight"].T)
    head.bias[...] = jnp.asarray(arrays["head_bias"])
    loss, gradient = nnx.value_and_grad(lambda h: pixel_cross_entropy(h(maps), arrays["labels"]))(
        head
    )
    np.testing.assert_allclose(loss, arrays["loss"], atol=1e-6)
    np.testing.assert_allclose(gradient["kernel"][...], arrays["grad_weight"].T, atol=1e-6)
    np.testing.assert_allclose(gradient["bias"][...], arrays["grad_bias"], atol=1e-6)


def test_fresh_head():
    head = PixelHead(512, 200, rngs=nnx.Rngs(0))
    kernel = np.asarray(head.kernel[...])
    assert kernel.shape == (512, 200)
    assert abs(kernel.std() - 0.01) < 1e-4
    assert abs(kernel.mean()) < 1e-4
    assert not head.bias[...].any()


def test_patch_map_drops_the_prefix_and_keeps_the_order():
    tokens = jnp.arange(2 * 8 * 3, dtype=jnp.float32).reshape(2, 8, 3)
    maps = patch_map(tokens, (2, 3))
    assert maps.shape == (2, 2, 3, 3)
    np.testing.assert_array_equal(maps[1, 1, 2], tokens[1, 7])
    np.testing.assert_array_equal(maps[0, 0, 0], tokens[0, 2])


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [
        (12, (3, 5, 7, 11)),
        (24, (7, 11, 15, 23)),
        (11, (3, 5, 7, 10)),
        (6, (1, 2, 3, 5)),
        (2, (0, 1)),
        (1, (0,)),
    ],
)
def test_blocks_of_an_encoder_of_another_depth(depth, blocks):
    assert paper_blocks(depth) == blocks


def test_learning_rate_is_mmcvs():
    iterations, warmup = 160_000, 1500
    ours = learning_rate(iterations)
    for step in (0, 1, 2, 700, 1499, 1500, 1501, 80_000, 159_999, 160_000, 170_000):
        regular = 4e-4 * (1 - min(step, iterations) / iterations)
        k = (1 - step / warmup) * (1 - 1e-6)
        expected = regular * (1 - k) if step < warmup else regular
        np.testing.assert_allclose(ours(jnp.int32(step)), expected, rtol=2e-5, atol=1e-12)
    np.testing.assert_allclose(learning_rate(10, warmup=0)(0), 4e-4, rtol=1e-6)


@pytest.mark.parametrize("decay_bias", [True, False])
def test_training_is_pytorchs(decay_bias):
    torch = pytest.importorskip("torch")
    blocks, labels = blocks_and_labels()
    heads = PixelHeads({"paper": range(4)}, 6, 3, rngs=nnx.Rngs(1))
    weight = np.asarray(heads.heads[0].kernel[...]).T[:, :, None, None]
    theirs = torch.nn.Conv2d(24, 3, 1)
    theirs.load_state_dict({"weight": torch.from_numpy(weight.copy()), "bias": torch.zeros(3)})
    adamw = torch.optim.AdamW(
        [{"params": [theirs.weight]}, {"params": [theirs.bias], "weight_decay": 5.0 * decay_bias}],
        lr=0.01,
        betas=(0.9, 0.999),
        weight_decay=5.0,
    )
    maps = torch.from_numpy(np.concatenate(blocks, -1)).permute(0, 3, 1, 2)
    target = torch.from_numpy(np.array(labels)).long()
    iterations, warmup = 12, 4
    schedule = learning_rate(iterations, peak=0.01, warmup=warmup)
    recipe = optimizer(schedule, weight_decay=5.0, decay_bias=decay_bias)
    state, step = training(heads, recipe)
    step = jax.jit(step)
    for iteration in range(iterations):
        rate = 0.01 * (1 - iteration / iterations)
        if iteration < warmup:
            rate *= 1 - (1 - iteration / warmup) * (1 - 1e-6)
        for group in adamw.param_groups:
            group["lr"] = rate
        full = torch.nn.functional.interpolate(
            theirs(maps), labels.shape[1:], mode="bilinear", align_corners=False
        )
        loss = torch.nn.functional.cross_entropy(
            full, target, ignore_index=IGNORE, reduction="none"
        ).mean()
        adamw.zero_grad()
        loss.backward()
        adamw.step()
        state, losses = step(state, blocks, labels)
        np.testing.assert_allclose(losses, [loss.item()], atol=1e-5)
    trained = nnx.merge(nnx.graphdef(heads), state.heads).heads[0]
    final = theirs.weight.detach().numpy()[:, :, 0, 0].T
    assert np.abs(final - weight[:, :, 0, 0].T).max() > 0.01
    np.testing.assert_allclose(trained.kernel[...], final, atol=1e-5)
    np.testing.assert_allclose(trained.bias[...], theirs.bias.detach().numpy(), atol=1e-5)


def test_heads_trained_together_take_the_steps_that_they_take_alone():
    blocks, labels = blocks_and_labels()
    readouts = {"paper": (0, 1, 2, 3), "block 1": (0,), "block 3": (2,)}
    heads = PixelHeads(readouts, 6, 3, rngs=nnx.Rngs(0))
    recipe = optimizer(learning_rate(6, peak=0.05, warmup=2))

    def train(some_heads):
        state, step = training(some_heads, recipe)
        step = jax.jit(step)
        for _ in range(6):
            state, losses = step(state, blocks, labels)
        return nnx.merge(nnx.graphdef(some_heads), state.heads), losses

    together, losses = train(heads)
    for index, (name, wanted) in enumerate(readouts.items()):
        single = PixelHeads({name: wanted}, 6, 3, rngs=nnx.Rngs(9))
        nnx.update(single.heads[0], nnx.state(heads.heads[index]))
        alone, loss = train(single)
        np.testing.assert_allclose(losses[index], loss[0], atol=1e-6)
        np.testing.assert_allclose(
            together.heads[index].kernel[...], alone.heads[0].kernel[...], atol=1e-6
        )


def test_training_overfits_and_leaves_the_fresh_heads_alone():
    blocks, labels = blocks_and_labels(classes=2, seed=3)
    labels = jnp.where(jnp.arange(labels.shape[2]) < 20, 0, 1) * jnp.ones_like(labels)
    blocks[0] = blocks[0].at[:, :, 3:].add(4.0)
    heads = PixelHeads({"all": range(4)}, 6, 2, rngs=nnx.Rngs(0))
    before = np.array(heads.heads[0].kernel[...])
    state, step = training(heads, optimizer(learning_rate(60, peak=0.1, warmup=5)))
    step = jax.jit(step)
    losses = []
    for _ in range(60):
        state, loss = step(state, blocks, labels)
        losses.append(float(loss[0]))
    assert losses[-1] < 0.2 < losses[0]
    np.testing.assert_array_equal(heads.heads[0].kernel[...], before)


def test_blocks_by_index_need_only_those_that_are_read():
    blocks, _ = blocks_and_labels(12)
    heads = PixelHeads({"paper": paper_blocks(12)}, 6, 3, rngs=nnx.Rngs(0))
    needed = {index: blocks[index] for index in paper_blocks(12)}
    np.testing.assert_array_equal(jax.jit(heads)(needed), jax.jit(heads)(blocks))


@pytest.mark.parametrize("classes", [0, 256, 1000])
def test_number_of_classes_out_of_range(classes):
    with pytest.raises(JaxpartError, match=f"of {classes} classes"):
        PixelHead(8, classes, rngs=nnx.Rngs(0))
