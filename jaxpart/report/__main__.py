"""`python -m jaxpart.report WORKDIR [WORKDIR …] --out report/`: a web page about finished runs."""

from __future__ import annotations

from jaxpart import terminal

terminal.begin(__name__)

import argparse
import sys

from jaxpart.errors import JaxpartError
from jaxpart.io.files import on_disk, path_of
from jaxpart.report.build import make_report, make_slide
from jaxpart.report.evaluate import Limits
from jaxpart.report.pictures import make_pictures
from jaxpart.runs.progress import Progress


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jaxpart.report",
        description="Builds a page of finished runs: the paper's tables, pictures, and the explorer.",
    )
    parser.add_argument("workdirs", nargs="*", metavar="WORKDIR", help="folder of a finished run")
    parser.add_argument("--out", default="report", metavar="FOLDER", help="default: report")
    parser.add_argument(
        "--tables-only",
        action="store_true",
        help="only what results.json holds: needs neither encoders nor data",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="encode nothing: leave out patches that are not cached, attention, and principal components",
    )
    parser.add_argument(
        "--slide",
        nargs="?",
        const="slide.png",
        metavar="FILE",
        help="instead of a report, one 16:9 picture for a lecture; .png of "
        "1920 × 1080, or .svg; without a name: slide.png",
    )
    parser.add_argument(
        "--pictures",
        metavar="FOLDER",
        help="instead of runs, images without annotations: attention, principal components, matching",
    )
    parser.add_argument(
        "--encoder",
        metavar="ENCODER",
        help="the encoder of --pictures: a converted folder, a method with a bundled small encoder "
        "(ibot), or timm:NAME",
    )
    parser.add_argument(
        "--run-functions",
        action="store_true",
        help="run encoders that are functions (module:function, path.py:function) of the runs",
    )
    limits = Limits()
    parser.add_argument(
        "--patches",
        type=terminal.count(0),
        default=limits.patches,
        metavar="N",
        help=f"part patches of a data set in the explorer; 0: all; default: {limits.patches}",
    )
    parser.add_argument(
        "--images",
        type=terminal.count(0),
        default=limits.images,
        metavar="N",
        help="images of a data set to cut into 7 × 7 windows, 0: none; or of --pictures; "
        f"default: {limits.images}",
    )
    return parser


def _pictures(args: argparse.Namespace) -> int:
    if not args.images:
        raise JaxpartError("--images is the number of --pictures shown, so it cannot be 0")
    out = path_of(args.out)
    make_pictures(on_disk(args.pictures, "--pictures"), args.encoder, out, args.images, Progress())
    print(f"report: {out / 'index.html'}")
    return 0


@terminal.entry_point
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status: 2 for an error."""
    args = _parser().parse_args(arguments)
    if bool(args.pictures) == bool(args.workdirs) or bool(args.pictures) != bool(args.encoder):
        raise JaxpartError(
            "name work directories of finished runs, or --pictures FOLDER and --encoder ENCODER"
        )
    if args.pictures and (args.slide or args.tables_only or args.quick):
        raise JaxpartError("--slide, --tables-only and --quick are for runs, not for --pictures")
    if args.pictures:
        return _pictures(args)
    if args.slide:
        slide_limits = Limits(
            args.patches, 0, args.quick, picture=720, thumbnail=140, functions=args.run_functions
        )
        make_slide(args.workdirs, path_of(args.slide), slide_limits, Progress())
        print(f"slide: {args.slide}")
        return 0
    limits = Limits(args.patches, args.images, args.quick, functions=args.run_functions)
    make_report(args.workdirs, path_of(args.out), None if args.tables_only else limits, Progress())
    print(f"report: {path_of(args.out) / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
