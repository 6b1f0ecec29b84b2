"""Rings of chips: every one once, a host's together, and from neighbour to neighbour."""

import dataclasses
import itertools

import pytest

from jaxpart.ring import in_ring


@dataclasses.dataclass(frozen=True)
class Chip:
    id: int
    process_index: int
    coords: tuple[int, int, int]
    core_on_chip: int = 0
    platform: str = "tpu"


def slice_of(chips, host):
    """Chips of a slice of the given extents, whose hosts have blocks of others."""
    blocks = [extent // size for extent, size in zip(chips, host, strict=True)]
    made = []
    for place in itertools.product(*map(range, chips[::-1])):
        x, y, z = place[::-1]
        at = [c // size for c, size in zip((x, y, z), host, strict=True)]
        process = at[0] + blocks[0] * (at[1] + blocks[1] * at[2])
        made.append(Chip(len(made), process, (x, y, z)))
    return made


@pytest.mark.parametrize(
    ("chips", "host"),
    [
        ((4, 4, 4), (2, 2, 1)),  # TPU v4-128
        ((2, 2, 1), (2, 2, 1)),
        ((8, 8, 8), (2, 2, 1)),
        ((4, 4, 1), (2, 2, 1)),  # v5e-16
        ((16, 16, 1), (4, 2, 1)),
    ],
)
def test_every_step_is_to_a_neighbour(chips, host):
    every = slice_of(chips, host)
    ring = in_ring(every)
    assert sorted(ring, key=lambda chip: chip.id) == every
    hosts = [process for process, _ in itertools.groupby(chip.process_index for chip in ring)]
    assert len(hosts) == len(set(hosts))  # a host's chips are together
    for here, there in zip(ring, [*ring[1:], ring[0]], strict=True):
        apart = [abs(a - b) for a, b in zip(here.coords, there.coords, strict=True)]
        links = [min(a, b - a) if b >= 4 else a for a, b in zip(apart, chips, strict=True)]
        assert sum(links) == 1  # axes of four chips or more are closed


def test_other_devices_keep_their_order():
    cpus = [Chip(i, i // 2, (), platform="cpu") for i in range(6)]
    assert in_ring(reversed(cpus)) == cpus
