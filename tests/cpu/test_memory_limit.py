"""The memory that a process may use, in containers too."""

import os

import pytest

from jaxpart.cpu.memory import memory_limit

GROUPS = {
    "version 2": ("0::/run/job\n", "run/job/memory.max", "1000\n"),
    "a group above": ("0::/run/job\n", "run/memory.max", "1000\n"),
    "a container's own view": ("0::/\n", "memory.max", "1000\n"),
    "version 1": ("4:cpu,cpuacct:/a\n3:memory:/b\n", "memory/b/memory.limit_in_bytes", "1000\n"),
    "as the host names it": ("3:memory:/docker/b\n", "memory/memory.limit_in_bytes", "1000\n"),
    "both": ("3:memory:/\n0::/\n", "memory/memory.limit_in_bytes", "1000\n"),
}


@pytest.mark.parametrize("case", GROUPS)
def test_the_least_limit_counts(tmp_path, case):
    groups, file, limit = GROUPS[case]
    write(tmp_path / "proc/self/cgroup", groups)
    write(tmp_path / "sys/fs/cgroup" / file, limit)
    assert memory_limit(tmp_path) == 1000


@pytest.mark.parametrize("limit", ["max\n", f"{2**63 - 4096}\n", None])
def test_without_a_limit_it_is_the_machines(tmp_path, limit):
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_limit(tmp_path) == machine  # no cgroups
    write(tmp_path / "proc/self/cgroup", "0::/job\n")
    if limit is not None:
        write(tmp_path / "sys/fs/cgroup/job/memory.max", limit)
    assert memory_limit(tmp_path) == machine


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
