"""Kills, interrupts, fills disks and flips bits at random: `python -m tests.soak --minutes 30 --seed 7`.

Each round takes one activity (preparing, converting, the main job, pretraining, exporting, a report) and
one mishap, and starts the activity again until it ends. It must end with the files of an undisturbed run,
bitwise, or with one sentence where a file was damaged; leave nothing; never show a trace; and have the exit
status that the documentation names. Counts are printed; the exit status is 1 where anything was wrong.

Commit nothing meanwhile: results of pretraining name the commit.
"""

from __future__ import annotations

import argparse
import collections
import errno
import itertools
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from test_kills import RUNS, Killed, Programs, assert_same, assert_told, state

SECONDS = 240
"""Longer than any of these runs: what takes so long hangs."""
STATUS = {  # 0: it had ended, or has saved its place
    signal.SIGKILL: {0, -signal.SIGKILL},
    signal.SIGINT: {0, 130},
    signal.SIGTERM: {0, -signal.SIGTERM},
}


def done(found: dict) -> bool:
    """Whether pretraining had ended before, and says so."""
    return found["status"] == 2 and "the run is done" in found["output"]


class Soak:
    """Rounds of mishaps."""

    def __init__(self, server: Programs, rng: random.Random) -> None:
        self.server, self.rng = server, rng
        self.story: list[str] = []

    def start(self, one: Killed, folder: pathlib.Path, **what: object) -> dict:
        """Runs an activity once, with a mishap or without; what always holds is checked."""
        found = self.server.run(one, folder, limit=SECONDS, **what)
        self.story.append(f"{what} -> {found['status']} after {found['changes']} changes")
        assert found["status"] != -signal.SIGALRM, "it hangs"
        assert "Traceback" not in found["output"], found["output"]
        return found

    def end(self, name: str, folder: pathlib.Path) -> None:
        """Starts it undisturbed: it ends as if nothing had happened."""
        found = self.start(RUNS[name], folder)
        assert found["status"] == 0 or done(found), found["output"]
        self.check(name, folder)

    def check(self, name: str, folder: pathlib.Path) -> None:
        assert_same(state(folder), self.server.calm(name)[2], name)
        left = list((self.server.folder / "tmp").iterdir())
        assert not left, f"{left} is left"

    def point(self, name: str) -> dict[str, object]:
        """When something happens."""
        calm = self.server.calm(name)[1]
        later = self.rng.choice((0, self.rng.random() * calm["seconds"] / 4))
        return {"at": self.rng.randint(1, calm["changes"]), "later": later}

    def signalled(self, name: str, folder: pathlib.Path, number: signal.Signals) -> None:
        for _ in range(self.rng.randint(1, 3)):
            found = self.start(RUNS[name], folder, signal=number, **self.point(name))
            if done(found):
                break
            assert found["status"] in STATUS[number], found["output"]
        self.end(name, folder)

    def killed(self, name: str, folder: pathlib.Path) -> None:
        self.signalled(name, folder, signal.SIGKILL)

    def interrupted(self, name: str, folder: pathlib.Path) -> None:
        self.signalled(name, folder, signal.SIGINT)

    def terminated(self, name: str, folder: pathlib.Path) -> None:
        self.signalled(name, folder, signal.SIGTERM)

    def disk(self, name: str, folder: pathlib.Path, fault: int, reason: str) -> None:
        found = self.start(RUNS[name], folder, at=self.point(name)["at"], fault=fault)
        if found["status"]:  # else it had nothing more to write
            assert_told(found, reason, name)
        self.end(name, folder)

    def full(self, name: str, folder: pathlib.Path) -> None:
        self.disk(name, folder, errno.ENOSPC, "No space left on device")

    def read_only(self, name: str, folder: pathlib.Path) -> None:
        self.disk(name, folder, errno.EROFS, "Read-only file system")

    def flipped(self, name: str, folder: pathlib.Path) -> str:
        """One bit of one file of a killed or finished run; it is told, made good, or was not read."""
        one = RUNS[name]
        self.start(one, folder, **(self.point(name) if self.rng.random() < 0.7 else {}))
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)
        files = [path for path in files if path not in self.brought(name, folder)]
        if not files:
            return "nothing to flip"
        path = self.rng.choice(files)
        before = path.read_bytes()
        data = bytearray(before)
        place, bit = self.rng.randrange(len(data)), self.rng.randrange(8)
        data[place] ^= 1 << bit
        path.write_bytes(data)
        self.story.append(f"byte {place}, bit {bit} of {path.relative_to(folder)}")
        found = self.start(one, folder)
        if found["status"]:
            errors = [line for line in found["output"].splitlines() if line.startswith("error: ")]
            assert (found["status"], len(errors)) == (2, 1), found["output"]
            return "told"
        same = path.is_file() and path.read_bytes() == bytes(data)
        if same:  # a file that this activity does not read again
            path.write_bytes(before)
        self.check(name, folder)
        return "not read" if same else "made good"

    @staticmethod
    def brought(name: str, folder: pathlib.Path) -> set[pathlib.Path]:
        """Files that the activity begins with."""
        with tempfile.TemporaryDirectory() as fresh:
            RUNS[name].begin(pathlib.Path(fresh))
            return {folder / p.relative_to(fresh) for p in pathlib.Path(fresh).rglob("*")}


MISHAPS = (Soak.killed, Soak.interrupted, Soak.terminated, Soak.full, Soak.read_only, Soak.flipped)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, help="default: a new one, which is printed")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    rng, counts, wrong = random.Random(seed), collections.Counter(), 0
    end = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        server = Programs(pathlib.Path(scratch))
        run = server.calm("features")[0] / "run"
        RUNS["export"] = Killed("export", (str(run), "out", "--views=parts", "--data=critters"), 0)
        RUNS["report"] = Killed("report", (str(run), "--out=report", "--tables-only"), 0)
        for number in itertools.count():
            if time.monotonic() > end:
                break
            name, mishap = rng.choice(sorted(RUNS)), rng.choice(MISHAPS)
            folder = pathlib.Path(scratch) / f"round{number}"
            folder.mkdir()
            RUNS[name].begin(folder)
            soak = Soak(server, rng)
            try:
                outcome = mishap(soak, name, folder) or "as undisturbed"
            except AssertionError as error:
                outcome = "WRONG"
                wrong += 1
                print(
                    f"WRONG: {name}, {mishap.__name__}: {'; '.join(soak.story)}\n{error}",
                    flush=True,
                )
            counts[mishap.__name__, outcome, name] += 1
            shutil.rmtree(folder)
        server.close()
    for (what, outcome, name), count in sorted(counts.items()):
        print(f"{count:5}  {what}, {name}: {outcome}")
    print(f"{counts.total()} rounds, {wrong} wrong, seed {seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
