"""The sliding-window test over data sets: golden logits, mmseg's way in PyTorch, bad input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpart import devices
from jaxpart.data.segmentation_transforms import inside
from jaxpart.errors import JaxpartError
from jaxpart.metrics.confusion import segmentation_scores
from jaxpart.tasks.segmentation import windows as merging
from jaxpart.tasks.segmentation.sliding import LabelledImage, SlidingWindow, evaluate, predict

PATCH, CLASSES = 16, 5
SETTING = SlidingWindow(crop=64, stride=43, batch=4)


def convolution(weight, images):
    """The golden backbone: a convolution of the patch size and functions of it. NHWC."""
    batch, height, width, _ = images.shape
    cut = images.reshape(batch, height // PATCH, PATCH, width // PATCH, PATCH, 3)
    f = jnp.einsum("bhiwjc,dcij->bhwd", cut, weight, precision="highest")
    return jnp.concatenate([f, jnp.tanh(f), f * f, jnp.sin(f)], -1)


def normalised(images):
    return images.astype(np.float32) / 64 - 2


def make_heads(count=2, dim=6, seed=0):
    """A frozen function of windows with heads, and its parameters."""
    random = np.random.default_rng(seed)
    patch = random.normal(size=(dim, 3, PATCH, PATCH), scale=0.06).astype(np.float32)
    kernels = random.normal(size=(count, 4 * dim, CLASSES)).astype(np.float32)

    @jax.jit
    def window_logits(images, sizes):
        images = jnp.where(inside(sizes, images.shape[1:3]), normalised(images), 0)
        return jnp.einsum("bhwd,ndc->nbhwc", convolution(patch, images), kernels)

    return window_logits, patch, kernels


def make_images(sizes, seed=0):
    random = np.random.default_rng(seed)
    for index, (height, width, rows, columns) in enumerate(sizes):
        label = random.integers(0, CLASSES, (rows, columns))
        label[random.random(label.shape) < 0.2] = 255
        image = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        yield LabelledImage(f"image {index}", image, label.astype(np.uint8))


SIZES = [
    (100, 150, 120, 180),
    (64, 64, 64, 64),
    (64, 131, 40, 70),
    (50, 90, 55, 99),
    (37, 40, 80, 33),
    (150, 64, 300, 128),
]


def mmseg(image, size, patch, kernel):
    """`slide_inference` and argmax in PyTorch, windows clipped to the image."""
    torch = pytest.importorskip("torch")
    interpolate = torch.nn.functional.interpolate
    pixels = torch.from_numpy(normalised(image)).permute(2, 0, 1)[None]
    height, width = image.shape[:2]
    total, count = torch.zeros(1, CLASSES, height, width), torch.zeros(1, 1, height, width)
    for y in range(max(height - 64 + 42, 0) // 43 + 1):
        for x in range(max(width - 64 + 42, 0) // 43 + 1):
            bottom, right = min(y * 43 + 64, height), min(x * 43 + 64, width)
            top, left = max(bottom - 64, 0), max(right - 64, 0)
            crop = pixels[:, :, top:bottom, left:right]
            f = torch.nn.functional.conv2d(crop, torch.from_numpy(patch), stride=PATCH)
            f = torch.cat([f, f.tanh(), f * f, f.sin()], 1)
            logits = torch.einsum("bdhw,dc->bchw", f, torch.from_numpy(kernel))
            total[:, :, top:bottom, left:right] += interpolate(
                logits, crop.shape[2:], mode="bilinear", align_corners=False
            )
            count[:, :, top:bottom, left:right] += 1
    full = interpolate(total / count, size, mode="bilinear", align_corners=False)[0]
    return full.permute(1, 2, 0).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4, 64])
def test_predictions_are_mmsegs_for_any_image_size(batch):
    window_logits, patch, kernels = make_heads()
    tested = 0
    for image, prediction in predict(
        window_logits, make_images(SIZES), SETTING._replace(batch=batch)
    ):
        assert prediction.shape == (2, *image.label.shape)
        for head in range(2):
            expected = mmseg(image.image, image.label.shape, patch, kernels[head])
            best = np.sort(expected, -1)
            clear = best[..., -1] - best[..., -2] > 1e-4
            assert clear.mean() > 0.99
            np.testing.assert_array_equal(prediction[head][clear], expected.argmax(-1)[clear])
        tested += 1
    assert tested == len(SIZES)


@pytest.mark.slow
def test_evaluate_counts_what_predict_predicts():
    window_logits, _, _ = make_heads()
    matrices = list(evaluate(window_logits, make_images(SIZES), SETTING))
    expected = np.zeros((2, CLASSES, CLASSES), np.int64)
    for image, prediction in predict(window_logits, make_images(SIZES), SETTING):
        valid = image.label != 255
        for head in range(2):
            np.add.at(expected[head], (image.label[valid], prediction[head][valid]), 1)
    np.testing.assert_array_equal(sum(matrices), expected)
    assert len(matrices) == len(SIZES)


def test_golden_logits(golden):
    arrays = np.load(golden / "protocol/segmentation.npz")
    image = arrays["slide_image"][0].transpose(1, 2, 0)
    kernel = arrays["head_weight"].T
    boxes = merging.windows((100, 150), 64, 43)
    crops = np.stack([image[top:bottom, left:right] for top, bottom, left, right in boxes])
    features = convolution(arrays["slide_patch_weight"], crops)
    logits = features @ kernel + arrays["head_bias"]
    source = merging.side_by_side(logits.reshape(1, 2, 3, 4, 4, 6))
    for target, name in [((100, 150), "slide_logits"), ((120, 180), "slide_logits_rescaled")]:
        down = merging.axis_weights(100, target[0], 64, 43, 4)
        across = merging.axis_weights(150, target[1], 64, 43, 4)
        ours = merging.full_logits(source, down, across)[0]
        np.testing.assert_allclose(ours, arrays[name][0].transpose(1, 2, 0), atol=1e-5)


def test_the_encoder_sees_one_shape_and_rows_are_compiled_per_bucket():
    window_logits, _, _ = make_heads(count=1)
    shapes = set()

    def seen(images, sizes):
        shapes.add(images.shape)
        return window_logits(images, sizes)

    merging.count_rows.clear_cache()
    sizes = [(64, 100, 90 + k, 130 + k) for k in range(6)]
    list(evaluate(seen, make_images(sizes), SETTING))
    assert shapes == {(4, 64, 64, 3)}
    assert merging.count_rows._cache_size() == 1
    list(evaluate(seen, make_images([(64, 100, 90, 290)]), SETTING))
    assert merging.count_rows._cache_size() == 2


@pytest.mark.slow
def test_one_device_and_four_give_the_same(monkeypatch):
    window_logits, _, _ = make_heads()
    four = list(evaluate(window_logits, make_images(SIZES), SETTING))
    alone = jax.make_mesh((1, 1), ("data", "model"), devices=jax.devices()[1:2])
    monkeypatch.setattr(devices, "mesh", lambda: alone)
    np.testing.assert_array_equal(list(evaluate(window_logits, make_images(SIZES), SETTING)), four)


def test_every_pixel_ignored_counts_nothing():
    window_logits, _, _ = make_heads()
    (image,) = make_images(SIZES[:1])
    image.label[:] = 255
    (matrices,) = evaluate(window_logits, [image], SETTING)
    assert not matrices.any()
    assert np.isnan(segmentation_scores(matrices[0]).mean_iou)


def test_hardly_any_image():
    window_logits, _, _ = make_heads()
    thin = LabelledImage("thin", np.zeros((64, 15, 3), np.uint8), np.zeros((64, 15), np.uint8))
    with pytest.raises(JaxpartError, match="15 pixels is smaller than one patch of 16"):
        list(predict(window_logits, [thin], SETTING))
