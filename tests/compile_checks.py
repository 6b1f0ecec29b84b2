"""What compiled steps must not do, for tests: trace again, move what nobody asked for, exchange, copy."""

import collections
import contextlib
import logging
import math
import re

import jax

_ARRAY = r"\w+\[[\d,]*\]"


@contextlib.contextmanager
def steady():
    """Nothing inside is traced or compiled, and nothing moves between host and devices unasked."""
    lines = []
    listener = logging.Handler()
    listener.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("jax")
    logger.addHandler(listener)
    try:
        with jax.log_compiles(), jax.transfer_guard("disallow"):
            yield
    finally:
        logger.removeHandler(listener)
    work = [line for line in lines if line.startswith(("Finished tracing", "Compiling"))]
    assert not work, "\n".join(work)


def exchanges(compiled):
    """A program's collective operations: how many of each kind and shape, ("all-reduce", "f32[8]")."""
    pattern = r"= (.+?) (all-\w+|collective-\w+|reduce-scatter|ragged-all-to-all)(?:-start)?\("
    return collections.Counter(
        (kind, shape)
        for shapes, kind in re.findall(pattern, compiled.as_text())
        for shape in re.findall(_ARRAY, shapes)
    )


def values(found):
    """How many values `exchanges` are in all."""
    sizes = {shape: map(int, re.findall(r"\d+", shape.split("[")[1])) for _, shape in found}
    sizes = {shape: math.prod(numbers) for shape, numbers in sizes.items()}
    return sum(sizes[shape] * count for (_, shape), count in found.items())


def taken_over(compiled):
    """How many buffers of its arguments a program writes its results into."""
    found = re.search(r"input_output_alias=\{(.*?)\}, \w+=", compiled.as_text().splitlines()[0])
    return found.group(1).count("-alias") if found else 0
