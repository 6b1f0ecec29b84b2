"""`python -m convert FAMILY CHECKPOINT OUT`: a PyTorch checkpoint becomes an encoder folder.

CHECKPOINT is a file, or @NAME of a released one, which is fetched; `--list` names them.
"""

from __future__ import annotations

import argparse
import re
import sys

from convert.download import download_release
from convert.families import FAMILIES
from convert.pipeline import convert
from convert.releases import find_release, releases_of
from jaxpart.encoders.families import families
from jaxpart.errors import told
from jaxpart.runs.progress import Progress


def _image_size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor HEIGHTxWIDTH")
    height = int(found.group(1))
    return height, int(found.group(2) or height)


class _List(argparse.Action):
    """Prints what is known of each family and its releases, and leaves."""

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


@told
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m convert",
        description="Convert a PyTorch checkpoint into a Flax encoder for jaxpart.load_encoder.",
        epilog="example: python -m convert ibot checkpoint.pth checkpoints/ibot_vitb16",
    )
    parser.add_argument(
        "--list", nargs=0, action=_List, help="show the families and their releases"
    )
    parser.add_argument("family", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="the released .pth, .safetensors or .npz, or @NAME to fetch one",
    )
    parser.add_argument("out", metavar="OUT", help="folder to be made")
    parser.add_argument(
        "--layout",
        choices=("original", "timm", "transformers"),
        help="whose names the checkpoint uses (default: original; of @NAME known)",
    )
    parser.add_argument(
        "--checkpoint-key", metavar="KEY", help="network of the file: teacher, student…"
    )
    parser.add_argument(
        "--num-heads", type=int, metavar="N", help="where the family's table is not meant"
    )
    parser.add_argument(
        "--image-size", type=_image_size, metavar="N", help="N or HxW to make the encoder for"
    )
    parser.add_argument(
        "--with-decoder",
        action="store_true",
        help="convert MAE's decoder, BEiT's token classifier, CAE's regressor and decoder too",
    )
    parser.add_argument(
        "--decoder-num-heads",
        type=int,
        metavar="N",
        help="of MAE's decoder; by default 16 at width 512, else of the encoder's head width",
    )
    parser.add_argument(
        "--use-torch", action="store_true", help="let PyTorch read its old file format"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an encoder in OUT")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the mapping and write nothing"
    )
    given = parser.parse_args(arguments)
    checkpoint, layout, key = given.checkpoint, given.layout, given.checkpoint_key
    if checkpoint.startswith("@"):
        release = find_release(checkpoint[1:], given.family)
        checkpoint = download_release(release)
        layout, key = layout or release.layout, key or release.checkpoint_key
    config = convert(
        given.family,
        checkpoint,
        given.out,
        layout=layout or "original",
        checkpoint_key=key,
        num_heads=given.num_heads,
        image_size=given.image_size,
        with_decoder=given.with_decoder,
        decoder_num_heads=given.decoder_num_heads,
        allow_torch=given.use_torch,
        overwrite=given.overwrite,
        dry_run=given.dry_run,
        log=print if given.dry_run else lambda line: None,
        progress=Progress(),
    )
    done = "would be written to" if given.dry_run else "written to"
    print(
        f"{given.family}: depth {config.depth}, width {config.width}, {config.num_heads} heads, patch "
        f"{config.patch_size}, {config.image_size[0]} × {config.image_size[1]} pixels, {done} {given.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
