"""Commands in forks of a process that has imported everything, one after another, in one folder.

Reads a list of [key, program, arguments] as JSON, and writes by key the exit status, what was printed, and
the files that were left, which it removes.
"""

import gc
import importlib
import json
import os
import pathlib
import shutil
import signal
import sys

import fork_server

MODULES = {
    name: f"jaxpart.{name}.__main__" for name in ("data", "export", "report", "study", "verify")
} | {"convert": "convert.__main__"}
SECONDS = 60
NAME = "linear/cls_token/best"


def call(program: str, arguments: list[str]) -> int:
    from jaxpart import comparison, terminal  # of this tree, see below
    from jaxpart.probes.trained import load_head

    if program in ("main", "pretraining"):
        return fork_server.PROGRAMS[program](arguments)
    sys.argv = [program, *arguments]
    if program == "load_head":
        return terminal.entry_point(lambda: 0 if load_head(arguments[0], NAME) else 1)()
    if program == "comparison":
        return comparison.main()
    return importlib.import_module(MODULES[program]).main(arguments)


def forked(program: str, arguments: list[str], folder: pathlib.Path) -> tuple[int, str]:
    """Exit status and output."""

    def work() -> int:
        os.chdir(folder)
        signal.alarm(SECONDS)
        return call(program, arguments)

    return fork_server.fork(work)()


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    fork_server._import_everything()
    for module in MODULES.values():
        importlib.import_module(module)
    gc.freeze()  # collections in a fork would copy the pages of all that is imported
    before = set(folder.rglob("*"))
    answers = {}
    for key, program, arguments in json.load(sys.stdin):
        status, output = forked(program, arguments, folder)
        left = {p for p in set(folder.rglob("*")) - before if "__pycache__" not in p.parts}
        answers[key] = status, output, sorted(str(p.relative_to(folder)) for p in left)
        for path in sorted(left, reverse=True):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(json.dumps(answers))


if __name__ == "__main__":
    root = pathlib.Path(__file__).resolve().parent.parent
    sys.path[:0] = [str(root), str(root / "tests")]
    main()
