"""`python -m jaxpart.report WORKDIR [WORKDIR …] --out report/`: finished runs as a page."""

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
        description="Finished runs as a page: the paper's tables, pictures, and the explorer.",
    )
    parser.add_argument("workdirs", nargs="*", metavar="WORKDIR", help="folder of a finished run")
    parser.add_argument("--out", default="report", metavar="FOLDER", help="default: report")
    parser.add_argument(
        "--tables-only",
        action="store_true",
        help="what results.json holds: needs neither encoders nor data",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="encode nothing: leave out the patches that the feature cache lacks, attention, and "
        "principal components",
    )
    parser.add_argument(
        "--slide",
        nargs="?",
        const="slide.png",
        metavar="FILE",
        help="in place of a report, one 16:9 picture of part-to-whole for a lecture; .png of "
        "1920 × 1080, or .svg; without a name: slide.png",
    )
    parser.add_argument(
        "--pictures",
        metavar="FOLDER",
        help="in place of runs, any images, without annotations: attention, principal components, two "
        "images matched",
    )
    parser.add_argument(
        "--encoder",
        metavar="ENCODER",
        help="whose pictures: a converted folder, a method whose small encoder came with jaxpart "
        "(ibot), or timm:NAME",
    )
    limits = Limits()
    parser.add_argument(
        "--patches",
        type=int,
        default=limits.patches,
        metavar="N",
        help=f"part patches of a data set in the explorer; 0: all; default: {limits.patches}",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=limits.images,
        metavar="N",
        help="images of a data set that are cut into 7 × 7 windows, 0: none; or of --pictures; "
        f"default: {limits.images}",
    )
    return parser


def _pictures(given: argparse.Namespace) -> int:
    if not given.images:
        raise JaxpartError("--images is how many --pictures are shown, so that it cannot be 0")
    out = path_of(given.out)
    make_pictures(
        on_disk(given.pictures, "--pictures"), given.encoder, out, given.images, Progress()
    )
    print(f"report: {out / 'index.html'}")
    return 0


@terminal.told
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status: 2 for an error."""
    given = _parser().parse_args(arguments)
    if given.patches < 0 or given.images < 0:
        raise JaxpartError("--patches and --images cannot be negative; 0 means all, and none")
    if bool(given.pictures) == bool(given.workdirs) or bool(given.pictures) != bool(given.encoder):
        raise JaxpartError(
            "name work directories of finished runs, or --pictures FOLDER and --encoder ENCODER"
        )
    if given.pictures and (given.slide or given.tables_only or given.quick):
        raise JaxpartError("--slide, --tables-only and --quick are for runs, not for --pictures")
    if given.pictures:
        return _pictures(given)
    if given.slide:
        sharp = Limits(given.patches, 0, given.quick, picture=720, thumbnail=140)
        make_slide(given.workdirs, path_of(given.slide), sharp, Progress())
        print(f"slide: {given.slide}")
        return 0
    limits = None if given.tables_only else Limits(given.patches, given.images, given.quick)
    make_report(given.workdirs, path_of(given.out), limits, Progress())
    print(f"report: {path_of(given.out) / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
