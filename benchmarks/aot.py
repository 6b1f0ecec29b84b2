"""Compiles every step for absent TPUs or GPUs, and prints what it would need on each chip.

    pip install ".[aot]"
    python -m benchmarks.aot --topology v4:4x4x4
    python -m benchmarks.aot --topology v5e:4x4 --steps retrieval probe

    pip install --no-deps jax-cuda12-plugin==VERSION jax-cuda12-pjrt==VERSION nvidia-cuda-nvcc-cu12
    python -m benchmarks.aot --topology h100:8      # VERSION is that of jaxlib

Nothing is executed: these compilers run on any machine, the GPU compiler without autotuning. Each step is
compiled in its own process. Fails if one does not fit into a chip's memory, calls back to the host, gathers
whole weights or features on every chip (1 MiB or more), or has a float32 product without an explicit
precision.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

_COLLECTIVE = re.compile(
    r"= (\(?[a-z0-9]+\[.*?) (all-reduce|all-gather|collective-permute|reduce-scatter|all-to-all)"
    r"(-start)?\("
)
_SHAPE = re.compile(r"([a-z]+)(\d+)[a-z0-9]*\[([\d,]*)\]")
_GATHERED_BYTES = 1 << 20

# The default of products without an explicit precision; nothing in jaxpart sets it explicitly.
_UNSET = "high"
_UNSET_TEXT = re.compile(r"precision = \[HIGH, HIGH\]|precision_config = .*<HIGH>")


@dataclasses.dataclass
class Compiled:
    """The compiler's report on a step.

    Attributes:
      step: Its name.
      chip_bytes: Memory needed per chip; None if it did not compile.
      chip_flops: FLOP per chip; a loop's body counts once.
      collectives: By kind, their number and bytes.
      seconds: Compilation time.
      faults: Why it is unusable.
    """

    step: str
    chip_bytes: int | None = None
    chip_flops: float = math.nan
    collectives: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    faults: list[str] = dataclasses.field(default_factory=list)

    def row(self, memory: int) -> str:
        """A line of the table."""
        size = "–" if self.chip_bytes is None else f"{self.chip_bytes / 2**30:.2f}"
        flops = "–" if math.isnan(self.chip_flops) else f"{self.chip_flops / 1e12:.2f}"
        exchanged = ", ".join(
            f"{count} {kind} ({_bytes(total)})" for kind, (count, total) in self.collectives.items()
        )
        return (
            f"| {self.step} | {size} of {memory / 2**30:.0f} | {flops} | "
            f"{exchanged or 'none'} | {self.seconds:.0f} | {'; '.join(self.faults) or 'fits'} |"
        )


def compiled(name: str, topology: str, full: bool) -> tuple[Compiled, int]:
    """Compiles a step in this process, which must not have started JAX.

    Args:
      name: A key of `aot_steps.STEPS`.
      topology: "v4:4x4x4".
      full: Whether the compiler optimises as in a run, which takes minutes.

    Returns:
      The report, and a chip's memory in bytes.
    """
    os.environ.update(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1")
    if (generation := topology.partition(":")[0]) == "h100":
        nvcc = _nvcc()
        flags = os.environ.get("XLA_FLAGS", ""), "--xla_gpu_autotune_level=0"
        os.environ["XLA_FLAGS"] = " ".join((*flags, f"--xla_gpu_cuda_data_dir={nvcc}"))
        os.environ["PATH"] = f"{nvcc / 'bin'}{os.pathsep}{os.environ['PATH']}"
    import jax

    from benchmarks.aot_steps import STEPS
    from jaxpart import devices

    jax.config.update("jax_default_matmul_precision", _UNSET)
    if not full:
        jax.config.update("jax_optimization_level", "O0")
    report = Compiled(name)
    with devices.compiling_for(_absent_devices(generation, topology)):
        memory = devices.memory()
        lowered = STEPS[name]().lower()
        text = lowered.as_text()
        if "callback" in text:
            report.faults.append("calls back to the host")
        if unset := len(_UNSET_TEXT.findall(text)):
            report.faults.append(f"{unset} products without an explicit precision")
        start = time.perf_counter()
        try:
            program = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            report.faults.append(_reason(str(error)))
            return report, memory
        finally:
            report.seconds = time.perf_counter() - start
    sizes = program.memory_analysis()
    report.chip_bytes = (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        + sizes.temp_size_in_bytes
        - sizes.alias_size_in_bytes
    )
    report.chip_flops = (program.cost_analysis() or {}).get("flops", math.nan)  # missing for GPUs
    for kind, size in _collectives(program.as_text()):
        count, total = report.collectives.get(kind, (0, 0))
        report.collectives[kind] = count + 1, total + size
        if kind == "all-gather" and size >= _GATHERED_BYTES:
            report.faults.append(f"gathers {_bytes(size)} on every chip")
    if report.chip_bytes > memory:
        report.faults.append("does not fit")
    return report, memory


def _absent_devices(generation: str, topology: str) -> Sequence[Any]:
    """The devices of a topology."""
    from jax.experimental import topologies

    if generation == "h100":
        return topologies.get_topology_desc(
            platform="cuda",
            topology_name="h100",
            topology=f"1x1x{topology.partition(':')[2]}",
            target_config=(pathlib.Path(__file__).parent / "h100.textproto").read_text(),
        ).devices
    # Otherwise the two cores of a v4 chip are separate devices.
    chips = {"chip_config_name": "megacore"} if generation == "v4" else {}
    return topologies.get_topology_desc(platform="tpu", topology_name=topology, **chips).devices


def _nvcc() -> pathlib.Path:
    """The folder of the package nvidia-cuda-nvcc-cu12, which holds the assembler. Raises `ImportError`."""
    spec = importlib.util.find_spec("nvidia.cuda_nvcc")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("nvidia.cuda_nvcc")
    return pathlib.Path(spec.submodule_search_locations[0])


def _missing(topology: str) -> str | None:
    """What to install for a topology; None if nothing is missing."""
    if not topology.startswith("h100"):
        spec = importlib.util.find_spec("libtpu")
        return None if spec else 'the TPU compiler is not installed; run `pip install ".[aot]"`'
    packages = ("jax_plugins.xla_cuda12", "jax_cuda12_plugin", "nvidia.cuda_nvcc")
    try:
        if all(importlib.util.find_spec(name) for name in packages):
            return None
    except ImportError:  # raised for a parent package
        pass
    version = importlib.metadata.version("jaxlib")
    return (
        "the compiler for GPUs is not installed; run `pip install --no-deps "
        f"jax-cuda12-plugin=={version} jax-cuda12-pjrt=={version} nvidia-cuda-nvcc-cu12`"
    )


def _reason(message: str) -> str:
    used = re.search(r"\(([\d.]+\w)\) exceeds available HBM \(([\d.]+\w)\)", message)
    return f"does not fit: {used[1]} of {used[2]}" if used else message.splitlines()[0][:160]


def _collectives(text: str) -> Iterator[tuple[str, int]]:
    """Kind and bytes of each collective of a compiled program."""
    for shapes, kind, asynchronous in _COLLECTIVE.findall(text):
        size = sum(
            math.prod(int(n) for n in shape.split(",") if n) * int(bits) // 8
            for _, bits, shape in _SHAPE.findall(shapes)
        )
        yield kind, size // 2 if asynchronous else size  # the shapes include its operand


def _bytes(count: float) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"


def _in_fresh_process(name: str, topology: str, full: bool) -> tuple[Compiled, int]:
    command = [sys.executable, "-m", "benchmarks.aot", "--topology", topology, "--child", name]
    child = subprocess.run([*command, *["--full"] * full], capture_output=True, text=True)
    if child.returncode:
        last = (child.stderr.strip() or "the process was killed").splitlines()[-1]
        return Compiled(name, faults=[last[:200]]), 0
    document = json.loads(child.stdout.splitlines()[-1])
    return Compiled(**document["compiled"]), document["memory"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line for every step; returns 1 if one has a fault, 2 without a compiler."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aot", description=__doc__)
    parser.add_argument("--topology", required=True, help="such as v4:4x4x4, v5e:4x4 or h100:8")
    parser.add_argument(
        "--steps", nargs="*", default=[], help="compile only steps whose names contain one of these"
    )
    parser.add_argument(
        "--full", action="store_true", help="optimise as in a run; takes minutes per step"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        report, memory = compiled(options.child, options.topology, options.full)
        print(json.dumps({"compiled": dataclasses.asdict(report), "memory": memory}))
        return 0
    if missing := _missing(options.topology):
        print(missing, file=sys.stderr)
        return 2
    from benchmarks.aot_steps import STEPS

    chosen = [
        name for name in STEPS if not options.steps or any(word in name for word in options.steps)
    ]
    print(f"{options.topology}\n")
    print("| step | GiB a chip | TFLOP a chip | collectives | compiled in s | |")
    print("|---|---|---|---|---|---|", flush=True)
    failed = not chosen
    for name in chosen:
        report, memory = _in_fresh_process(name, options.topology, options.full)
        print(report.row(memory), flush=True)
        failed |= bool(report.faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
