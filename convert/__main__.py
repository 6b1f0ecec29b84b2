"""`python -m convert FAMILY CHECKPOINT OUT`: converts a PyTorch checkpoint to an encoder folder.

CHECKPOINT is a file, the index of a sharded one, a folder, a release @NAME (`--list` lists them), or
hf:OWNER/NAME[@REVISION][:FILE] on the Hugging Face hub. FAMILY may be `auto` for sources that state their
family: releases, and folders with a config.json.
"""

from __future__ import annotations

from jaxpart import terminal

terminal.begin(__name__)

import argparse
import re
import sys
from typing import get_args

from convert.families import FAMILIES
from convert.pipeline import convert
from convert.releases import releases_of
from jaxpart.encoders.families import families
from jaxpart.encoders.layers import Activation
from jaxpart.encoders.positions import PositionResize
from jaxpart.runs.progress import Progress


def _two_sides(text: str) -> tuple[int, int]:
    matched = re.fullmatch(r"(\d{1,6})(?:[x×](\d{1,6}))?", text)
    if not matched:
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor HEIGHTxWIDTH")
    return int(matched[1]), int(matched[2] or matched[1])


def _channels(text: str) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not R,G,B") from None
    return red, green, blue


def _tokens(text: str) -> tuple[tuple[str, int], ...]:
    matched = re.fullmatch(r"[A-Za-z_]\w*(:\d{1,3})?(,[A-Za-z_]\w*(:\d{1,3})?)*", text)
    if not matched:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME[:COUNT],…, as in cls,reg:4")
    pairs = (part.partition(":") for part in text.split(","))
    known = {"reg": "registers", "register": "registers"}
    return tuple((known.get(name, name), int(number or 1)) for name, _, number in pairs)


class _List(argparse.Action):
    """Prints the families and their releases, and exits."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        for facts in families().values():
            pixels = facts.preprocessing
            print(f"{facts.name}: {facts.title}")
            for name, value in (
                ("prefix", facts.prefix),
                ("patches", ", ".join(map(str, facts.patch_sizes)) + " pixels"),
                ("positions", facts.positions),
                ("projector", facts.projector),
                ("pixels", f"mean {pixels.mean}, std {pixels.std}; {facts.resize}"),
                ("layouts", ", ".join(facts.layouts)),
                ("note", facts.note),
            ):
                if value:
                    print(f"  {name:<10} {value}")
            for release in releases_of(facts.name):
                print(f"  @{release.name:<23} {release.summary}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m convert",
        description="Convert a PyTorch checkpoint into a Flax encoder for jaxpart.load_encoder.",
        epilog="example: python -m convert ibot checkpoint.pth checkpoints/ibot_vitb16",
    )
    parser.add_argument(
        "--list",
        nargs=0,
        action=_List,
        default=argparse.SUPPRESS,
        help="show the families and their releases",
    )
    parser.add_argument(
        "family", metavar="FAMILY", help=f"{', '.join(FAMILIES)}, path.py:FAMILY or auto"
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a file, folder, @NAME or hf:OWNER/NAME"
    )
    parser.add_argument("out", metavar="OUT", help="folder to create")
    parser.add_argument(
        "--layout",
        choices=("original", "timm", "transformers"),
        help="the checkpoint's naming scheme (default: original; known for @NAME)",
    )
    parser.add_argument(
        "--checkpoint-key", metavar="KEY", help="network of the file: teacher, model_ema…"
    )
    parser.add_argument("--prefix", metavar="PREFIX", help="the encoder's name prefix in it")
    parser.add_argument(
        "--ignore", metavar="PATTERN", action="append", default=[], help="keys to leave out"
    )
    parser.add_argument("--num-heads", type=int, metavar="N", help="attention heads")
    parser.add_argument(
        "--image-size", type=_two_sides, metavar="N", help="N or HxW: input size of the encoder"
    )
    parser.add_argument(
        "--grid", type=_two_sides, metavar="N", help="N or HxW: patch grid that it was trained at"
    )
    parser.add_argument(
        "--tokens", type=_tokens, default=(), metavar="NAMES", help="before the patches: cls,reg:4"
    )
    parser.add_argument("--mean", type=_channels, metavar="R,G,B", help="of the pixels")
    parser.add_argument("--std", type=_channels, metavar="R,G,B", help="of the pixels")
    parser.add_argument(
        "--eps", dest="epsilon", type=float, metavar="X", help="epsilon of the norms"
    )
    parser.add_argument("--activation", choices=get_args(Activation), help="of the MLPs")
    parser.add_argument(
        "--positions", choices=get_args(PositionResize), help="how positions are interpolated"
    )
    parser.add_argument("--name", help="the encoder's name in results (default: the family)")
    parser.add_argument(
        "--with-decoder",
        action="store_true",
        help="also convert MAE's decoder, BEiT's token classifier, CAE's regressor and decoder",
    )
    parser.add_argument(
        "--decoder-num-heads",
        type=int,
        metavar="N",
        help="heads of MAE's decoder; default: 16 at width 512, else by the encoder's head width",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an encoder in OUT")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the mapping and write nothing"
    )
    return parser


@terminal.entry_point
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    options = vars(_parser().parse_args(arguments))
    family, checkpoint, out = (options.pop(name) for name in ("family", "checkpoint", "out"))
    options["ignore"] = tuple(options["ignore"])
    config = convert(family, checkpoint, out, say=print, progress=Progress(), **options)
    done = "would be written to" if options["dry_run"] else "written to"
    name = "encoder" if family == "auto" else family
    print(
        f"{name}: depth {config.depth}, width {config.width}, {config.num_heads} heads, patch "
        f"{config.patch_size}, {config.image_size[0]} × {config.image_size[1]} pixels, {done} {out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
