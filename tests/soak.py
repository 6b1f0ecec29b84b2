"""Everything goes wrong at random, for as long as one likes: `python -m tests.soak --minutes 30 --seed 7`.

Programs are killed, interrupted and ended at random points, find the disk full, and find a bit of what they
left behind flipped. Started again they must end bitwise as if nothing had happened, or say in one sentence
which file is damaged; nothing may print a traceback or leave a temporary file. Not part of the suite.
"""

from __future__ import annotations

import argparse
import collections
import errno
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from test_kills import RUNS, ForkServer, Killed, assert_told, rounds, state

from jaxpart.terminal import INTERRUPTED
from jaxpart.zoo import shipped_folder

TROUBLES = ("killed", "interrupted", "ended", "full disk", "flipped bit")
_SIGNALS = {"killed": signal.SIGKILL, "interrupted": signal.SIGINT, "ended": signal.SIGTERM}
_STATUS = {"killed": (-9,), "interrupted": (INTERRUPTED,), "ended": (0, -15, 143)}

ACTIVITIES = {
    **RUNS,
    "export of weights": Killed(
        "export", ("weights", str(shipped_folder("mae")), "out/x.safetensors", "--layout=timm"), 0
    ),
    "export of views": Killed(
        "export", ("views", "out", "--data=critters", "--views=parts_test", "--pixels=32"), 0
    ),
}


class Soak:
    """One seeded sequence of accidents.

    Attributes:
      counts: How often each activity met each trouble, and how it ended.
      failures: What went wrong, in words.
    """

    def __init__(self, folder: pathlib.Path, seed: int) -> None:
        """Starts the fork server.

        Args:
          folder: An empty folder to work in.
          seed: Of all that happens.
        """
        RUNS.update(ACTIVITIES)
        self._rng, self._server, self._folder = random.Random(seed), ForkServer(folder), folder
        self.counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
        self.failures: list[str] = []

    def accident(self, number: int) -> None:
        """One activity, troubled once or more often, and then let be."""
        name = self._rng.choice(list(ACTIVITIES))
        trouble = self._rng.choice(TROUBLES)
        place = self._folder / f"round{number}"
        place.mkdir()
        story = f"{number}: {name}, {trouble}"
        try:
            end = self._troubled(name, trouble, place)
            self.counts[name, trouble, end] += 1
        except AssertionError as error:
            self.counts[name, trouble, "FAILED"] += 1
            self.failures.append(f"{story}\n{error}")
            print(f"FAILED {self.failures[-1]}", flush=True)

    def _troubled(self, name: str, trouble: str, place: pathlib.Path) -> str:
        one, rng = ACTIVITIES[name], self._rng
        _, calm, expected = self._server.calm(name)
        folder = next(rounds(one, place))
        times = rng.randint(1, 3) if trouble in _SIGNALS else 1
        for _ in range(times):
            where = {"at": rng.randint(1, max(1, calm["changes"]))}
            if trouble == "full disk":
                found = self._server.run(one, folder, **where, fault=errno.ENOSPC)
                if found["status"]:
                    assert_told(found, os.strerror(errno.ENOSPC), str(where))
                continue
            where["later"] = rng.choice((0, rng.random() * calm["seconds"] / 10))
            by = _SIGNALS.get(trouble, signal.SIGKILL)
            found = self._server.run(one, folder, **where, signal=int(by))
            allowed = (0, *_STATUS.get(trouble, (-9,)))
            self._calmly(found, allowed, where)
        flipped = self._flip(folder) if trouble == "flipped bit" else None
        found = self._server.run(one, folder)
        if flipped is not None and found["status"] == 2:
            errors = [line for line in found["output"].splitlines() if line.startswith("error: ")]
            assert len(errors) == 1 and "Traceback" not in found["output"], found["output"]
            return "told"
        there = "exists" in found["output"] and name.startswith("export")
        self._calmly(found, (2,) if there else (0,), {"again": flipped})
        wrong = [
            key
            for key in {**state(folder), **expected}
            if state(folder).get(key) != expected.get(key) and key != flipped
        ]
        assert not wrong, f"differs or is left: {wrong[:5]}, after {flipped}\n{found['output']}"
        left = list((self._server.folder / "tmp").iterdir())
        assert not left, f"left in the temporary folder: {left}"
        return "equal"

    def _calmly(self, found, allowed, where) -> None:
        assert found["status"] in allowed, f"{where}: {found['status']}\n{found['output']}"
        assert "Traceback" not in found["output"], f"{where}\n{found['output']}"

    def _flip(self, folder: pathlib.Path) -> str | None:
        """Changes a bit of a file that was left; returns its name."""
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)
        begun = [
            path for path in files if path.suffix != ".safetensors" or "features" in path.parts
        ]
        if not begun:
            return None
        path = self._rng.choice(begun)
        content = bytearray(path.read_bytes())
        content[self._rng.randrange(len(content))] ^= 1 << self._rng.randrange(8)
        path.write_bytes(content)
        return path.relative_to(folder).as_posix()

    def close(self) -> None:
        """Ends the fork server."""
        self._server.close()


def main() -> int:
    """Runs until the time is over; prints counts; returns 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    end, number = time.monotonic() + 60 * given.minutes, 0
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(pathlib.Path(folder), given.seed)
        while time.monotonic() < end:
            soak.accident(number)
            number += 1
        soak.close()
    print(f"{number} accidents in {given.minutes:g} minutes, seed {given.seed}")
    for (name, trouble, how), count in sorted(soak.counts.items()):
        print(f"  {name:<20}{trouble:<14}{how:<8}{count}")
    print(f"{len(soak.failures)} failed")
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
