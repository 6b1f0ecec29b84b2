"""COCO person keypoints from a small file in the official layout, and from broken ones."""

import copy
import json
import pathlib

import pytest

from jaxpart.data.coco_file import CocoFile
from jaxpart.data.parts import COCO_PARTS, PartSelection, part_patches
from jaxpart.data.sets.coco import CocoPersons
from jaxpart.errors import JaxpartError

SIDED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
PART_NAMES = ["nose", *(f"{side}_{part}" for part in SIDED for side in ("left", "right"))]


def person(key, image, **visible):
    """An annotation with the named parts at places that follow from the key, given v."""
    points = []
    for i, name in enumerate(PART_NAMES):
        v = visible.get(name, 0)
        points += [50 * i + key, 30 * i, v] if v else [0, 0, 0]
    return {"id": key, "image_id": image, "keypoints": points}


DOCUMENT = {
    "images": [{"id": i, "file_name": f"{i:012d}.jpg"} for i in (7, 3, 40, 11, 5)],
    "categories": [{"id": 1, "name": "person", "keypoints": PART_NAMES}],
    "annotations": [
        person(90, 3, nose=2, right_wrist=1, left_ankle=1),  # only one is visible
        person(12, 40, nose=2, right_wrist=2, left_ankle=2),
        person(95, 7, left_eye=2),
        person(14, 3, nose=2, right_wrist=2),
        person(5000, 40, nose=2, left_ankle=2),
        person(60, 5),
    ],
}


def write(folder, document):
    path = folder / "annotations" / "person_keypoints_val2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return folder


@pytest.fixture
def document():
    return copy.deepcopy(DOCUMENT)


def ids(source):
    return [int(source.annotation(i).id[-16:-4]) for i in range(len(source))]


def test_images_come_by_their_first_contributing_person(tmp_path):
    source = CocoPersons(write(tmp_path, DOCUMENT), "val2017")
    assert ids(source) == [40, 3, 7, 5]  # 11 has nobody; 7 and 5 nobody who contributes
    assert source.annotation(0).id == "val2017/000000000040.jpg"
    patches = part_patches(source, COCO_PARTS)
    assert [(p.image[-6:-4], p.instance, p.part) for p in patches] == [
        ("40", 12, 1),
        ("40", 12, 11),
        ("40", 12, 16),
        ("40", 5000, 1),
        ("40", 5000, 16),
        ("03", 14, 1),
        ("03", 14, 11),
    ]


def test_the_order_follows_the_selection(tmp_path):
    eyes = PartSelection({1: "nose", 2: "left_eye"})
    assert ids(CocoPersons(write(tmp_path, DOCUMENT), "val2017", eyes)) == [3, 40, 7, 5]


def test_the_version_follows_the_order(tmp_path):
    write(tmp_path, DOCUMENT)
    eyes = PartSelection({1: "nose", 2: "left_eye"})
    paper, other = CocoPersons(tmp_path, "val2017"), CocoPersons(tmp_path, "val2017", eyes)
    assert paper.info.version != other.info.version
    assert paper.info.version == CocoPersons(tmp_path, "val2017").info.version


def test_keypoints_of_all_persons(tmp_path):
    points = CocoPersons(write(tmp_path, DOCUMENT), "val2017").annotation(1).keypoints
    assert points.part.tolist() == [*range(1, 18)] * 2
    assert points.instance.tolist() == [90] * 17 + [14] * 17
    assert points.part[points.visible].tolist() == [1, 1, 11]
    assert points.xy[10].tolist() == [590, 300]  # v = 1: a place, but not seen


def test_the_parent_folder_will_do(tmp_path):
    folder = write(tmp_path / "coco", DOCUMENT)
    assert ids(CocoPersons(tmp_path, "val2017")) == ids(CocoPersons(folder, "val2017"))


def test_an_image_is_read_when_asked(tmp_path):
    source = CocoPersons(write(tmp_path, DOCUMENT), "val2017")
    with pytest.raises(JaxpartError, match=r"000000000040\.jpg cannot be read: No such file"):
        source[0]
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "000000000040.jpg").write_bytes(b"bytes")
    assert source[0].image == source[-4].image == b"bytes"
    assert source[0].annotation.keypoints.instance.tolist() == [12] * 17 + [5000] * 17
    assert source.annotation(-4).keypoints.instance.tolist() == [12] * 17 + [5000] * 17


def test_samples(samples):
    source = CocoPersons(samples, "train2017")
    assert source.info.part_names[16] == "left_ankle"
    assert source[0].image[:2] == b"\xff\xd8"


def _set(section, row, field, value):
    def change(document):
        document[section][row][field] = value

    return change


def _drop(section, row, field):
    return lambda document: document[section][row].pop(field)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop("annotations", 2, "image_id"), r"annotations\[2\] lacks the field 'image_id'"),
        (_drop("annotations", 2, "id"), r"annotations\[2\] lacks the field 'id'"),
        (_drop("images", 1, "file_name"), r"images\[1\] lacks the field 'file_name'"),
        (_drop("categories", 0, "keypoints"), r"categories\[0\] lacks the field 'keypoints'"),
        (lambda d: d.pop("annotations"), "the field 'annotations' is missing or empty"),
        (lambda d: d.update(annotations=[]), "the field 'annotations' is missing or empty"),
        (lambda d: d["annotations"].insert(1, "x"), r"annotations\[1\] lacks the field"),
        (_set("annotations", 3, "id", 90), r"annotations\[3\] repeats the id 90"),
        (_set("images", 3, "id", 7), r"images\[3\] repeats the id 7"),
        (
            _set("images", 3, "file_name", "000000000003.jpg"),
            r"images\[3\]\.file_name is also another image's",
        ),
        (_set("images", 3, "file_name", "a\0b"), r"file_name has characters that are not allowed"),
        (
            _set("images", 3, "file_name", "\ud800"),
            r"file_name has characters that are not allowed",
        ),
        (
            _set("images", 3, "file_name", "x" * 300),
            r"file_name is too long for a file name: 'x+…x+'",
        ),
        (_set("images", 3, "file_name", " "), r"file_name is empty"),
        (
            _set("images", 3, "height", float("inf")),
            r"images\[3\] has the size .*, inf\), which is not",
        ),
        (_set("images", 3, "id", 2**63), r"images holds the id of an entry that does not fit"),
        (
            _set("annotations", 3, "category_id", []),
            r"annotations\[3\]\.category_id is \[\], not an integer",
        ),
        (_set("categories", 0, "id", {}), r"categories\[0\]\.id is \{\}, which is not an integer"),
        (_set("images", 3, "file_name", 3), r"images\[3\]\.file_name is not a string: 3"),
        (
            _set("annotations", 3, "id", "14"),
            r"annotations\[3\].id is '14', which is not an integer",
        ),
        (_set("annotations", 3, "image_id", 8), r"annotations\[3\] belongs to image 8"),
        (
            _set("annotations", 3, "keypoints", [1, 2]),
            r"annotations\[3\].keypoints is not a list of 51",
        ),
        (
            _set("annotations", 3, "keypoints", {"nose": 1}),
            r"annotations\[3\].keypoints is not a list of 51",
        ),
        (_set("annotations", 3, "keypoints", [0] * 50 + ["2"]), r"annotations\[3\].* holds '2'"),
        (_set("annotations", 3, "keypoints", [0] * 50 + [3]), r"annotations\[3\].* for part 17"),
        (
            _set("annotations", 3, "keypoints", [float("nan"), 0, 2] + [0] * 48),
            r"annotations\[3\].* for part 1 ",
        ),
        (_set("annotations", 3, "keypoints", [10**400] + [0] * 50), "a number that is not a pixel"),
        (_set("annotations", 3, "id", 2**70), "the id of an entry that does not fit into 64 bits"),
        (
            _set("annotations", 3, "category_id", 2),
            r"annotations\[3\] has keypoints, but .* category 2",
        ),
        (
            _set("images", 3, "width", "640"),
            r"images\[3\] has the size \('640', None\), which is not a size in pixels",
        ),
        (
            lambda d: d["categories"][0]["keypoints"].append("nose"),
            r"categories\[0\] repeats a keypoint's name",
        ),
    ],
)
def test_a_wrong_field_is_named(tmp_path, document, change, message):
    change(document)
    with pytest.raises(JaxpartError, match=r"person_keypoints_val2017\.json: .*" + message):
        CocoPersons(write(tmp_path, document), "val2017")


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("[]", "'images' is missing"), ('{"images": [', "is damaged .*line 1")],
)
def test_a_file_that_is_no_document_is_named(tmp_path, text, message):
    with pytest.raises(JaxpartError, match=r"person_keypoints_val2017\.json.*" + message):
        CocoPersons(write(tmp_path, text), "val2017")


def test_a_missing_file_is_named_with_its_origin(tmp_path):
    with pytest.raises(
        JaxpartError, match=r"person_keypoints_train2017\.json is missing; .*cocodataset\.org"
    ):
        CocoPersons(tmp_path)


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(JaxpartError, match="no person keypoints 'test2017'"):
        CocoPersons(tmp_path, "test2017")


def test_an_unknown_part_is_refused(tmp_path):
    with pytest.raises(JaxpartError, match="no part with id 18"):
        CocoPersons(write(tmp_path, DOCUMENT), "val2017", PartSelection({18: "tail"}))


STRANGE = (
    *(2**63, -(2**70), 10**400, -1, 0, 1.5, 1e308, float("nan"), float("inf"), None, True),
    *([], {}, [[]], "", "\ud800", "x" * 100_000, "a\0b", "../x", "\n"),
)


def places(tree, path=()):
    """Every place in a document."""
    if path:
        yield path
    for key in (
        tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    ):
        yield from places(tree[key], (*path, key))


def test_no_value_anywhere_in_a_file_is_more_than_a_sentence():
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 10, "height": 10}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2], "bbox": [0, 0, 5, 5]}
        ],
        "categories": [{"id": 1, "name": "bird", "supercategory": "animal", "keypoints": ["beak"]}],
    }
    told = []
    for *path, last in places(document):
        for value in STRANGE:
            changed = copy.deepcopy(document)
            spot = changed
            for key in path:
                spot = spot[key]
            spot[last] = value
            try:
                file = CocoFile(pathlib.Path("a.json"), json.dumps(changed).encode())
                file.instances(), file.boxes([0]), file.category_names([0]), file.sizes()
                file.category_names([0], "supercategory")
                file.file_names(file.image_ids())
            except JaxpartError as error:
                told.append(str(error))
    assert len(told) > 200
    assert not [error for error in told if len(error.splitlines()) > 1 or len(error) > 300]
