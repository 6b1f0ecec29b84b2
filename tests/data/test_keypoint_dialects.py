"""Keypoint files as tools export them, and what does not fit the pictures beside them."""

import io
import json
import unicodedata

import layouts
import numpy as np
import pytest
from PIL import Image

from jaxpart.data.checking import check_source
from jaxpart.data.folders import match_files
from jaxpart.data.parts import PartSelection, no_patches, part_patches
from jaxpart.data.patch_images import read_patches
from jaxpart.data.prepared import Prepared
from jaxpart.data.preparing import prepare
from jaxpart.data.sets import SETS, classification_sets
from jaxpart.data.sets.part_folder import part_folder
from jaxpart.data.splits import compare_splits
from jaxpart.errors import JaxpartError
from jaxpart.runs.progress import Progress

NAMES = ("beak", "wing", "tail")
POINTS = [10, 10, 2, 100, 12, 2, 60, 90, 2]


def folder(root, change=lambda document: None, *, size=(120, 100), kind="png", orientation=None):
    """Two pictures with a bird each, all of whose parts give a patch."""
    document = {
        "images": [
            {"id": i, "file_name": f"{i}.{kind}", "width": size[0], "height": size[1]}
            for i in (3, 1)
        ],
        "annotations": [
            {"id": 10 + i, "image_id": i, "category_id": 1, "keypoints": list(POINTS)}
            for i in (3, 1)
        ],
        "categories": [{"id": 1, "name": "bird", "keypoints": list(NAMES)}],
    }
    for i in (3, 1):
        exif = Image.Exif()
        if orientation:
            exif[0x0112] = orientation
        file = io.BytesIO()
        Image.new("RGB", size, (9 * i, len(root.name), 0)).save(file, kind, exif=exif.tobytes())
        layouts.write(root / f"images/{i}.{kind}", file.getvalue())
    change(document)
    layouts.write(root / "keypoints.json", json.dumps(document))
    return root


def patches(root, split="all"):
    source = part_folder(root, split)
    return [
        (p.image, source.info.part_names[p.part], p.x, p.y)
        for p in part_patches(source, PartSelection(source.info.part_names))
    ]


def every(section, **fields):
    return lambda document: [row.update(fields) for row in document[section]]


def named(name):
    return lambda d: [image.update(file_name=name(image["file_name"])) for image in d["images"]]


def points(change):
    return lambda d: [a.update(keypoints=change(a["keypoints"])) for a in d["annotations"]]


BOX = {"id": 99, "image_id": 3, "category_id": 1, "bbox": [1, 1, 5, 5]}
ROOT = {"id": 0, "name": "birds", "supercategory": "none"}


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["categories"].insert(0, ROOT),
        lambda d: d["categories"].insert(0, {**ROOT, "keypoints": []}),
        lambda d: d["annotations"].append(BOX),
        lambda d: d["annotations"].append({**BOX, "category_id": 0}),
        lambda d: d["annotations"].append({**BOX, "keypoints": [], "num_keypoints": 0}),
        lambda d: d["annotations"].append({**BOX, "keypoints": None}),
        lambda d: [a.pop("category_id") for a in d["annotations"]],
        named(lambda name: f"images/{name}"),
        named(lambda name: f"images\\{name}"),
        named(lambda name: f"./{name}"),
        named(lambda name: f"D:\\work\\birds\\images\\{name}"),
        named(lambda name: f"/data/upload/1/{name}"),
        named(lambda name: f"DCIM/{name.upper()}"),
        every("images", width=None, height=None),
        every("images", width=120.0, height=100.0),
        every("annotations", num_keypoints=3, iscrowd=0, segmentation=[]),
        lambda d: d.update(info={}, licenses=[]),
    ],
)
def test_dialects_say_the_same(tmp_path, change):
    expected = patches(folder(tmp_path / "plain"))
    assert len(expected) == 6
    assert patches(folder(tmp_path / "other", change)) == expected


@pytest.mark.parametrize("kind", ["webp", "bmp", "tiff", "gif"])
def test_every_format_is_read(tmp_path, kind):
    root = folder(tmp_path, kind=kind)
    assert len(patches(root)) == 6
    summary, faults = check_source(part_folder(root), workers=1)
    assert (summary.records, faults) == (2, [])


@pytest.mark.parametrize("nothing", [float("nan"), None, 0])
@pytest.mark.parametrize("v", [0, None])
def test_points_that_are_not_labelled(tmp_path, nothing, v):
    if v is None and nothing == 0:
        v = 0  # a place without a visibility is a fault
    change = points(lambda flat: [nothing, nothing, v, *flat[3:]])
    found = patches(folder(tmp_path, change))
    assert {name for _, name, *_ in found} == {"wing", "tail"}


def test_a_place_without_a_visibility_is_told(tmp_path):
    root = folder(tmp_path, points(lambda flat: [1, 2, None, *flat[3:]]))
    with pytest.raises(JaxpartError, match=r"annotations\[0\]\.keypoints has \[1\.0, 2\.0, nan\]"):
        part_folder(root)


def test_folders_of_images_and_names_in_either_form(tmp_path):
    composed = named(lambda name: unicodedata.normalize("NFC", f"vidéo/é{name}"))
    root = folder(tmp_path, composed)
    for file in list((root / "images").glob("*.png")):
        name = unicodedata.normalize("NFD", f"images/vidéo/é{file.name}")
        layouts.write(root / name, file.read_bytes())
        file.unlink()
    assert len(patches(root)) == 6
    assert check_source(part_folder(root), workers=1)[1] == []


def test_two_files_that_differ_in_case_alone_are_not_confused():
    existing = ["a.jpg", "b.jpg", "B.jpg"]
    assert match_files(["B.jpg", "b.jpg", "A.JPG"], existing, "x") == ["B.jpg", "b.jpg", "a.jpg"]
    assert match_files(["B.JPG"], existing, "x") == [None]
    assert match_files(["c/B.jpg"], [*existing, "C/b.jpg"], "x") == ["C/b.jpg"]
    assert match_files(["c/B.jpg"], [*existing, "C/b.jpg", "C/B.jpg"], "x") == [None]


def test_two_names_of_one_file_and_none_are_told(tmp_path):
    def twice(document):
        document["images"][1]["file_name"] = "images/" + document["images"][0]["file_name"]

    with pytest.raises(JaxpartError, match=r"lists 3\.png and images/3\.png, both of which are"):
        part_folder(folder(tmp_path / "a", twice))
    with pytest.raises(JaxpartError, match=r"lists c/9\.png, which is not in"):
        part_folder(folder(tmp_path / "b", lambda d: d["images"][0].update(file_name="c/9.png")))


def test_each_annotation_has_the_keypoints_of_its_own_category(tmp_path):
    def planes(document):
        plane = {"id": 2, "name": "plane", "keypoints": ["nose", "tail", "wing", "wheel"]}
        document["categories"].append(plane)
        document["annotations"][1].update(category_id=2, keypoints=[*POINTS, 5, 95, 2])

    root = folder(tmp_path, planes)
    assert part_folder(root).info.part_names == dict(
        enumerate(("beak", "wing", "tail", "nose", "wheel"), 1)
    )
    assert patches(root) == [
        ("images/3.png", "beak", 10, 10),
        ("images/3.png", "wing", 100, 12),
        ("images/3.png", "tail", 60, 90),
        ("images/1.png", "nose", 10, 10),
        ("images/1.png", "tail", 100, 12),
        ("images/1.png", "wing", 60, 90),
        ("images/1.png", "wheel", 5, 95),
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_keypoints_in_other_encodings(tmp_path, encoding):
    root = folder(tmp_path)
    text = (root / "keypoints.json").read_text()
    (root / "keypoints.json").write_bytes(text.encode(encoding))
    assert len(patches(root)) == 6


def turned(orientation):
    """Annotated upright, but stored turned by a quarter."""
    return {"change": every("images", width=100, height=120), "orientation": orientation}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (turned(6), "EXIF orientation 6, which is not applied, rotates it"),
        (turned(None), "has 120 × 100 pixels, but its annotations state 100 × 120"),
        ({"change": every("images", width=240, height=200)}, "annotations state 240 × 200"),
    ],
)
def test_another_size_than_stated_is_told_and_gives_nothing(tmp_path, options, message):
    root = folder(tmp_path, **options, kind="jpeg")
    source = part_folder(root)
    faults = check_source(source, workers=1)[1]
    assert len(faults) == 2
    assert message in faults[0]
    chosen = part_patches(source, PartSelection(source.info.part_names))
    with pytest.raises(JaxpartError, match=message):
        list(read_patches(source, chosen, size=8))
    skipped = [pixels for _, pixels in read_patches(source, chosen, size=8, on_error="skip")]
    assert all(isinstance(pixels, JaxpartError) for pixels in skipped)


@pytest.mark.parametrize(("orientation", "stated"), [(3, True), (6, False), (2, True)])
def test_an_exif_orientation_that_sizes_cannot_settle_is_said(tmp_path, orientation, stated):
    change = (lambda d: None) if stated else every("images", width=None)
    source = part_folder(folder(tmp_path, change, kind="jpeg", orientation=orientation))
    (note,) = source.info.notes
    assert "images with an EXIF orientation: 2 (the first 3.jpeg)" in note
    assert "2 with an EXIF orientation (applied only with label maps)" in str(
        check_source(source, workers=1)[0]
    )


def test_a_stated_size_settles_the_orientation(tmp_path):
    source = part_folder(folder(tmp_path, kind="jpeg", orientation=6))
    assert source.info.notes == ()
    assert check_source(source, workers=1)[1] == []


@pytest.mark.parametrize("stated", [True, False])
def test_points_outside_the_picture_are_faults_and_give_no_patches(tmp_path, stated):
    def change(document):
        document["annotations"][0]["keypoints"][:2] = -0.5, 10
        document["annotations"][1]["keypoints"][:2] = 0, 100  # on the edges
        if not stated:
            every("images", width=None)(document)

    root = folder(tmp_path / "a", change)
    source = part_folder(root)
    assert (
        "visible keypoints outside their images: 1 (the first in images/3.png)"
        in source.info.notes[0]
    )
    assert "beak" not in {name for image, name, *_ in patches(root) if image == "images/3.png"}
    assert len(patches(root)) == 5
    assert check_source(source, workers=1)[1] == [
        "images/3.png has visible keypoints outside its 120 × 100 pixels: 1, the first at (-0.5, 10)"
    ]
    out, _ = prepare("part_folder", {"all": source}, tmp_path / "prepared", workers=1)
    prepared = Prepared(out, "all")
    assert prepared.annotation(0).size == (120, 100)
    assert prepared.info == source.info
    assert len(part_patches(prepared, PartSelection(source.info.part_names))) == 5


def test_a_published_set_keeps_its_rule_unless_nothing_is_left(tmp_path):
    source = part_folder(
        folder(tmp_path, lambda d: d["annotations"][0]["keypoints"].__setitem__(0, -9))
    )
    published = PartSelection(source.info.part_names, beyond=True)
    found = part_patches(source, published)
    assert len(found) == 6
    assert len(list(read_patches(source, found, size=8))) == 6  # black where there is nothing
    far = [found[0].__class__(**{**vars(found[0]), "x": -500.0})]
    with pytest.raises(
        JaxpartError, match=r"a keypoint at \(-500, 10\), so far outside its 120 × 100"
    ):
        list(read_patches(source, far, size=8))


def test_names_that_differ_in_case_alone_are_told(tmp_path):
    def planes(document):
        plane = {"id": 2, "name": "plane", "keypoints": ["nose", "Tail", "wing"]}
        document["categories"].append(plane)

    with pytest.raises(JaxpartError, match="the keypoints 'tail' and 'Tail' of two categories"):
        part_folder(folder(tmp_path, planes))


def test_visible_points_in_the_corner_are_said(tmp_path):
    source = part_folder(folder(tmp_path, points(lambda flat: [0, 0, 2, *flat[3:]])))
    assert (
        "visible keypoints at (0, 0), as some tools write missing ones: 2;" in source.info.notes[0]
    )


def test_a_section_that_appears_twice_is_told(tmp_path):
    """Of which Python would keep the last."""
    path = folder(tmp_path) / "keypoints.json"
    text = path.read_text()[:-1] + ', "info": {"year": 2024, "year": 2024}'
    path.write_text(text + "}")
    assert len(part_folder(tmp_path))
    path.write_text(text + ', "annotations": []}')
    with pytest.raises(JaxpartError, match=r"the key 'annotations' has two values in an object"):
        part_folder(tmp_path)


def test_points_that_are_all_hidden_are_said(tmp_path):
    hidden = points(lambda flat: [1 if i % 3 == 2 else value for i, value in enumerate(flat)])
    source = part_folder(folder(tmp_path, hidden))
    assert "all 6 labelled keypoints are labelled but not visible (v = 1)" in source.info.notes[0]
    selection = PartSelection(source.info.part_names)
    assert part_patches(source, selection) == []
    assert "labelled but not visible" in no_patches(source, selection)
    lines, faults = compare_splits(SETS["part_folder"], {"all": source}, str(tmp_path))
    assert (lines, faults) == ([], [no_patches(source, selection)])


def splits(root, change):
    folder(root / "train")
    folder(root / "test", change)
    return {split: part_folder(root, split) for split in ("train", "test")}


class Config:
    def __init__(self, root):
        self.root = str(root)


def reordered(names):
    def change(document):
        document["categories"][0]["keypoints"] = list(names)
        order = [NAMES.index(name) for name in names]
        points(lambda flat: [v for i in order for v in flat[3 * i : 3 * i + 3]])(document)

    return change


def test_keypoints_are_matched_by_name_over_splits(tmp_path):
    sources = splits(tmp_path, reordered(("tail", "beak", "wing")))
    train, test, selection = classification_sets("part_folder", Config(tmp_path))
    assert train.info.part_names == test.info.part_names
    found = [
        [(p.image, p.part, p.x, p.y) for p in part_patches(s, selection)] for s in (train, test)
    ]
    assert sorted(found[0]) == sorted(found[1])
    assert test[0].annotation.keypoints.part.tolist() == [3, 1, 2]
    lines, faults = compare_splits(SETS["part_folder"], sources, str(tmp_path))
    assert faults == []
    assert lines[-1].endswith("a different order than the training split's; matched by name")


def test_other_keypoints_in_another_split_are_refused(tmp_path):
    def other(document):
        document["categories"][0]["keypoints"][2] = "foot"

    sources = splits(tmp_path, other)
    message = r"part_folder \(test\) has other keypoints .*: it lacks tail and adds foot"
    with pytest.raises(JaxpartError, match=message):
        classification_sets("part_folder", Config(tmp_path))
    (fault,) = compare_splits(SETS["part_folder"], sources, str(tmp_path))[1]
    assert "it lacks tail and adds foot" in fault


def test_coco_is_matched_by_name_too(tmp_path):
    layouts.coco(tmp_path)
    expected = SETS["coco_person_parts"].open(tmp_path, "val2017").annotation(0).keypoints
    path = tmp_path / "annotations/person_keypoints_val2017.json"
    document = json.loads(path.read_text())
    document["categories"][0]["keypoints"].reverse()
    for annotation in document["annotations"]:
        triples = np.reshape(annotation["keypoints"], (17, 3))[::-1]
        annotation["keypoints"] = triples.reshape(-1).tolist()
    path.write_text(json.dumps(document))
    found = SETS["coco_person_parts"].open(tmp_path, "val2017").annotation(0).keypoints
    assert sorted(zip(found.instance, found.part, *found.xy.T, strict=True)) == sorted(
        zip(expected.instance, expected.part, *expected.xy.T, strict=True)
    )
    document["categories"][0]["keypoints"][1] = "foot"
    path.write_text(json.dumps(document))
    with pytest.raises(JaxpartError, match="has no part with id 16; its parts are"):
        SETS["coco_person_parts"].open(tmp_path, "val2017")


def test_what_is_said_once_is_not_said_again(capsys):
    Progress().say_once(["a line of its own"])
    Progress().say_once(["a line of its own", "and another"])
    assert capsys.readouterr().err.splitlines() == ["a line of its own", "and another"]
