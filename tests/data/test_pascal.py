"""Pascal-Part and Pascal-Object from .mat files, and from the paper's folders."""

import shutil
import struct
import zlib

import layouts
import numpy as np
import pytest

from jaxpart.data.checking import record_faults
from jaxpart.data.folders import NotThere
from jaxpart.data.masks import read_mask
from jaxpart.data.sets import pascal_annotations
from jaxpart.data.sets.pascal import NUM_PARTS, OBJECTS, pascal_object, pascal_part
from jaxpart.errors import JaxpartError

_LEGS = "lfleg lfpa rfleg rfpa lbleg lbpa rbleg rbpa"
_LONG_LEGS = "lfuleg lflleg rfuleg rflleg lbuleg lblleg rbuleg rblleg"
_CAR = (
    "frontside leftside rightside backside roofside leftmirror rightmirror fliplate bliplate door_1 "
    "door_2 wheel_1 wheel_2 headlight_1 window_1 window_2"
)
_HEAD = "head leye reye lear rear"
PARTS = {
    "aeroplane": "body stern lwing rwing tail engine_1 engine_2 wheel_1 wheel_8",
    "bicycle": "fwheel bwheel saddle handlebar chainwheel headlight_1",
    "bird": "head leye reye beak torso neck lwing rwing lleg lfoot rleg rfoot tail",
    "bottle": "cap body",
    "bus": _CAR,
    "car": _CAR,
    "cat": f"{_HEAD} nose torso neck {_LEGS} tail",
    "cow": f"{_HEAD} muzzle lhorn rhorn torso neck {_LONG_LEGS} tail",
    "dog": f"{_HEAD} nose torso neck {_LEGS} tail muzzle",
    "horse": f"{_HEAD} muzzle lfho rfho lbho rbho torso neck {_LONG_LEGS} tail",
    "motorbike": "fwheel bwheel handlebar saddle headlight_1 headlight_2",
    "person": f"{_HEAD} lebrow rebrow nose mouth hair torso neck llarm luarm lhand rlarm ruarm rhand "
    "llleg luleg lfoot rlleg ruleg rfoot",
    "pottedplant": "pot plant",
    "sheep": f"{_HEAD} muzzle lhorn rhorn torso neck {_LONG_LEGS} tail",
    "train": "head hfrontside hleftside hrightside hbackside hroofside headlight_1 coach_1 coach_2 "
    "cfrontside_1 cfrontside_9 cleftside_1 crightside_1 cbackside_1 croofside_1",
    "tvmonitor": "screen",
}
"""Every part name that Pascal-Part's documentation lists, with some of the numbered ones."""


def labels(source, index, kind):
    record = source[index]
    return read_mask(record, kind, len(source.info.mask_names[kind]))[:, 0].tolist()


def test_parts_are_the_sorted_pairs_of_both_splits(tmp_path):
    layouts.pascal(tmp_path / "pascal_part")
    source = pascal_part(tmp_path, "train")
    assert source.info.mask_names == {
        "part": ("background", "car door", "car wheel", "person head", "person lleg")
    }
    assert pascal_part(tmp_path, "val").info.mask_names == source.info.mask_names
    assert source.annotation(0).id == "VOCdevkit/VOC2010/JPEGImages/2008_2.jpg"
    assert source[0].image == layouts.jpeg(0)
    # The door lies above wheel 2; the rest of car and person has no part.
    assert labels(source, 0, "part") == [2, 1, 0, 3, 0, 0, 0, 0]
    assert labels(source, 1, "part") == [0] * 8


def test_objects_are_those_with_parts_and_the_later_lies_above(tmp_path):
    layouts.pascal(tmp_path)
    source = pascal_object(tmp_path, "train")
    assert source.info.mask_names == {"object": ("background", "car", "person")}
    assert labels(source, 0, "object") == [1, 1, 2, 2, 0, 0, 0, 0]
    assert labels(source, 1, "object") == [0] * 8  # a boat
    # A boat hides most of a person.
    assert labels(pascal_object(tmp_path, "val"), 0, "object") == [0, 0, 0, 0, 0, 2, 0, 0]


def test_the_full_vocabulary_has_193_parts_of_16_objects(tmp_path):
    objects = [
        (name, layouts.mask(0), [(part, layouts.mask(0)) for part in parts.split()])
        for name, parts in PARTS.items()
    ]
    layouts.mat(tmp_path / "Annotations_Part/a.mat", [*objects, ("boat", layouts.mask(0), [])])
    layouts.write(tmp_path / "VOCdevkit/VOC2010/JPEGImages/a.jpg", layouts.jpeg())
    names = pascal_part(tmp_path, "all").info.mask_names["part"]
    assert len(names) == NUM_PARTS + 1
    assert list(names[1:]) == sorted(names[1:])
    assert pascal_object(tmp_path, "all").info.mask_names["object"] == ("background", *OBJECTS)


def test_without_lists_only_all_is_known(tmp_path):
    layouts.pascal(tmp_path, lists=False)
    source = pascal_part(tmp_path, "all")
    assert [source.annotation(i).id[-10:] for i in range(3)] == [
        "2008_1.jpg",
        "2008_2.jpg",
        "2010_1.jpg",
    ]
    with pytest.raises(NotThere, match=r"Main/val\.txt is missing, so the split 'val' is unknown"):
        pascal_part(tmp_path, "val")


def test_the_papers_folders(tmp_path):
    layouts.paper(tmp_path / "pascal_part", 193)
    layouts.paper(tmp_path / "pascal_semantic", 16)
    part, whole = pascal_part(tmp_path, "train"), pascal_object(tmp_path, "val")
    assert part.info.mask_names["part"][193] == "class 193"
    assert whole.info.mask_names["object"] == ("background", *OBJECTS)
    assert whole[0].masks["object"] == layouts.png(layouts.label_map(16, 0))
    with pytest.raises(JaxpartError, match="the paper's folder of pascal_part has no split 'all'"):
        pascal_part(tmp_path, "all")


def test_the_samples_are_drawn_as_annotated(samples):
    import scipy.io

    source = pascal_part(samples, "all")
    names = source.info.mask_names["part"]
    assert len(source) == 11
    for record in source:
        found = read_mask(record, "part", len(source.info.mask_names["part"]))
        name = record.annotation.id.rpartition("/")[2].replace(".jpg", ".mat")
        anno = scipy.io.loadmat(samples / "pascal_part/Annotations_Part" / name)["anno"]
        expected = np.zeros_like(found)
        for whole in anno[0, 0]["objects"].ravel():
            for part in whole["parts"].ravel():
                name = f"{whole['class'][0]} {part['part_name'][0].split('_')[0]}"
                expected[part["mask"] == 1] = names.index(name)
        np.testing.assert_array_equal(found, expected)


TWO_SIZES = [("boat", np.ones((3, 3), np.uint8), []), ("car", layouts.mask(1), [])]
NO_NAME = [(np.zeros(0), layouts.mask(1), [])]


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (TWO_SIZES, r"2010_1\.mat holds masks of the sizes \[\(3, 3\), \(8, 12\)\]"),
        (NO_NAME, r"2010_1\.mat lacks a field of Pascal-Part .*'class' is not a string"),
        ([], r"2010_1\.mat holds masks"),
    ],
    ids=["two sizes", "no name", "no object"],
)
def test_a_wrong_annotation_is_told(tmp_path, objects, message):
    layouts.pascal(tmp_path)
    layouts.mat(tmp_path / "Annotations_Part/2010_1.mat", objects)
    with pytest.raises(JaxpartError, match=message):
        pascal_part(tmp_path, "train")


def test_a_broken_folder_is_told(tmp_path):
    layouts.pascal(tmp_path)
    mat = tmp_path / "Annotations_Part/2010_1.mat"

    def told(message):
        with pytest.raises(JaxpartError, match=message):
            pascal_part(tmp_path, "train")

    mat.write_bytes((tmp_path / "Annotations_Part/2008_2.mat").read_bytes()[:200])
    told(r"2010_1\.mat (is damaged|lacks a field)")
    mat.write_bytes(b"x" * 300)
    told(r"2010_1\.mat is damaged")
    mat.unlink()
    told(r"train\.txt lists 2010_1, but .*2010_1\.mat is missing")
    layouts.pascal(tmp_path)
    (tmp_path / "VOCdevkit/VOC2010/JPEGImages/2010_1.jpg").unlink()
    told(r"2010_1\.jpg cannot be read")
    shutil.rmtree(tmp_path / "VOCdevkit")
    told("has no VOCdevkit/VOC2010/JPEGImages")


def test_a_mat_file_without_a_field_is_told(tmp_path):
    import scipy.io

    layouts.pascal(tmp_path)
    scipy.io.savemat(tmp_path / "Annotations_Part/2008_2.mat", {"other": 1})
    with pytest.raises(JaxpartError, match=r"2008_2\.mat lacks a field of Pascal-Part \('anno'\)"):
        pascal_part(tmp_path, "train")


def test_masks_beyond_all_bounds_are_not_inflated(tmp_path, monkeypatch):
    monkeypatch.setattr(pascal_annotations, "_INFLATED", 1 << 20)
    layouts.pascal(tmp_path)
    mat = tmp_path / "Annotations_Part/2008_2.mat"
    header, bomb = mat.read_bytes()[:128], zlib.compress(bytes(2 << 20))
    mat.write_bytes(header + struct.pack("<II", 15, len(bomb)) + bomb)
    with pytest.raises(JaxpartError, match=r"2008_2\.mat holds more than 1 MiB of masks"):
        pascal_part(tmp_path, "train")


def test_an_image_of_another_size_is_told(tmp_path):
    layouts.pascal(tmp_path)
    layouts.write(tmp_path / "VOCdevkit/VOC2010/JPEGImages/2008_2.jpg", layouts.jpeg(0, (9, 8)))
    source = pascal_part(tmp_path, "train")
    (fault,) = record_faults(source[0], source.info)
    assert "2008_2.jpg (part mask): the label map is 12 × 8 pixels but its image is 9 × 8" in fault
