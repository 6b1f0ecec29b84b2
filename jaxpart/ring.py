"""The order of devices in a ring: neighbours in the machine, with a process's devices together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import jax

Item = TypeVar("Item")


def in_ring(devices: Iterable[jax.Device]) -> list[jax.Device]:
    """Devices in mesh order.

    A process's devices stay together, and so do its rows of a batch. On a TPU, processes snake through the
    grid of hosts, and each host's chips are ordered so that as many steps as possible, the one from last
    back to first included, are between neighbours: all 64 on v4:4x4x4, against 32 in the order of ids.
    Other devices are ordered by id.
    """
    hosts: dict[int, list[jax.Device]] = {}
    for device in sorted(devices, key=lambda device: (device.process_index, device.id)):
        hosts.setdefault(device.process_index, []).append(device)
    ordered = [device for local in hosts.values() for device in local]
    if ordered[0].platform != "tpu":
        return ordered
    path = _snake(list(hosts.values()), _corner)
    return _shortest_ring([list(_snakes(local)) for local in path], _extents(ordered))


def _coordinates(device: jax.Device) -> tuple[int, ...]:
    """A device's slice, the coordinates of its chip, and its core on the chip."""
    return (getattr(device, "slice_index", None) or 0, *device.coords, device.core_on_chip)


def _corner(devices: Iterable[jax.Device]) -> tuple[int, ...]:
    return tuple(map(min, zip(*map(_coordinates, devices), strict=True)))


def _extents(devices: Iterable[jax.Device]) -> tuple[int, ...]:
    return tuple(max(axis) + 1 for axis in zip(*map(_coordinates, devices), strict=True))


def _links(a: jax.Device, b: jax.Device, extents: tuple[int, ...]) -> int:
    """Links from one chip to another; axes of four chips or more are assumed to wrap around."""
    distances = [abs(x - y) for x, y in zip(_coordinates(a), _coordinates(b), strict=True)]
    return sum(
        min(steps, extent - steps) if extent >= 4 else steps
        for steps, extent in zip(distances, extents, strict=True)
    )


def _snake(items: list[Item], position: Callable[[Item], tuple[int, ...]]) -> list[Item]:
    """Items on a grid, line by line, every other line backwards."""
    if len(items) < 2:
        return items
    lines: dict[int, list[Item]] = {}
    for item in items:
        lines.setdefault(position(item)[0], []).append(item)
    path: list[Item] = []
    for number, first in enumerate(sorted(lines)):
        line = _snake(lines[first], lambda item: position(item)[1:])
        path += line[::-1] if number % 2 else line
    return path


def _snakes(devices: list[jax.Device]) -> Iterator[list[jax.Device]]:
    """Snakes through the chips of a host, from every corner and along every axis first."""
    positions = {device: _coordinates(device) for device in devices}
    columns = zip(*positions.values(), strict=True)
    axes = [axis for axis, values in enumerate(columns) if len(set(values)) > 1]
    seen = set()
    for order in itertools.permutations(axes):
        for signs in itertools.product((1, -1), repeat=len(axes)):
            turned = {
                device: tuple(
                    sign * position[axis] for sign, axis in zip(signs, order, strict=True)
                )
                for device, position in positions.items()
            }
            snake = _snake(devices, turned.__getitem__)
            if tuple(snake) not in seen:
                seen.add(tuple(snake))
                yield snake


def _shortest_ring(
    snakes: list[list[list[jax.Device]]], extents: tuple[int, ...]
) -> list[jax.Device]:
    """Picks a snake per host such that the ring through all has the fewest links (Viterbi's algorithm)."""
    best: tuple[int, list[jax.Device]] | None = None
    for first in snakes[0]:
        paths = [(0, first)]
        for choices in snakes[1:]:
            paths = [
                min(
                    (
                        (cost + _links(path[-1], snake[0], extents), path + snake)
                        for cost, path in paths
                    ),
                    key=lambda candidate: candidate[0],
                )
                for snake in choices
            ]
        for cost, path in paths:
            total = cost + _links(path[-1], first[0], extents)
            if best is None or total < best[0]:
                best = total, path
    assert best is not None
    return best[1]
