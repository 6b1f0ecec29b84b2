"""All benchmarks, or those named: python -m benchmarks [NAME …] [--quick] [--json PATH]

Prints one table: what was measured, ours, the alternative in the same run, their ratio, the goal, and
whether it is met. Each benchmark has a process of its own, one after another; everything together
takes ten to fifteen minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

from benchmarks.suite import NAMES, machine, measured
from benchmarks.timing import Row, in_fresh_process, table
from jaxpart.io.files import write_json


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status, 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only shows that all runs")
    parser.add_argument(
        "--json", type=pathlib.Path, metavar="PATH", help="write the rows there too"
    )
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; choose from {', '.join(NAMES)}")

    about = in_fresh_process(machine)
    about["quick"] = given.quick
    found: list[tuple[str, Row]] = []
    seconds: dict[str, float] = {}
    failed: dict[str, str] = {}
    for name in given.names or NAMES:
        try:
            rows, seconds[name] = in_fresh_process(measured, name, given.quick)
            found += [(name, row) for row in rows]
            print(f"{name}: {seconds[name]:.0f} s", file=sys.stderr, flush=True)
        except Exception as error:  # the others are measured all the same
            failed[name] = f"{type(error).__name__}: {error}"
            print(f"{name} failed: {failed[name]}", file=sys.stderr, flush=True)
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(table(found))
    if given.json is not None:
        rows = [{"benchmark": name, **row._asdict()} for name, row in found]
        document = {"machine": about, "seconds": seconds, "failed": failed, "rows": rows}
        write_json(given.json, document)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
