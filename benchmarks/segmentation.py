"""Linear segmentation against plain PyTorch: python -m benchmarks segmentation

One small ViT with the same weights on both sides, crops of 512 pixels, 209 classes (ADE20K-Part).
Training: frozen encoder, 1×1 head on four blocks, loss over all pixels, AdamW. Test: sliding windows over
images of several sizes, merged, resized to the original size, and accumulated in a confusion matrix.
Memory: loss and gradient from logits at feature resolution, peak above what the process held before.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from benchmarks import torch_segmentation as twin
from benchmarks.timing import (
    Row,
    faster,
    forget_peak,
    in_fresh_process,
    medians,
    memory,
    share,
    value,
)
from benchmarks.upsampling import upsample
from jaxpart import devices
from jaxpart.data.images import normalize
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.vit import ViTConfig
from jaxpart.labels import IGNORE
from jaxpart.probes.pixel import PixelHeads, optimizer, paper_blocks
from jaxpart.probes.pixel_loss import pixel_cross_entropy
from jaxpart.tasks.segmentation.heads import Readers, training_program, window_logits
from jaxpart.tasks.segmentation.sliding import LabelledImage, SlidingWindow, evaluate

BLOCKS = paper_blocks(12)
WIDTH, CLASSES = 192, 209
SIZES = [(512, 683, 480, 640), (683, 512, 640, 480), (512, 768, 683, 1024), (512, 512, 256, 256)]
"""Heights and widths of the resized test images, then of the originals."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes of the benchmark: `batch` for training, `images` for testing."""

    crop: int = 512
    stride: int = 341
    batch: int = 4
    images: int = len(SIZES)
    runs: int = 3

    @property
    def grid(self) -> tuple[int, int]:
        return self.crop // 16, self.crop // 16


def plain_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The loss with full-size logits, in JAX."""
    likelihood = jax.nn.log_softmax(upsample(logits, labels.shape[1:]))
    valid = labels != IGNORE
    picked = jnp.take_along_axis(likelihood, jnp.where(valid, labels, 0)[..., None], -1)
    return jnp.where(valid, -picked[..., 0], 0).mean()


def compiled_memory(loss, crop: int, grid: tuple[int, int]) -> float:
    """GiB of temporaries for loss and gradient at the paper's batch size of 16."""
    shapes = (
        jax.ShapeDtypeStruct((16, *grid, CLASSES), jnp.float32),
        jax.ShapeDtypeStruct((16, crop, crop), jnp.int32),
    )
    compiled = jax.jit(jax.value_and_grad(loss)).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**30


def loss_memory(side: str, setting: Setting) -> float:
    """GiB that loss and gradient add to this process, which must be fresh (Linux)."""
    shape = (setting.batch, setting.crop, setting.crop)
    labels = np.random.default_rng(0).integers(0, CLASSES, shape)
    logits = np.zeros((setting.batch, *setting.grid, CLASSES), np.float32)
    if side == "ours":
        arrays = jnp.asarray(logits), jnp.asarray(labels, "int32")
        step = jax.jit(jax.value_and_grad(pixel_cross_entropy)).lower(*arrays).compile()
        forget_peak()
        before = memory("VmRSS")
        jax.block_until_ready(step(*arrays))
    else:
        tensor = torch.from_numpy(logits).permute(0, 3, 1, 2).requires_grad_()
        targets = torch.from_numpy(labels)
        forget_peak()
        before = memory("VmRSS")
        twin.loss(tensor, targets).backward()
    return memory() - before


def training(encoder, heads, random, setting: Setting) -> tuple[dict[str, float], float]:
    """Median seconds of both sides' training step, and the largest difference between their losses."""
    shape = (setting.batch, setting.crop, setting.crop)
    pixels = random.integers(0, 256, (*shape, 3)).astype(np.uint8)
    labels = random.integers(0, CLASSES, shape)
    labels[random.random(labels.shape) < 0.2] = IGNORE
    rate = 1e-3
    state, step = training_program(encoder, heads, optimizer(lambda _: rate))
    sizes = np.full((setting.batch, 2), setting.crop, np.int32)
    batch = {"image": pixels, "label": labels.astype(np.uint8), "size": sizes}
    batch = devices.shard(batch)
    backbone = twin.Backbone(encoder, BLOCKS)
    head = torch_head(heads)
    adamw = torch.optim.AdamW(head.parameters(), lr=rate, betas=(0.9, 0.999), weight_decay=0.05)
    theirs = torch_pixels(encoder, pixels)
    their_targets = twin.tensor(labels)
    losses: dict[str, list[float]] = {"ours": [], "published": []}

    def ours() -> None:
        nonlocal state
        state, metrics = step(state, batch)
        losses["ours"].append(float(metrics["loss"][0]))

    def published() -> None:
        adamw.zero_grad()
        loss = twin.loss(head(backbone(theirs)), their_targets)
        loss.backward()
        adamw.step()
        losses["published"].append(loss.item())

    ours(), published()
    seconds = medians(setting.runs, ours=ours, published=published)
    return seconds, float(np.abs(np.subtract(*losses.values())).max())


def testing(encoder, heads, random, setting: Setting) -> tuple[dict[str, float], float]:
    """Median seconds of both sides' test, and the fraction of pixels in other confusion matrix cells."""
    images = []
    for index, (height, width, rows, columns) in enumerate(SIZES[: setting.images]):
        image = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        label = random.integers(0, CLASSES, (rows, columns))
        images.append(LabelledImage(f"image {index}", image, label.astype(np.uint8)))
    logits = window_logits(encoder, Readers([heads]))
    crop, stride = setting.crop, setting.stride
    sliding = SlidingWindow(crop, stride, batch=2)
    backbone, head = twin.Backbone(encoder, BLOCKS), torch_head(heads)
    theirs = [
        (torch_pixels(encoder, image.image[None]), twin.tensor(image.label)) for image in images
    ]
    matrices = {}

    def ours() -> None:
        matrices["ours"] = sum(evaluate(logits, images, sliding))[0]

    def published() -> None:
        matrices["published"] = sum(
            twin.test_image(backbone, head, *sample, crop, stride).numpy() for sample in theirs
        )

    ours(), published()
    seconds = medians(setting.runs, ours=ours, published=published)
    moved = np.abs(matrices["ours"] - matrices["published"]).sum() / 2
    return seconds, float(moved / matrices["ours"].sum())


def torch_pixels(encoder, images: np.ndarray) -> torch.Tensor:
    values = normalize(images, encoder.preprocessing.mean, encoder.preprocessing.std)
    return twin.tensor(values).permute(0, 3, 1, 2).contiguous()


def torch_head(heads: PixelHeads) -> torch.nn.Conv2d:
    head = torch.nn.Conv2d(len(BLOCKS) * WIDTH, CLASSES, 1)
    kernel = twin.tensor(heads.heads[0].kernel[...]).T[:, :, None, None].contiguous()
    head.load_state_dict({"weight": kernel, "bias": twin.tensor(heads.heads[0].bias[...])})
    return head


def rows(quick: bool) -> list[Row]:
    setting = Setting(64, 48, 1, 1, 1) if quick else Setting()
    crop = setting.crop
    config = ViTConfig(
        image_size=(crop, crop), width=WIDTH, depth=12, num_heads=3, mlp_width=4 * WIDTH
    )
    encoder = devices.replicate(random_encoder("deit", config))
    heads = PixelHeads({"paper": BLOCKS}, WIDTH, CLASSES, rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    train, loss_difference = training(encoder, heads, random, setting)
    test, moved = testing(encoder, heads, random, setting)
    lean, plain = (
        compiled_memory(loss, crop, setting.grid) for loss in (pixel_cross_entropy, plain_loss)
    )
    ours, torchs = (in_fresh_process(loss_memory, side, setting) for side in ("ours", "published"))
    batch, third = f"batch {setting.batch}", 1 / 3
    return [
        faster(
            f"training step, {batch}", train["ours"], train["published"], "PyTorch eager", goal=1
        ),
        value("largest difference between losses", loss_difference, "", most=1e-4),
        faster(
            f"test, {setting.images} images",
            test["ours"],
            test["published"],
            "PyTorch eager",
            goal=1,
        ),
        value("fraction of pixels predicted differently", moved, ""),
        share("loss, compiled, batch 16", lean, plain, "full-size logits", "GiB", goal=third),
        share(f"loss, measured, {batch}", ours, torchs, "PyTorch eager", "GiB", goal=third),
    ]
