"""`python -m jaxpart.export views OUT --data NAME`: exports the items, to compute features elsewhere.

OUT/items.jsonl has a line of JSON for each part patch or image that the tasks use: its "id", its "image"
and its "box" there (left, top, right, bottom; null for a whole image), its "class", and "data", "split" and
"view". With --pictures the items are also written as images, cropped and resized as tasks read them: png
writes OUT/pictures/000000.png …, named in "file"; array_record writes OUT/pictures.array_record, with PNG
records in the order of the lines.

Store your features in one file under these ids, and evaluate it with --config.encoder.features=FILE.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from jaxpart.config import part_config
from jaxpart.data.images import as_png
from jaxpart.errors import JaxpartError
from jaxpart.export.tables import VIEWS, LabelledView, find_views
from jaxpart.features.table import item_id
from jaxpart.io.files import path_of, remove_left, write_folder
from jaxpart.runs.progress import Progress

_VIEWS = ("parts", "parts_train", "parts_test")
_PICTURES = ("png", "array_record")


def _lines(views: Sequence[LabelledView]) -> Iterator[tuple[LabelledView, int, dict[str, Any]]]:
    """Yields each item's view, its number in the view, and its line; an item in two views appears once."""
    seen: set[str] = set()
    for view in views:
        for number, name in enumerate(view.view.ids):
            item = item_id(view.view, name)
            if item in seen:
                continue
            seen.add(item)
            image, box = name, None
            if view.view.kind.startswith("patch"):
                image, _, corners = name.rpartition(" [")
                box = json.loads(f"[{corners}")
            line = {
                "id": item,
                "image": image,
                "box": box,
                "class": view.classes[view.labels[number]],
                "data": view.view.data.split()[0],
                "split": view.source.info.split,
                "view": view.view.kind,
            }
            yield view, number, line


def export_views(args: argparse.Namespace) -> None:
    """Writes the list, and the pictures if requested."""
    if not 1 <= args.pixels <= 4096:
        raise JaxpartError("--pixels must be from 1 to 4096")
    config = part_config("", "", projector=False)
    config.data.sets, config.data.root = tuple(args.data), args.root or ""
    progress = Progress()
    with progress.bar("opening", None):
        views = list(find_views(args.views, config.data, size=args.pixels, on_error="raise"))
    items = list(_lines(views))

    def write(folder: pathlib.Path) -> None:
        lines = [line for _, _, line in items]
        if args.pictures == "png":
            (folder / "pictures").mkdir()
            for row, line in enumerate(lines):
                line["file"] = f"pictures/{row:06d}.png"
            for line, content in zip(lines, _pictures(items, progress), strict=True):
                (folder / line["file"]).write_bytes(content)
        elif args.pictures == "array_record":
            _records(folder / "pictures.array_record", _pictures(items, progress))
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
        (folder / "items.jsonl").write_text(text, encoding="utf-8", errors="surrogateescape")

    out = path_of(args.out)
    remove_left(out.parent, out.name)
    if out.exists():
        raise JaxpartError(f"{out} exists; name another folder")
    write_folder(out, write)
    print(f"{out / 'items.jsonl'}: {len(items)} items")


def _pictures(
    items: Sequence[tuple[LabelledView, int, dict[str, Any]]], progress: Progress
) -> Iterator[bytes]:
    """The items' pictures as PNG files."""
    with progress.bar("cutting", len(items)) as advance:
        start = 0
        while start < len(items):
            view = items[start][0]
            numbers = [number for other, number, _ in items[start:] if other is view]
            for pixels in view.view.read(numbers):
                if isinstance(pixels, JaxpartError):
                    raise pixels
                yield as_png(pixels)
                advance(1)
            start += len(numbers)


def _records(path: pathlib.Path, records: Iterator[bytes]) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    try:
        writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        try:
            for record in records:
                writer.write(record)
        finally:
            writer.close()
    except RuntimeError as error:  # array_record's error for a full or read-only disk
        raise OSError(str(error).split(";")[0]) from error


def main(arguments: list[str]) -> int:
    """Runs `python -m jaxpart.export views`; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m jaxpart.export views", description=__doc__)
    parser.add_argument("out", metavar="OUT", help="folder to create")
    parser.add_argument("--data", nargs="+", metavar="NAME", default=["critters"])
    parser.add_argument("--root", metavar="FOLDER", help="folder that holds the data sets")
    parser.add_argument("--views", nargs="+", metavar="VIEW", default=_VIEWS, help=", ".join(VIEWS))
    parser.add_argument("--pictures", choices=_PICTURES, help="also write the images")
    parser.add_argument(
        "--pixels", type=int, default=224, metavar="N", help="their side in pixels (default: 224)"
    )
    export_views(parser.parse_args(arguments))
    return 0
