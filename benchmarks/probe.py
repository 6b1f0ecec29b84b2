"""Probing on cached features: python -m benchmarks probe

- 90 epochs with cached features, against encoding all patches in every epoch (pixels in memory, nothing to
  decode), with the small encoder on the bundled data set;
- 8 learning rates against 1, on that set and at ViT-B's width;
- the same training in plain PyTorch on the same features: same batches, tested after every epoch.

Training is timed from the end of its first epoch and scaled to all epochs; compilation has its own row.
"""

from __future__ import annotations

import functools
import math
import time

import numpy as np

from benchmarks.timing import Row, faster, medians, share, value

RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
WIDTH, CLASSES = 768, 4


def rows(quick: bool) -> list[Row]:
    import jax
    import torch

    from jaxpart.data.critters import CRITTER_PARTS, Critters
    from jaxpart.data.parts import part_patches
    from jaxpart.data.patch_images import read_patches
    from jaxpart.encoders.loading import random_encoder
    from jaxpart.encoders.small import small_config
    from jaxpart.features.representations import represent
    from jaxpart.probes.items import Items, shuffled
    from jaxpart.probes.linear import LinearHead
    from jaxpart.probes.probe import fit
    from jaxpart.probes.recipe import Recipe
    from jaxpart.probes.sweep import Sweep

    epochs, runs, images = (3, 1, 40) if quick else (90, 3, 300)
    items, tested, size = (256, 64, 128) if quick else (15_000, 5_000, 1024)

    def train(train_items: Items, test_items: Items, rates: tuple[float, ...]) -> list[float]:
        """Seconds of compilation with the first epoch, and of all epochs."""
        first_end: list[float] = []

        def log(sweep: int, epoch: int, metrics: object) -> None:
            if epoch == 1 and not first_end:
                first_end.append(time.perf_counter())

        width, recipe = train_items.features[0].shape[1], Recipe(rates, epochs, size)
        make = functools.partial(LinearHead, width, CLASSES)
        start = time.perf_counter()
        fit([Sweep(make, recipe, [0])], train_items, [test_items], log=log)
        end = time.perf_counter()
        # Epoch 1 is first logged after its first piece: all but epoch 0 and that piece are timed.
        return [first_end[0] - start, (end - first_end[0]) * epochs / (epochs - 1.5)]

    # Cached against re-encoded.
    source = Critters("train", images)
    patches = part_patches(source, CRITTER_PARTS)
    pixels = np.stack([crop for _, crop in read_patches(source, patches, size=64)])
    encoder = random_encoder("ibot", small_config("ibot"))
    encoded = jax.jit(functools.partial(represent, names=("cls_token",)))

    def encode() -> np.ndarray:
        batches = [pixels[i : i + 64] for i in range(0, len(pixels) // 64 * 64, 64)]
        tokens = [encoded(encoder, batch)["cls_token"] for batch in batches]
        return np.concatenate(jax.device_get(tokens))

    vectors = encode()
    parts = np.array([patch.part - 3 for patch in patches[: len(vectors)]])
    small = Items([vectors], parts)
    encoding = medians(runs, encode=encode)["encode"]
    probing, sweeping = (
        float(np.median([train(small, small, rates)[1] for _ in range(runs)]))
        for rates in ((0.1,), RATES)
    )
    cached, reencoded = encoding + probing, epochs * encoding + probing

    # Against PyTorch, and the sweep.
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, items + tested)
    vectors = random.normal(size=(items + tested, WIDTH)).astype(np.float32)
    vectors[:, :CLASSES] += np.eye(CLASSES, dtype=np.float32)[labels]
    sides = [Items([vectors[s]], labels[s]) for s in (slice(items), slice(items, None))]
    tensors = [torch.tensor(side.features[0]) for side in sides]
    targets = [torch.tensor(side.labels).long() for side in sides]
    rate = 0.1 * size / 256
    times: dict[str, list[list[float]]] = {"one": [], "eight": [], "torch": []}

    def published() -> list[float]:
        head = torch.nn.Linear(WIDTH, CLASSES)
        torch.nn.init.normal_(head.weight, std=0.01)
        torch.nn.init.zeros_(head.bias)
        optimizer = torch.optim.SGD(head.parameters(), lr=rate, momentum=0.9)
        start = time.perf_counter()
        for epoch in range(epochs):
            for group in optimizer.param_groups:
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
            order = torch.tensor(shuffled(0, epoch, items))
            for i in range(0, items, size):
                rows = order[i : i + size]
                loss = torch.nn.functional.cross_entropy(head(tensors[0][rows]), targets[0][rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                for i in range(0, tested, 256):
                    logits = head(tensors[1][i : i + 256])
                    (logits.argmax(dim=1) == targets[1][i : i + 256]).sum().item()
        return [0.0, time.perf_counter() - start]

    for _ in range(runs):
        times["torch"].append(published())
        times["one"].append(train(*sides, (0.1,)))
        times["eight"].append(train(*sides, RATES))
    compiling, one = np.median(times["one"], axis=0).tolist()
    eight, plain = (float(np.median(times[name], axis=0)[1]) for name in ("eight", "torch"))
    totals = [float(np.median(np.sum(times[name], axis=1))) for name in ("eight", "one")]
    bundled, synthetic = f"{len(pixels):,} × 128", f"{items:,} × {WIDTH}"
    return [
        faster(
            f"{bundled}, {epochs} epochs, cached",
            cached,
            reencoded,
            "encoded in every epoch",
            goal=30,
        ),
        share(f"{bundled}, 8 learning rates", sweeping, probing, "1", "s", goal=2),
        faster(f"{synthetic}, {epochs} epochs", one, plain, "PyTorch eager", goal=1),
        share(f"{synthetic}, 8 learning rates", eight, one, "1", "s", goal=2),
        share(f"{synthetic}, the same with compilation", totals[0], totals[1], "1", "s"),
        value("compilation and first epoch", compiling, "s"),
    ]
