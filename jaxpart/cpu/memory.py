"""How much memory a process may use: the machine's, or less in a container."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator


def memory_limit(root: pathlib.Path = pathlib.Path("/")) -> int:
    """Bytes of memory of this machine, or of the cgroup (version 1 or 2) that limits this process."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(root)])


def _limits(root: pathlib.Path) -> Iterator[int]:
    """The limits of the process's cgroups and their parents."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mounted, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mounted, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the group may have its name on the host; then only the mounted root exists.
        relative = pathlib.PurePath(group.lstrip("/"))
        for folder in (relative, *relative.parents):
            with contextlib.suppress(OSError, ValueError):  # no limit: "max"
                yield int((mounted / folder / name).read_text())
