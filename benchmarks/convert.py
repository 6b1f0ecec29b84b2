"""Conversion of a ViT-B checkpoint of the released size: python -m benchmarks.convert"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
import time

from benchmarks.timing import report

CODE = """
import resource, sys
from convert.pipeline import convert
convert("ibot", sys.argv[1], sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def write_checkpoint(path: pathlib.Path) -> None:
    """The teacher of an iBOT ViT-B/16 with its projector, random weights."""
    import torch

    def array(*shape: int) -> torch.Tensor:
        return torch.randn(*shape)

    width, hidden = 768, 3072
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


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "checkpoint.pth"
        write_checkpoint(source)
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(source), str(pathlib.Path(folder) / "out")],
            capture_output=True,
            check=True,
        )
        seconds = time.perf_counter() - start
        size = source.stat().st_size
    report(
        {
            "file (MB)": size / 1e6,
            "converted, whole process (s, goal 15)": seconds,
            "peak memory over file size (goal 3)": float(done.stdout) / size,
        },
        __doc__ or "",
    )


if __name__ == "__main__":
    main()
