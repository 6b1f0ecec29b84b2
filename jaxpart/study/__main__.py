"""Combines the results of studies: python -m jaxpart.study collect|show|write

collect STUDY …      stores the results of studies' work directories in the package
show [STUDY …]       prints their table and claims; default: the stored results
write FILE [STUDY …] writes them as a page
"""

from __future__ import annotations

from jaxpart import terminal

terminal.begin(__name__)

import argparse
import sys

from jaxpart.io.files import path_of, replacing, write_json
from jaxpart.study.document import document
from jaxpart.study.entries import STORED, merge, read_study
from jaxpart.study.evaluate import study_text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jaxpart.study",
        description="Combines results of studies (python -m jaxpart.main --config configs/study.py).",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    what = "work directory of a study, or a file of stored results"
    collect = commands.add_parser("collect", help="store results in the package")
    collect.add_argument("studies", nargs="+", metavar="STUDY", help=what)
    collect.add_argument("--out", type=path_of, default=STORED, help=f"default: {STORED}")
    show = commands.add_parser("show", help="print the table and the claims")
    show.add_argument(
        "studies", nargs="*", metavar="STUDY", help=f"{what}; default: the stored results"
    )
    write = commands.add_parser("write", help="write the page")
    write.add_argument("file", type=path_of, metavar="FILE", help="docs/study.md")
    write.add_argument(
        "studies", nargs="*", metavar="STUDY", help=f"{what}; default: the stored results"
    )
    return parser


@terminal.entry_point
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    args = _parser().parse_args(arguments)
    study = merge(map(read_study, args.studies or [STORED]))
    if args.command == "collect":
        write_json(args.out, study.document())
        print(f"{len(study.entries)} encoders' results: {args.out}")
    elif args.command == "write":
        text = document(study)
        with replacing(args.file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"page: {args.file}")
    else:
        print(study_text(study))
    return 0


if __name__ == "__main__":
    sys.exit(main())
