"""The order in which devices pass data round: neighbours in the machine, a process's devices together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import jax

Item = TypeVar("Item")


def in_ring(devices: Iterable[jax.Device]) -> list[jax.Device]:
    """Devices in the order of a mesh.

    A process's devices stay together, and so do its rows of a batch. On a TPU, processes follow one another
    like a snake through the grid of hosts, and each host's chips in the order with which most steps,
    the last one back to the first included, are between neighbours: all 64 on v4:4x4x4, where the order
    of ids has 32. Other devices keep the order of their ids.
    """
    hosts: dict[int, list[jax.Device]] = {}
    for device in sorted(devices, key=lambda device: (device.process_index, device.id)):
        hosts.setdefault(device.process_index, []).append(device)
    every = [device for mine in hosts.values() for device in mine]
    if every[0].platform != "tpu":
        return every
    path = _snake(list(hosts.values()), _corner)
    return _closest([list(_ways(mine)) for mine in path], _extents(every))


def _place(device: jax.Device) -> tuple[int, ...]:
    """Where it is: its slice, its chip, and its core on the chip."""
    return (getattr(device, "slice_index", None) or 0, *device.coords, device.core_on_chip)


def _corner(devices: Iterable[jax.Device]) -> tuple[int, ...]:
    return tuple(map(min, zip(*map(_place, devices), strict=True)))


def _extents(devices: Iterable[jax.Device]) -> tuple[int, ...]:
    return tuple(max(axis) + 1 for axis in zip(*map(_place, devices), strict=True))


def _links(a: jax.Device, b: jax.Device, extents: tuple[int, ...]) -> int:
    """Links from one chip to another; axes of four chips or more are taken to be closed."""
    apart = [abs(here - there) for here, there in zip(_place(a), _place(b), strict=True)]
    return sum(
        min(steps, extent - steps) if extent >= 4 else steps
        for steps, extent in zip(apart, extents, strict=True)
    )


def _snake(items: list[Item], place: Callable[[Item], tuple[int, ...]]) -> list[Item]:
    """Items on a grid, line by line, every other line backwards."""
    if len(items) < 2:
        return items
    lines: dict[int, list[Item]] = {}
    for item in items:
        lines.setdefault(place(item)[0], []).append(item)
    path: list[Item] = []
    for number, first in enumerate(sorted(lines)):
        line = _snake(lines[first], lambda item: place(item)[1:])
        path += line[::-1] if number % 2 else line
    return path


def _ways(devices: list[jax.Device]) -> Iterator[list[jax.Device]]:
    """Snakes through the chips of a host, from every corner and along every axis first."""
    places = {device: _place(device) for device in devices}
    axes = [axis for axis, at in enumerate(zip(*places.values(), strict=True)) if len(set(at)) > 1]
    seen = set()
    for order in itertools.permutations(axes):
        for signs in itertools.product((1, -1), repeat=len(axes)):
            turned = {
                device: tuple(sign * at[axis] for sign, axis in zip(signs, order, strict=True))
                for device, at in places.items()
            }
            way = _snake(devices, turned.__getitem__)
            if tuple(way) not in seen:
                seen.add(tuple(way))
                yield way


def _closest(ways: list[list[list[jax.Device]]], extents: tuple[int, ...]) -> list[jax.Device]:
    """One way for each host, so that the ring through all has the fewest links (Viterbi's algorithm)."""
    best: tuple[int, list[jax.Device]] | None = None
    for first in ways[0]:
        paths = [(0, first)]
        for choices in ways[1:]:
            paths = [
                min(
                    (
                        (cost + _links(path[-1], way[0], extents), path + way)
                        for cost, path in paths
                    ),
                    key=lambda found: found[0],
                )
                for way in choices
            ]
        for cost, path in paths:
            total = cost + _links(path[-1], first[0], extents)
            if best is None or total < best[0]:
                best = total, path
    assert best is not None
    return best[1]
