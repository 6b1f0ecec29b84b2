"""The encoder's forward pass against PyTorch on the same weights: python -m benchmarks encoder

ViT-S/16 and ViT-B/16 at 224 pixels in float32, from normalised pixels to the tokens after the final norm.
The weights are timm's, converted. PyTorch runs eagerly and compiled (Inductor, once per batch size), both
in inference mode on all cores. Compilation is not timed. FLOP/s are stated as a fraction of what a large
float32 matrix product reaches, the faster of XLA's and PyTorch's, in the same run.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import timm
import torch

from benchmarks.flops import encoder_flops
from benchmarks.timing import Row, faster, medians, missing, value
from convert.pipeline import convert
from jaxpart import load_encoder
from jaxpart.encoders.encoder import Encoder

MODELS = {"ViT-S/16": "vit_small_patch16_224", "ViT-B/16": "vit_base_patch16_224"}
RUNS_OF_BATCH = {1: 25, 16: 5, 64: 3}
SIDE = 2048
"""Side of the square matrices whose product gives the machine's matmul rate."""


def both(name: str, **sizes: Any) -> tuple[Encoder, torch.nn.Module]:
    """A timm model with random weights, and the same encoder converted."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, **sizes).eval()
    with tempfile.TemporaryDirectory() as folder:
        source, out = pathlib.Path(folder) / "model.pth", pathlib.Path(folder) / "out"
        torch.save(model.state_dict(), source)
        convert("deit", source, out, layout="timm", num_heads=model.blocks[0].attn.num_heads)
        return load_encoder(out), model


def torch_forward(model: torch.nn.Module, images: np.ndarray, *, compiled: bool) -> Callable:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    run = model.forward_features
    if compiled:
        run = torch.compile(run, dynamic=False)

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return run(pixels)

    return forward


def jax_forward(encoder: Encoder, images: np.ndarray) -> Callable[[], jax.Array]:
    pixels = jnp.asarray(images)
    run = jax.jit(lambda encoder, pixels: encoder(pixels)["tokens"])
    return lambda: jax.block_until_ready(run(encoder, pixels))


def products(side: int) -> dict[str, Callable]:
    """The product of two square matrices by XLA and by PyTorch."""
    random = np.random.default_rng(0)
    left, right = (random.standard_normal((side, side), np.float32) for _ in range(2))
    arrays, tensors = (
        (jnp.asarray(left), jnp.asarray(right)),
        (torch.tensor(left), torch.tensor(right)),
    )
    run = jax.jit(lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST))
    run(*arrays)
    return {
        "xla": lambda: jax.block_until_ready(run(*arrays)),
        "torch": lambda: torch.mm(*tensors),
    }


def measure(
    what: str, encoder: Encoder, model: torch.nn.Module, batch: int, runs: int, side: int
) -> list[Row]:
    size = encoder.config.image_size
    images = np.random.default_rng(0).standard_normal((batch, *size, 3), np.float32)
    sides = {
        "ours": jax_forward(encoder, images),
        "eager": torch_forward(model, images, compiled=False),
    }
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler):
        sides["compiled"] = torch_forward(model, images, compiled=True)
    outputs = {name: np.asarray(run()) for name, run in sides.items()}  # compiles
    difference = max(float(np.abs(outputs["ours"] - other).max()) for other in outputs.values())
    seconds = medians(runs, **sides, **products(side))
    rates = {name: batch / elapsed for name, elapsed in seconds.items()}
    what, unit = f"{what}, batch {batch}", "images/s"
    gflops = encoder_flops(encoder.config) * rates["ours"] / 1e9
    matmul = 2 * side**3 / min(seconds["xla"], seconds["torch"]) / 1e9
    return [
        faster(what, rates["ours"], rates["eager"], "PyTorch eager", goal=1, unit=unit),
        faster(what, rates["ours"], rates["compiled"], "torch.compile", unit=unit)
        if "compiled" in rates
        else missing(f"{what} against torch.compile", f"there is no C++ compiler {compiler}"),
        faster(what, gflops, matmul, "a matrix product", goal=0.75, unit="GFLOP/s"),
        value(f"{what}, largest difference", difference, "", most=1e-4),
    ]


def rows(quick: bool) -> list[Row]:
    if quick:
        sizes = {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 32}
        return measure("tiny", *both("vit_small_patch16_224", **sizes), 2, 1, 64)
    rows = []
    for what, name in MODELS.items():
        encoder, model = both(name)
        for batch, runs in RUNS_OF_BATCH.items():
            rows += measure(what, encoder, model, batch, runs, SIDE)
    return rows
