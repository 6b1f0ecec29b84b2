"""Patch sets that no encoder made."""

import numpy as np
from PIL import Image

from jaxpart.report.neighbours import nearest_patches
from jaxpart.report.patch_sets import Pair, PatchSet


def smooth(rng, side):
    """Something that compresses like a photograph."""
    coarse = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def patch_set(images=6, each=4, pairs=2, *, parts=("eye", "leg", "wing"), ids=None, side=96):
    rng = np.random.default_rng(0)
    count = images * each
    part = rng.integers(0, len(parts), count).astype(np.int32)
    corner = rng.uniform(0, 0.7, (count, 2))
    made = []
    for number in range(pairs):
        near, similar = nearest_patches(rng.standard_normal((count, 8)).astype(np.float32), 24)
        ap = rng.uniform(0, 1, count)
        encoder = "UNTRAINED" if number % 2 else ""
        made.append(Pair("iBOT", f"block{number}", encoder, near, similar, ap, float(ap.mean())))
    return PatchSet(
        name="critters, part patches",
        kind="parts",
        available=10 * count,
        images=ids or [f"test/{i:06d}.jpg" for i in range(images)],
        pictures=[smooth(rng, side) for _ in range(images)],
        image=np.repeat(np.arange(images, dtype=np.int32), each),
        box=np.concatenate([corner, corner + 0.25], axis=1),
        parts=parts,
        part=part,
        thumbnails=[np.asarray(smooth(rng, 64)) for _ in range(count)],
        pairs=made,
    )
