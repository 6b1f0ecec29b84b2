"""Linear segmentation against plain PyTorch: python -m benchmarks.segmentation

One small ViT with the same weights on both sides, crops of 512 pixels, 209 classes (ADE20K-Part).
Training: frozen encoder, 1×1 head on four blocks, loss over all pixels, AdamW. Test: sliding
windows over images of several sizes, merged, resized to the original, counted. Memory: loss and
gradient from logits at feature resolution, peak above what the process holds before it.
"""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from benchmarks import torch_segmentation as twin
from benchmarks.timing import medians, report
from jaxpart import devices
from jaxpart.data.images import normalize
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.vit import ViTConfig
from jaxpart.labels import IGNORE
from jaxpart.probes.pixel import PixelHeads, optimizer, paper_blocks
from jaxpart.probes.pixel_loss import pixel_cross_entropy
from jaxpart.probes.upsampling import upsample
from jaxpart.tasks.segmentation_heads import Readers, training_program, window_logits
from jaxpart.tasks.sliding_inference import SlidingWindow, TestImage, evaluate

CROP, STRIDE, CLASSES, BATCH, RUNS = 512, 341, 209, 4, 3
GRID = (CROP // 16, CROP // 16)
BLOCKS = paper_blocks(12)
WIDTH = 192
SIZES = [(512, 683, 480, 640), (683, 512, 640, 480), (512, 768, 683, 1024), (512, 512, 256, 256)]
"""(height, width) of the resized images and of the original ones."""

MEMORY_CODE = """
import sys
import numpy as np
labels = np.random.default_rng(0).integers(0, {classes}, ({batch}, {crop}, {crop}))
shape = ({batch}, {grid}, {grid}, {classes})
def memory(field):  # GiB; "VmHWM" is the peak of "VmRSS" since it was cleared (Linux)
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**20
if sys.argv[1] == "ours":
    import jax
    from jaxpart.probes.pixel_loss import pixel_cross_entropy
    step = jax.jit(jax.value_and_grad(pixel_cross_entropy)).lower(
        jax.ShapeDtypeStruct(shape, "float32"), jax.ShapeDtypeStruct(labels.shape, "int32")
    ).compile()
    logits, labels = jax.numpy.zeros(shape), jax.numpy.asarray(labels, "int32")
    open("/proc/self/clear_refs", "w").write("5")
    before = memory("VmRSS")
    jax.block_until_ready(step(logits, labels))
else:
    import torch
    from benchmarks.torch_segmentation import loss
    logits = torch.zeros(shape).permute(0, 3, 1, 2).requires_grad_()
    labels = torch.from_numpy(labels)
    open("/proc/self/clear_refs", "w").write("5")
    before = memory("VmRSS")
    loss(logits, labels).backward()
print(memory("VmHWM") - before)
"""


def plain_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The loss with full-size logits, in JAX."""
    likelihood = jax.nn.log_softmax(upsample(logits, labels.shape[1:]))
    valid = labels != IGNORE
    picked = jnp.take_along_axis(likelihood, jnp.where(valid, labels, 0)[..., None], -1)
    return jnp.where(valid, -picked[..., 0], 0).mean()


def compiled_memory(loss) -> float:
    """GiB of temporaries of loss and gradient at the paper's size, batch 16."""
    shapes = (
        jax.ShapeDtypeStruct((16, *GRID, CLASSES), jnp.float32),
        jax.ShapeDtypeStruct((16, CROP, CROP), jnp.int32),
    )
    compiled = jax.jit(jax.value_and_grad(loss)).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**30


def measured_memory(side: str) -> float:
    """GiB that loss and gradient add to a fresh process (Linux)."""
    code = MEMORY_CODE.format(batch=BATCH, crop=CROP, grid=GRID[0], classes=CLASSES)
    done = subprocess.run([sys.executable, "-c", code, side], capture_output=True, check=True)
    return float(done.stdout)


def training(encoder, heads, random) -> tuple[dict[str, float], float]:
    """Median seconds of a training step of both sides, and the largest difference of losses."""
    pixels = random.integers(0, 256, (BATCH, CROP, CROP, 3)).astype(np.uint8)
    labels = random.integers(0, CLASSES, (BATCH, CROP, CROP))
    labels[random.random(labels.shape) < 0.2] = IGNORE
    rate = 1e-3
    state, step = training_program(encoder, heads, optimizer(lambda _: rate))
    sizes = np.full((BATCH, 2), CROP, np.int32)
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
    seconds = medians(RUNS, ours=ours, published=published)
    return seconds, float(np.abs(np.subtract(*losses.values())).max())


def testing(encoder, heads, random) -> tuple[dict[str, float], float]:
    """Median seconds of a test of both sides, and the share of pixels counted elsewhere."""
    images = []
    for index, (height, width, rows, columns) in enumerate(SIZES):
        image = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        label = random.integers(0, CLASSES, (rows, columns))
        images.append(TestImage(f"image {index}", image, (rows, columns), label))
    logits = window_logits(encoder, Readers([heads]))
    sliding = SlidingWindow((CROP, CROP), (STRIDE, STRIDE), batch=2)
    backbone, head = twin.Backbone(encoder, BLOCKS), torch_head(heads)
    theirs = [
        (torch_pixels(encoder, image.image[None]), twin.tensor(image.label)) for image in images
    ]
    matrices = {}

    def ours() -> None:
        matrices["ours"] = evaluate(logits, images, sliding)[0]

    def published() -> None:
        matrices["published"] = sum(
            twin.test_image(backbone, head, *one, CROP, STRIDE).numpy() for one in theirs
        )

    ours(), published()
    seconds = medians(RUNS, ours=ours, published=published)
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


def main() -> None:
    config = ViTConfig(
        image_size=(CROP, CROP), width=WIDTH, depth=12, num_heads=3, mlp_width=4 * WIDTH
    )
    encoder = devices.replicate(random_encoder("deit", config))
    heads = PixelHeads({"paper": BLOCKS}, WIDTH, CLASSES, rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    lean, plain = compiled_memory(pixel_cross_entropy), compiled_memory(plain_loss)
    ours_memory, torch_memory = measured_memory("ours"), measured_memory("published")
    train, loss_difference = training(encoder, heads, random)
    test, moved = testing(encoder, heads, random)
    report(
        {
            f"PyTorch, training steps of batch {BATCH} per second": 1 / train["published"],
            f"jaxpart, training steps of batch {BATCH} per second": 1 / train["ours"],
            "times faster (goal 1)": train["published"] / train["ours"],
            "largest difference of losses": loss_difference,
            "PyTorch, test images per second": len(SIZES) / test["published"],
            "jaxpart, test images per second": len(SIZES) / test["ours"],
            "times faster in test (goal 1)": test["published"] / test["ours"],
            "share of pixels predicted otherwise": moved,
            "plain way compiled, batch 16 (GiB)": plain,
            "jaxpart compiled, batch 16 (GiB)": lean,
            "share of the plain way (goal 1/3)": lean / plain,
            f"PyTorch, measured, batch {BATCH} (GiB)": torch_memory,
            f"jaxpart, measured, batch {BATCH} (GiB)": ours_memory,
            "share of PyTorch (goal 1/3)": ours_memory / torch_memory,
        },
        __doc__ or "",
    )


if __name__ == "__main__":
    main()
