"""Converts a ViT-B checkpoint of the released size: python -m benchmarks convert"""

from __future__ import annotations

import pathlib
import tempfile
import time

from benchmarks.timing import Row, in_fresh_process, memory, share, value


def write_checkpoint(path: pathlib.Path, width: int) -> None:
    """Writes a random iBOT ViT-B/16 teacher with its projector; the released width is 768."""
    import torch

    def array(*shape: int) -> torch.Tensor:
        return torch.randn(*shape)

    hidden = 4 * width
    state = {
        "backbone.cls_token": array(1, 1, width),
        "backbone.pos_embed": array(1, 197, width),
        "backbone.patch_embed.proj.weight": array(width, 3, 16, 16),
        "backbone.patch_embed.proj.bias": array(width),
        "backbone.norm.weight": array(width),
        "backbone.norm.bias": array(width),
    }
    layers = {
        "attn.qkv": (3 * width, width),
        "attn.proj": (width, width),
        "mlp.fc1": (hidden, width),
        "mlp.fc2": (width, hidden),
    }
    for i in range(12):
        for name in ("norm1", "norm2"):
            state[f"backbone.blocks.{i}.{name}.weight"] = array(width)
            state[f"backbone.blocks.{i}.{name}.bias"] = array(width)
        for name, shape in layers.items():
            state[f"backbone.blocks.{i}.{name}.weight"] = array(*shape)
            state[f"backbone.blocks.{i}.{name}.bias"] = array(shape[0])
    for i, shape in {0: (2048, width), 2: (2048, 2048), 4: (256, 2048)}.items():
        state[f"head.mlp.{i}.weight"], state[f"head.mlp.{i}.bias"] = array(*shape), array(shape[0])
    for name in ("last_layer", "last_layer2"):
        state[f"head.{name}.weight_g"] = array(8192, 1)
        state[f"head.{name}.weight_v"] = array(8192, 256)
    torch.save({"teacher": state, "epoch": 1}, path)


def converted(source: str, out: str) -> float:
    """Converts; returns the peak memory in GiB."""
    from convert.pipeline import convert

    convert("ibot", source, out)
    return memory()


def rows(quick: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "checkpoint.pth"
        in_fresh_process(write_checkpoint, source, 192 if quick else 768)
        start = time.perf_counter()
        peak = in_fresh_process(converted, str(source), str(pathlib.Path(folder) / "out"))
        seconds = time.perf_counter() - start
        size = source.stat().st_size / 2**30
    return [
        value("a ViT-B checkpoint, whole process", seconds, "s", most=15),
        share("peak memory", peak, size, "the file", "GiB", goal=3),
    ]
