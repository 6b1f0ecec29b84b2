"""Pascal-Part with parts merged to 57 or 116 classes, as two other benchmarks do."""

from __future__ import annotations

import fnmatch
import pathlib
from collections.abc import Sequence

from jaxpart.data.folders import NotThere, check_split, list_pairs, match_files, read_file
from jaxpart.data.label_maps import SPLITS, LabelMaps
from jaxpart.data.layouts import Layout, find_layout
from jaxpart.data.sets.pascal import ADVICE, OFFICIAL, Classes, Pascal
from jaxpart.errors import JaxpartError, printable
from jaxpart.io.text import decode_json
from jaxpart.labels import IGNORE

FEW = "train_16shot"
SPLITS_116 = (*SPLITS, FEW)

ADVICE_116 = (
    f"{ADVICE}; or unpack PascalPart116.zip of OV-PARTS (https://github.com/OpenRobotLab/OV_PARTS)"
)

_OV_PARTS = Layout(
    ("PascalPart116", "pascal_part_116"), ("annotations_detectron2_part/train",), distinctive=True
)

_PARTS_58 = """
aeroplane: body, engine, wing ?wing, stern tail, wheel
bicycle: wheel ?wheel chainwheel, body * .
bird: head ?eye beak, wing ?wing, leg ?leg ?foot, torso neck tail
boat: * .
bottle: cap, body
bus: window, wheel, body *
car: window, wheel, light headlight, plate ?liplate, body *
cat: head ?eye ?ear nose muzzle, leg *leg *pa, tail, torso neck
chair: * .
cow: head ?eye ?ear muzzle ?horn, tail, leg *leg *ho, torso neck
table: * .
dog: head ?eye ?ear nose muzzle, leg *leg *pa, tail, torso neck
horse: head ?eye ?ear muzzle ?horn, tail, leg *leg *ho, torso neck
motorbike: wheel ?wheel, body * .
person: head ?eye ?ear ?ebrow nose mouth hair, torso neck, lower_arm ?larm ?hand, upper_arm ?uarm,
    lower_leg ?lleg ?foot, upper_leg ?uleg
pottedplant: pot, plant
sheep: head ?eye ?ear muzzle ?horn, leg *leg *ho, torso neck tail
sofa: * .
train: *
tvmonitor: screen, frame
"""
_PARTS_116 = """
aeroplane: body, stern, wing ?wing, tail, engine, wheel
bicycle: wheel ?wheel, saddle, handlebar, chainwheel, headlight
bird: wing ?wing, tail, head, eye ?eye, beak, torso, neck, leg ?leg, foot ?foot
bottle: body, cap
bus: wheel, headlight, front frontside, side leftside rightside, back backside, roof roofside,
    mirror *mirror, license_plate ?liplate, door, window
car: wheel, headlight, front frontside, side leftside rightside, back backside, roof roofside,
    mirror *mirror, license_plate ?liplate, door, window
cat: tail, head, eye ?eye, torso, neck, leg *leg, nose, paw *pa, ear ?ear
cow: tail, head, eye ?eye, torso, neck, leg *leg, ear ?ear, muzzle, horn ?horn
dog: tail, head, eye ?eye, torso, neck, leg *leg, nose, paw *pa, ear ?ear, muzzle
horse: tail, head, eye ?eye, torso, neck, leg *leg, ear ?ear, muzzle, hoof *ho
motorbike: wheel ?wheel, saddle, handlebar, headlight
person: head, eye ?eye, torso, neck, leg ?lleg ?uleg, foot ?foot, nose, ear ?ear, eyebrow ?ebrow, mouth,
    hair, lower_arm ?larm, upper_arm ?uarm, hand ?hand
pottedplant: pot, plant
sheep: tail, head, eye ?eye, torso, neck, leg *leg, ear ?ear, muzzle, horn ?horn
train: headlight, head, front ?frontside, side ?leftside ?rightside, back ?backside, roof ?roofside,
    coach
tvmonitor: screen
"""
"""One object per line: its classes in order, each followed by the annotated parts that it also includes.
"?" and "*" are wildcards for one letter and for any; "." stands for the object's pixels without a part."""


class Grouping(Classes):
    """The labels of a table of merged parts."""

    kind = "part"

    def __init__(self, table: str) -> None:
        """Reads a table, see `_PARTS_116`."""
        self._rules: dict[str, list[tuple[int, list[str]]]] = {}
        names = ["background"]
        for line in table.strip().replace("\n    ", " ").splitlines():
            whole, _, classes = line.partition(": ")
            for label, text in enumerate(classes.split(", "), len(names)):
                first = text.split()[0].replace("_", " ")
                names.append(whole if first == "*" else f"{whole} {first}")
                self._rules.setdefault(whole, []).append((label, text.split()))
        self.names = tuple(names)

    def of_object(self, whole: str) -> int | None:
        """The class that includes pixels without a part; 255 if none does."""
        rules = self._rules.get(whole, ())
        return next((label for label, patterns in rules if "." in patterns), IGNORE)

    def of_part(self, whole: str, part: str) -> int | None:
        """The first class that includes a part; None if none does, which keeps the object's label."""
        for label, patterns in self._rules.get(whole, ()):
            if any(fnmatch.fnmatchcase(part, pattern) for pattern in patterns):
                return label
        return None


GROUPING_58, GROUPING_116 = Grouping(_PARTS_58), Grouping(_PARTS_116)


def pascal_part_58(root: str | pathlib.Path, split: str) -> Pascal:
    """Pascal-Part as a `Source` with a mask "part" of 57 classes, in the order of GMNet (ECCV 2020).

    Merged as in panoptic_parts (Zhao et al., 2019): left and right, front and back are one class; eyes and
    ears belong to the head, feet to the lower leg; boat, chair, table and sofa are one class each, and so
    are all parts of a train. Pixels of an object that belong to no class are 255. Where parts overlap, the
    later in the annotation wins.

    Args:
      root: As for `pascal_part`, except the paper's folder, whose order of parts is not public.
      split: "train", "val" or "all".

    Raises:
      JaxpartError: The layout is wrong, a file is missing, or an annotation is damaged.
    """
    _, folder = find_layout(root, "pascal_part_58", {"official": OFFICIAL}, ADVICE)
    return Pascal("pascal_part_58", split, folder, GROUPING_58)


def pascal_part_116(root: str | pathlib.Path, split: str) -> Pascal | LabelMaps:
    """Pascal-Part as a `Source` with a mask "part" of 116 classes, in the order of OV-PARTS (NeurIPS 2023).

    Left and right, front and back, upper and lower leg are one class; we merge the sides of a train's head
    and coaches by name, which OV-PARTS does not document. Pixels without a part are 255; with Pascal-Part's
    own annotations, pixels without an object are background.

    Args:
      root: OV-PARTS' folder PascalPart116, or that of `pascal_part`, or one above either.
      split: "train" or "val"; "train_16shot" only with OV-PARTS' folder; "all" only with Pascal-Part's own
        annotations.

    Raises:
      JaxpartError: The layout is wrong, a file is missing, or an annotation is damaged.
    """
    layouts = {"OV-PARTS": _OV_PARTS, "official": OFFICIAL}
    layout, folder = find_layout(root, "pascal_part_116", layouts, ADVICE_116)
    if layout == "official":
        if split == FEW:
            raise NotThere(f"{folder} has no list of the split {FEW}; {ADVICE_116}")
        return Pascal("pascal_part_116", split, folder, GROUPING_116)
    check_split("pascal_part_116 of OV-PARTS", split, SPLITS_116)
    files = "train" if split == FEW else split
    pairs = list_pairs(folder, f"images/{files}", f"annotations_detectron2_part/{files}")
    if split == FEW:
        listed = set(_listed(folder / f"{FEW}.json", [image for image, _ in pairs]))
        pairs = [pair for pair in pairs if pair[0] in listed]
    names = GROUPING_116.names
    return LabelMaps("pascal_part_116", split, folder, pairs, "part", names, range(1, len(names)))


def _listed(file: pathlib.Path, existing: Sequence[str]) -> list[str]:
    """The images in a list of OV-PARTS, [{"file_name": "…/images/train/2008_000003.jpg"}, …]."""
    if not file.exists():
        raise NotThere(f"{file} is missing; {ADVICE_116}")
    rows = decode_json(read_file(file), file)
    if not isinstance(rows, list) or not rows:
        raise JaxpartError(f"{file} is not a list of images; unpack it again")
    names: list[str] = []
    for row, entry in enumerate(rows):
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise JaxpartError(f"{file}: entry {row} has no file_name; unpack it again")
        names.append(name)
    paths: list[str] = []
    for name, path in zip(names, match_files(names, existing, file), strict=True):
        if path is None:
            raise JaxpartError(
                f"{file} lists {printable(name)}, which does not exist; unpack the images again"
            )
        paths.append(path)
    return paths
