"""`python -m jaxpart.verify encoder | features | results`: compares two sides that should be the same.

The exit status is 0 if they are, 1 if something differs, and 2 if nothing could be compared.
"""

from __future__ import annotations

from jaxpart import terminal

terminal.begin(__name__)

import argparse
import math
import re
import sys
from typing import Any

from jaxpart.io.files import path_of, write_json
from jaxpart.runs.progress import Progress


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor HEIGHTxWIDTH")
    return int(match.group(1)), int(match.group(2) or match.group(1))


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number of 0 or more")
    return value


def _stage(text: str) -> tuple[str, str]:
    stage, equals, module = text.partition("=")
    if not (stage and equals and module):
        raise argparse.ArgumentTypeError(f"{text!r} is not STAGE=MODULE")
    return stage, module


def _encoder(args: argparse.Namespace) -> Any:
    from jaxpart.verify.encoder import verify_encoder  # imports PyTorch

    return verify_encoder(
        args.checkpoint,
        args.out,
        args.reference,
        sizes=args.size,
        images=args.images,
        count=args.count,
        tolerance=args.tolerance,
        named=dict(args.stage),
        progress=Progress(),
    )


def _features(args: argparse.Namespace) -> Any:
    from jaxpart.verify.features import verify_features

    return verify_features(args.a, args.b, key=args.key, tolerance=args.tolerance)


def _results(args: argparse.Namespace) -> Any:
    from jaxpart.verify.results import verify_results

    return verify_results(args.a, args.b, tolerance=args.tolerance)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jaxpart.verify", description=__doc__)
    commands = parser.add_subparsers(required=True)

    encoder = commands.add_parser("encoder", help="a converted encoder against PyTorch")
    encoder.set_defaults(run=_encoder)
    encoder.add_argument("checkpoint", metavar="CHECKPOINT", help="the PyTorch file")
    encoder.add_argument("out", metavar="OUT", help="the folder converted from it")
    encoder.add_argument(
        "--reference",
        required=True,
        metavar="MODEL",
        help="timm:NAME[,key=value…], transformers:CLASS or module:path.to.module:callable",
    )
    encoder.add_argument(
        "--size", type=_size, action="append", default=[], help="N or HxW; may be repeated"
    )
    encoder.add_argument("--images", metavar="FOLDER", help="default: rendered critters")
    encoder.add_argument(
        "--count", type=terminal.count(1), default=4, help="number of images (default: 4)"
    )
    encoder.add_argument(
        "--stage",
        type=_stage,
        action="append",
        default=[],
        metavar="STAGE=MODULE",
        help="submodule whose output is blocks, tokens, projection…; may be repeated",
    )

    features = commands.add_parser("features", help="two feature files, row by row")
    features.set_defaults(run=_features)
    features.add_argument("a", metavar="A", help=".npz, .npy, .safetensors or .pt")
    features.add_argument("b", metavar="B")
    features.add_argument("--key", help="name of the array, or that in A = that in B")

    results = commands.add_parser("results", help="two results.json, or one and the paper")
    results.set_defaults(run=_results)
    results.add_argument("a", metavar="A", help="results.json, or the folder of a run")
    results.add_argument("b", metavar="B", help="the same, or `paper`")

    for command, tolerance, unit in (
        (encoder, 1e-4, "largest absolute error"),
        (features, 1e-4, "largest absolute error"),
        (results, 0.1, "percentage points"),
    ):
        command.add_argument(
            "--tolerance", type=_tolerance, default=tolerance, help=f"{unit} (default: {tolerance})"
        )
        command.add_argument("--json", metavar="FILE", help="write the full result to a file")
    return parser


@terminal.entry_point
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    args = _parser().parse_args(arguments)
    report = args.run(args)
    if args.json:
        write_json(path_of(args.json), report.as_json())
    print(report.as_text())
    return 0 if report.same else 1


if __name__ == "__main__":
    sys.exit(main())
