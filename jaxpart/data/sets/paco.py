"""PACO-LVIS (Ramanathan et al., CVPR 2023): parts of objects in images of COCO."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

from jaxpart.data.coco_file import CocoFile
from jaxpart.data.folders import NotThere, check_split, read_file, walk_images
from jaxpart.data.layouts import Layout
from jaxpart.data.masked_images import MaskedImages, labelled
from jaxpart.data.sets.coco import image_folder
from jaxpart.errors import JaxpartError, printable

ADVICE = (
    "unpack paco_lvis_v1.zip (https://github.com/facebookresearch/paco) and COCO's train2017 and val2017 "
    "there"
)
SPLITS = ("train", "val", "test")
_IMAGES = ("train2017", "val2017")
"""COCO's folders, with which image names start."""


def paco_part(root: str | pathlib.Path, split: str) -> MaskedImages:
    """PACO-LVIS as a `Source` with a mask "part", whose classes are the 200 names of parts, sorted.

    The 456 (object, part) pairs do not fit into 8-bit label maps, so a mug's handle and a knife's handle
    are one class. Where instances overlap, the one with the larger id wins. Not every part of an image is
    annotated, so background pixels may be unannotated parts; images without a mask are left out.

    Args:
      root: The folder with annotations/paco_lvis_v1_*.json, with COCO's images in it or beside it; or one
        above.
      split: "train", "val" or "test".

    Raises:
      JaxpartError: The layout is wrong, a file is missing, or a field of the json is invalid.
    """
    return _open("paco_part", "part", root, split)


def paco_object(root: str | pathlib.Path, split: str) -> MaskedImages:
    """PACO-LVIS as a `Source` with a mask "object" of its 75 objects, in the order of their ids.

    See `paco_part` for arguments, errors and overlaps.
    """
    return _open("paco_object", "object", root, split)


def _open(name: str, kind: str, root: str | pathlib.Path, split: str) -> MaskedImages:
    check_split("PACO-LVIS", split, SPLITS)
    root = pathlib.Path(root)
    files = {key: f"annotations/paco_lvis_v1_{key}.json" for key in SPLITS}
    layout = Layout(("paco", "PACO", "paco_lvis_v1"), tuple(files.values()), distinctive=True)
    folder = layout.folder(root, "PACO-LVIS")
    if folder is None:
        raise NotThere(f"{root} holds no PACO-LVIS: {files[split]} is missing; {ADVICE}")
    file = folder / files[split]
    if not file.exists():
        raise NotThere(f"{file} is missing; {ADVICE}")
    content = read_file(file)
    document = CocoFile(file, content)
    labels, names = _labels(document, kind)
    masks_of_image, empty = labelled(document, labels)
    drawn = {key: sorted(masks) for key, masks in masks_of_image.items()}
    keys = list(drawn)
    paths = _images(document.file_names(keys), (folder, root), file)
    images = dict(zip(keys, paths, strict=True))
    return MaskedImages(name, split, document, content, (drawn, empty), images, kind, names)


def _labels(document: CocoFile, kind: str) -> tuple[dict[int, int | None], tuple[str, ...]]:
    """The label of each category of a kind, None for the others; and the names of the labels."""
    ids = document.unique_ids("categories").tolist()
    names, groups = (document.column("categories", field) for field in ("name", "supercategory"))
    chosen: dict[int, str] = {}
    for row, (key, name, group) in enumerate(zip(ids, names, groups, strict=True)):
        where = f"{document.path}: categories[{row}]"
        if group not in ("OBJECT", "PART"):
            raise JaxpartError(
                f"{where}.supercategory is {printable(repr(group))}, neither OBJECT nor PART; unpack it "
                "again"
            )
        owner, colon, part = name.partition(":") if isinstance(name, str) else ("", "", "")
        if not owner or bool(part) != (group == "PART") or (colon and not part):
            raise JaxpartError(
                f"{where}.name is {printable(repr(name))}, which is not the name of an object (mug) "
                "or of a part (mug:handle); unpack it again"
            )
        if (group == "PART") == (kind == "part"):
            chosen[key] = part or owner
    in_order = (
        sorted(chosen.values()) if kind == "part" else [chosen[key] for key in sorted(chosen)]
    )
    labels = list(dict.fromkeys(in_order))
    label_of = {name: label for label, name in enumerate(labels, 1)}
    return {key: label_of.get(chosen.get(key, "")) for key in ids}, ("background", *labels)


def _images(
    names: Sequence[str], roots: Sequence[pathlib.Path], where: pathlib.Path
) -> list[tuple[str, pathlib.Path]]:
    """(name, file) of images whose names start with one of COCO's folders."""
    existing: dict[str, pathlib.Path] = {}
    for folder in {name.partition("/")[0] for name in names}:
        if folder not in _IMAGES:
            raise JaxpartError(
                f"{where} lists an image in {printable(repr(folder))}; PACO-LVIS has those of "
                "train2017 and val2017"
            )
        existing |= {f"{folder}/{path}": file for path, file in _walk(folder, roots).items()}
    missing = next((name for name in names if name not in existing), None)
    if missing is not None:
        raise JaxpartError(f"{where} lists {printable(missing)}, which does not exist; {ADVICE}")
    return [(name, existing[name]) for name in names]


def _walk(folder: str, roots: Sequence[pathlib.Path]) -> Mapping[str, pathlib.Path]:
    """The images of one of COCO's folders, in or beside the first root that has it, by name."""
    for root in roots:
        images = image_folder(root, folder)
        if images.is_dir():
            return {path: images / path for path in walk_images(images)}
    raise NotThere(f"{roots[0]} has no images {folder} in it or beside it; {ADVICE}")
