"""Runs all benchmarks, or those named: python -m benchmarks [NAME …] [--quick] [--json PATH]

Prints one table: what was measured, our value, the alternative's in the same run, their ratio, the goal,
and whether it is met. Benchmarks run one after another, each in its own process; all of them take ten to
fifteen minutes on two idle cores.
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
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: only checks that everything runs"
    )
    parser.add_argument(
        "--json", type=pathlib.Path, metavar="PATH", help="also write the rows to this file"
    )
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; choose from {', '.join(NAMES)}")

    environment = in_fresh_process(machine)
    environment["quick"] = options.quick
    results: list[tuple[str, Row]] = []
    seconds: dict[str, float] = {}
    failed: dict[str, str] = {}
    for name in options.names or NAMES:
        try:
            rows, seconds[name] = in_fresh_process(measured, name, options.quick)
            results += [(name, row) for row in rows]
            print(f"{name}: {seconds[name]:.0f} s", file=sys.stderr, flush=True)
        except Exception as error:  # the others still run
            failed[name] = f"{type(error).__name__}: {error}"
            print(f"{name} failed: {failed[name]}", file=sys.stderr, flush=True)
    print(", ".join(f"{key} {value}" for key, value in environment.items()))
    print(table(results))
    if options.json is not None:
        rows = [{"benchmark": name, **row._asdict()} for name, row in results]
        document = {"machine": environment, "seconds": seconds, "failed": failed, "rows": rows}
        write_json(options.json, document)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
