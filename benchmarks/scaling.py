"""Estimates the cost of the paper's full study on large machines: python -m benchmarks.scaling

None of this was run on them. Prints the tables of docs/performance.md: what one encoder's share of the
study costs in arithmetic, images and bytes, and the hours for all seven ViT-B/16 on a TPU v4-128 (128
TensorCores, which are 64 chips on 16 hosts) and on one host with 8 × H100.

A part takes as long as the slowest resource, all of which run in parallel: the devices (arithmetic, then
memory traffic), the hosts' decoding cores, and reading features back.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from benchmarks.flops import encoder_flops
from jaxpart.encoders.architecture import ViTConfig

VIT_B = ViTConfig()
TOKENS, WIDTH = 197, 768
ENCODERS, EPOCHS, ITERATIONS, BATCH = 7, 90, 160_000, 16
LABELLED_CROPS = 512
"""Crops whose patches the in-context test compares each patch with."""

USED_ARITHMETIC, USED_BANDWIDTH = 0.4, 0.7
"""Fractions of the peaks that a ViT reaches when its input keeps up: assumed."""

DISK, HOST_MEMORY_RATE = 2e9, 20e9
"""Bytes per second and host: from its disk, and from its page cache to its devices. Assumed."""

TRAIN_RATE, EVAL_RATE, CROP_RATE = 480.0, 300.0, 83.0
"""Images per second and core: ImageNet's transforms and segmentation crops of 512, per CPU second of a
Zen 4 core (2026-11-24, on the files of `python -m benchmarks input`)."""


THREADED, ALL = 5, 1_000_000
"""Cores that decode: threads keep about five busy (`jaxpart.data.input.load`), worker processes all."""


class Machine(NamedTuple):
    """A machine from its data sheet; per chip: peaks in FLOP/s and byte/s, memory in bytes."""

    name: str
    chips: int
    hosts: int
    cores: int  # of a host, physical
    host_memory: float
    memory: float
    bandwidth: float
    bfloat16: float
    float32: float  # at the highest precision


MACHINES = (
    # float32 at the highest precision is six bfloat16 passes on a TPU, and no TF32 on a GPU.
    Machine("v4-128", 64, 16, 120, 407e9, 32e9, 1.2e12, 275e12, 275e12 / 6),
    Machine("8 × H100", 8, 1, 104, 1.9e12, 80e9, 3.35e12, 989e12, 67e12),
)


class Part(NamedTuple):
    """Part of the study, for one encoder.

    Attributes:
      name: Its name in the tables.
      flops: Multiplications and additions.
      decoded: Images decoded and transformed.
      rate: Images decoded per second and core.
      cores: Cores of a host that can decode.
      files: Bytes of the image files that are read.
      passes: How often they are read.
      cached: Bytes of features written.
      trained_on: Bytes of those that heads read in every epoch.
      trainings: How often heads are trained: twice where they are also selected on held-out items.
      moved: Bytes moved through the devices' memory, apart from matrix products.
      encoders: How many of the seven encoders need it.
    """

    name: str
    flops: float
    decoded: float = 0
    rate: float = EVAL_RATE
    cores: int = THREADED
    files: float = 0
    passes: float = 1
    cached: float = 0
    trained_on: float = 0
    trainings: int = 1
    moved: float = 0
    encoders: int = ENCODERS


class Pixels(NamedTuple):
    """A segmentation set: published sizes, windows per typical test image, and rough bytes per file."""

    name: str
    classes: int
    crop: int
    train: int
    test: int
    windows: int
    file: float


ADE = (20_210, 2_000, 2, 45e3)
PASCAL = (4_998, 5_105, 2, 85e3)
SETS = (
    Pixels("ADE20K-Part", 209, 512, *ADE),
    Pixels("ADE20K-Object", 59, 512, *ADE),
    Pixels("ADE20K", 150, 512, *ADE),
    Pixels("Pascal-Part", 193, 480, *PASCAL),
    Pixels("Pascal-Object", 16, 480, *PASCAL),
    Pixels("LIP", 19, 320, 30_462, 10_000, 4, 30e3),
)


class Patches(NamedTuple):
    """Numbers of part patches: retrieved, in each split, and encoded with test preprocessing."""

    retrieved: int
    train: int
    test: int
    seen: int


CUB = Patches(24_100, 12_200, 11_900, 24_100)
"""2.04 per image, as in our sample of 120 images; 11 788 images (5 994 for training)."""
COCO = Patches(150_000, 150_000, 6_400, 156_400)
"""One per person with keypoints in train2017 and val2017: assumed."""

TOKEN_BYTES, VECTOR_BYTES = 4 * TOKENS * WIDTH, 4 * WIDTH


def part_features(name: str, patches: Patches, files: float) -> Part:
    """Every patch with test preprocessing, training patches also with training preprocessing."""
    views = patches.seen + patches.train
    labelled = patches.train + patches.test
    cached = labelled * TOKEN_BYTES + views * 2 * VECTOR_BYTES
    flops = views * encoder_flops(VIT_B)
    return Part(f"{name}, features", flops, views, files=files, passes=2, cached=cached)


def retrieval(name: str, items: int) -> Part:
    """All pairs: the embedding, the cls token, the projection (three methods) and the pixel baselines."""
    channels = 2 * WIDTH + 3 * 256 / ENCODERS + (3 + 144 + 432)
    steps = math.ceil(math.log2(items))
    # Of a bitonic sort of pairs of 4-byte values, read and written.
    passes = steps * (steps + 1) / 2
    representations = 2 + 3 / ENCODERS + 3
    moved = items**2 * representations * passes * 16
    return Part(f"{name}, retrieval", 2 * items**2 * channels, moved=moved)


def attentive_flops(items: float, tests: float) -> float:
    """Keys and values of every token, with the gradients of their weights and norms; then tests."""
    return 4 * TOKENS * WIDTH**2 * (3 * items + tests)


def probes(name: str, train: int, test: int) -> Part:
    """Linear and attentive heads, tested after every epoch."""
    flops = 2 * EPOCHS * (attentive_flops(train, test) + 6 * WIDTH * 4 * train)
    read = (train + test) * (TOKEN_BYTES + VECTOR_BYTES)
    return Part(f"{name}, probes", flops, trained_on=read, trainings=2)


def imagenet() -> tuple[Part, Part]:
    """On random views, as in the methods' recipes, and on features cached once."""
    train, test, files = 1_281_167, 50_000, 144e9
    encode, heads = encoder_flops(VIT_B), attentive_flops(train, test)
    images = EPOCHS * train + test  # both heads train on the same views
    random = Part(
        "ImageNet, random views",
        images * encode + EPOCHS * heads,
        images,
        TRAIN_RATE,
        ALL,
        files,
        EPOCHS,
        encoders=6,
    )
    kept = (train + test) * (TOKEN_BYTES + VECTOR_BYTES)
    fixed = Part(
        "instead: ImageNet, cached features",
        (train + test) * encode + EPOCHS * heads,
        train + test,
        files=files,
        cached=kept,
        trained_on=kept,
        encoders=6,
    )
    return random, fixed


def segmentation(data: Pixels, *, single_blocks: int = 0) -> Part:
    """Training with the encoder in every step, and the sliding-window test.

    The paper's head reads four blocks; `single_blocks` others read one block each.
    """
    crop, classes, grid = data.crop, data.classes, data.crop // 16
    crops, windows = ITERATIONS * BATCH, data.test * data.windows
    heads = 1 + single_blocks
    head = 2 * grid**2 * (4 + single_blocks) * WIDTH * classes
    wide = 2 * crop**2 * grid * classes  # upsampling along rows; along columns it is 1/16 of that
    train = encoder_flops(VIT_B, crop) + 2 * head + 2 * heads * wide
    neighbours = 2 * grid**2 * LABELLED_CROPS * grid**2 * WIDTH  # of each patch of a window
    test = encoder_flops(VIT_B, crop) + head + heads * wide + neighbours
    logits = 4 * crop**2 * classes * heads
    name = f"instead: {data.name}, {heads} heads" if single_blocks else data.name
    return Part(
        name,
        crops * train + windows * test,
        crops + data.test,
        CROP_RATE * 512**2 / crop**2,
        THREADED,
        (data.train + data.test) * data.file,
        crops / data.train,
        moved=logits * (6 * crops + 2 * windows),
    )


def study() -> list[Part]:
    """All parts, for one encoder."""
    return [
        part_features("CUB", CUB, 1.1e9),
        part_features("COCO", COCO, 19e9),
        retrieval("CUB", CUB.retrieved),
        retrieval("COCO", COCO.retrieved),
        probes("CUB", CUB.train, CUB.test),
        probes("COCO", COCO.train, COCO.test),
        *imagenet(),
        *[segmentation(data) for data in SETS],
        segmentation(SETS[0], single_blocks=VIT_B.depth),
    ]


def read_back(part: Part, machine: Machine) -> tuple[float, float]:
    """Bytes of features read over all epochs, and the rate at which the hosts read them."""
    if part.trained_on <= machine.memory / 2:
        return part.trained_on, DISK * machine.hosts  # they stay on the devices: `Items`
    rate = HOST_MEMORY_RATE if part.trained_on <= machine.host_memory else DISK
    return part.trainings * EPOCHS * part.trained_on, rate * machine.hosts


def seconds(part: Part, machine: Machine, peak: float) -> dict[str, float]:
    """Seconds that a part takes on each resource, for all encoders that need it."""
    bytes_back, rate_back = read_back(part, machine)
    from_disk = part.files * (1 if part.files <= machine.host_memory else part.passes)
    traffic = part.moved / (machine.chips * machine.bandwidth * USED_BANDWIDTH)
    per_encoder = {
        "devices": part.flops / (machine.chips * peak * USED_ARITHMETIC) + traffic,
        "decoding": part.decoded / (machine.hosts * min(machine.cores, part.cores) * part.rate),
        "cache": bytes_back / rate_back + part.cached / (machine.hosts * DISK),
        "disk": from_disk / (machine.hosts * DISK),
    }
    return {name: part.encoders * elapsed for name, elapsed in per_encoder.items()}


def tables() -> str:
    """Both tables, in Markdown."""
    work = [
        "| part, for one encoder | PFLOP | images decoded | read, GB | cached, GB | read back, GB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    hours = [
        "| hours for all encoders | v4-128, float32 | v4-128, bf16 | 8 × H100, float32 | 8 × H100, bf16 |",
        "|---|--:|--:|--:|--:|",
    ]
    columns = [(m, peak) for m in MACHINES for peak in (m.float32, m.bfloat16)]
    totals = [0.0] * len(columns)
    for part in study():
        back = read_back(part, MACHINES[1])[0]
        numbers = (part.flops / 1e15, part.decoded, part.files * part.passes / 1e9)
        cells = [*numbers, part.cached / 1e9, back / 1e9]
        work.append(f"| {part.name} | " + " | ".join(f"{n:,.0f}" for n in cells) + " |")
        cells = []
        for i, (machine, peak) in enumerate(columns):
            needed = seconds(part, machine, peak)
            limit = max(needed, key=lambda name: needed[name])
            totals[i] += 0 if part.name.startswith("instead") else needed[limit]
            cells.append(f"{needed[limit] / 3600:.2g} ({limit})")
        hours.append(f"| {part.name} | " + " | ".join(cells) + " |")
    summed = " | ".join(f"**{total / 3600:.3g}**" for total in totals)
    hours.append(f"| **all, in sequence** | {summed} |")
    return "\n".join([*work, "", *hours])


if __name__ == "__main__":
    print(tables())
