"""LIP, ADE20K, ADE20K-Object and ADE20K-Part in small copies of their official and prepared folders."""

import json

import layouts
import numpy as np
import pytest
from PIL import Image

from jaxpart.data.folders import NotThere
from jaxpart.data.masks import read_mask
from jaxpart.data.sets.ade20k import ade20k
from jaxpart.data.sets.ade20k_object import OBJECTS, ade20k_object
from jaxpart.data.sets.ade20k_part import ade20k_part
from jaxpart.data.sets.lip import PARTS, lip
from jaxpart.errors import JaxpartError
from jaxpart.labels import IGNORE


def labels(record, kind):
    return read_mask(record, kind, IGNORE)


def ids(source):
    return [source.annotation(i).id for i in range(len(source))]


def test_lip_from_its_archives(tmp_path):
    layouts.lip(tmp_path / "LIP")
    source = lip(tmp_path, "train")
    assert ids(source) == [f"TrainVal_images/train_images/{name}.jpg" for name in ("77_2", "684_1")]
    assert source.info.mask_names == {"part": ("background", *PARTS)}
    assert source[1].image == layouts.jpeg((1, 5))
    assert source[1].masks["part"] == layouts.png(layouts.label_map(19, 1))
    assert len(lip(tmp_path / "LIP", "val")) == 1


def test_lip_with_folders_nested_and_no_list(tmp_path):
    layouts.lip(tmp_path)
    for name in ("TrainVal_images", "TrainVal_parsing_annotations"):
        (tmp_path / name).rename(tmp_path / "moving")
        (tmp_path / name).mkdir()
        (tmp_path / "moving").rename(tmp_path / name / name)
    (tmp_path / "TrainVal_images/TrainVal_images/train_id.txt").unlink()
    source = lip(tmp_path, "train")
    assert [key.rpartition("/")[2] for key in ids(source)] == ["684_1.jpg", "77_2.jpg"]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("77_2\n1_1\n", "train_id.txt lists 1_1, which does not exist"),
        ("77_2\n", "train_id.txt lists 1 images, but 2 exist"),
        ("77_2\n77_2\n", "train_id.txt, line 2: the id '77_2' appears twice"),
        ("", "train_id.txt is empty"),
    ],
)
def test_a_wrong_list_is_told(tmp_path, listed, message):
    layouts.lip(tmp_path)
    (tmp_path / "TrainVal_images/train_id.txt").write_text(listed)
    with pytest.raises(JaxpartError, match=message):
        lip(tmp_path, "train")


@pytest.mark.parametrize(
    ("open_set", "folder", "classes", "kind"),
    [(lip, "LIP", 19, "part"), (ade20k_part, "ADE20K_Part", 209, "part")],
)
def test_the_papers_folders(tmp_path, open_set, folder, classes, kind):
    layouts.paper(tmp_path / folder, classes)
    source = open_set(tmp_path, "val")
    assert ids(source) == ["img/val/val0.jpg", "img/val/val1.jpg"]
    assert len(source.info.mask_names[kind]) == classes + 1
    np.testing.assert_array_equal(labels(source[1], kind), layouts.label_map(classes, 1))


def test_ade20k_with_names_from_its_table(tmp_path):
    layouts.ade_challenge(tmp_path / "ADEChallengeData2016")
    source = ade20k(tmp_path, "train")
    names = source.info.mask_names["object"]
    assert (names[0], names[1], names[150], len(names)) == (
        "other",
        "thing 1, other name",
        "thing 150, other name",
        151,
    )
    assert ids(source) == [
        "images/training/ADE_training_0.jpg",
        "images/training/ADE_training_1.jpg",
    ]
    np.testing.assert_array_equal(labels(source[1], "object"), layouts.label_map(150, 18))
    (tmp_path / "ADEChallengeData2016/objectInfo150.txt").unlink()
    assert ade20k(tmp_path, "val").info.mask_names["object"][:2] == ("other", "class 1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "names 149 classes instead of 150"),
        (lambda lines: [*lines[:3], "3 thing", *lines[4:]], "line 4: '3 thing' is not class 3"),
        (lambda lines: [*lines[:3], *lines[4:]], "line 4: .* is not class 3"),
    ],
)
def test_a_wrong_table_is_told(tmp_path, change, message):
    layouts.ade_challenge(tmp_path)
    table = tmp_path / "objectInfo150.txt"
    table.write_text("\n".join(change(table.read_text().splitlines())))
    with pytest.raises(JaxpartError, match=message):
        ade20k(tmp_path, "val")


def test_ade20k_object_from_the_challenge_keeps_59_classes(tmp_path):
    layouts.ade_challenge(tmp_path)
    source, whole = ade20k_object(tmp_path, "train"), ade20k(tmp_path, "train")
    assert len(OBJECTS) == 59
    assert source.info.mask_names["object"][:3] == ("background", "building", "sky")
    expected = np.zeros((8, 12), np.uint8)
    for new, old in enumerate(OBJECTS, 1):
        expected[labels(whole[0], "object") == old] = new
    np.testing.assert_array_equal(labels(source[0], "object"), expected)
    assert source[0].image == whole[0].image


def test_ade20k_object_from_the_papers_folder(tmp_path):
    layouts.ade_challenge(tmp_path / "ade_59object/ADEChallengeData2016", 59, info=False)
    layouts.ade_challenge(tmp_path / "ADEChallengeData2016")
    source = ade20k_object(tmp_path, "val")
    np.testing.assert_array_equal(labels(source[0], "object"), layouts.label_map(59, 10))


def test_the_objects_are_those_of_the_official_table(samples):
    names = ade20k(samples, "val").info.mask_names["object"]
    assert {names[i].partition(",")[0] for i in OBJECTS} == set(OBJECTS.values())


def test_the_papers_folder_of_59_objects_is_not_ade20k(tmp_path):
    root = tmp_path / "ade_59object/ADEChallengeData2016"
    layouts.ade_challenge(root, 59, info=False)
    for folder in (tmp_path, root):
        with pytest.raises(NotThere, match="holds the 59 objects of ade20k_object, not ADE20K"):
            ade20k(folder, "train")


def test_ade20k_part_from_the_full_release(tmp_path):
    """Level-1 parts of the 59 objects only: no rim (level 2), no dog (not of the 59)."""
    layouts.ade_full(tmp_path / "ADE20K_2021_17_01")
    source = ade20k_part(tmp_path, "train")
    assert source.info.mask_names == {"part": ("background", "car door", "car wheel")}
    assert [key.rpartition("/")[2] for key in ids(source)] == ["ADE_train_2.jpg", "ADE_train_1.jpg"]
    np.testing.assert_array_equal(labels(source[0], "part")[:, 0], [1, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(labels(source[1], "part")[:, 0], [2, 2, 0, 0, 0, 0, 0, 0])
    empty = ade20k_part(tmp_path, "val")
    assert empty.info.mask_names == source.info.mask_names
    assert not labels(empty[0], "part").any()


def test_ade20k_part_counts_agree_with_the_instances_of_the_samples(samples):
    source = ade20k_part(samples, "train")
    names = source.info.mask_names["part"]
    root = samples / "ade20k/ADE20K_2021_17_01"
    for record in source:
        found = labels(record, "part")
        path = root / record.annotation.id
        objects = json.loads(path.with_suffix(".json").read_bytes())["annotation"]["object"]
        first = {entry["id"]: entry["name"].partition(",")[0] for entry in objects}
        expected = np.zeros_like(found)
        for entry in objects:
            parts = entry["parts"]
            name = f"{first.get(parts['ispartof'] or -1) or ''} {first[entry['id']]}"
            if parts["part_level"] == 1 and name in names:
                seen = np.asarray(Image.open(path.parent / entry["instance_mask"])) == 255
                expected[seen] = names.index(name)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", r"ADE_train_1\.json is damaged"),
        (b'{"annotation": {}}', r"ADE_train_1\.json lacks a field of ADE20K \('object'\)"),
        (b'{"annotation": {"object": [{"id": 1}]}}', r"ADE_train_1\.json lacks a field .*'parts'"),
    ],
)
def test_a_wrong_annotation_is_told(tmp_path, data, message):
    layouts.ade_full(tmp_path)
    (tmp_path / "images/ADE/training/urban/street/ADE_train_1.json").write_bytes(data)
    with pytest.raises(JaxpartError, match=message):
        ade20k_part(tmp_path, "train")


def test_latin_letters_are_read(tmp_path):
    layouts.ade_full(tmp_path)
    path = tmp_path / "images/ADE/training/urban/street/ADE_train_1.json"
    path.write_bytes(path.read_bytes().replace(b'"dog, hound"', b'"caf\xe9"'))
    assert len(ade20k_part(tmp_path, "train").info.mask_names["part"]) == 3


@pytest.mark.parametrize("open_set", [lip, ade20k, ade20k_object, ade20k_part])
def test_wrong_folders_and_splits(tmp_path, open_set):
    with pytest.raises(NotThere, match="is missing; unpack"):
        open_set(tmp_path, "val")
    with pytest.raises(JaxpartError, match="has no split 'test'; choose train or val"):
        open_set(tmp_path, "test")


def test_broken_pairs_are_told(tmp_path):
    layouts.paper(tmp_path, 19)
    (tmp_path / "ann/val/val0.png").rename(tmp_path / "ann/val/val2.png")
    with pytest.raises(
        JaxpartError, match=r"img/val/val0\.jpg has no counterpart in ann/val \(1 files"
    ):
        lip(tmp_path, "val")
    (tmp_path / "ann/val/val2.png").rename(tmp_path / "ann/val/val0.png")
    layouts.write(tmp_path / "img/val/val0.png", layouts.png(layouts.label_map(3)))
    with pytest.raises(JaxpartError, match="have the same name except for the suffix"):
        lip(tmp_path, "val")
    for file in (tmp_path / "img/train").iterdir():
        file.unlink()
    with pytest.raises(JaxpartError, match=r"img/train holds no \.jpg/\.jpeg/\.png file"):
        lip(tmp_path, "train")
    (tmp_path / "img/train").rmdir()
    with pytest.raises(NotThere, match="img/train is missing"):
        lip(tmp_path, "train")


def test_a_missing_image_is_told_when_it_is_read(tmp_path):
    layouts.paper(tmp_path, 19)
    source = lip(tmp_path, "val")
    (tmp_path / "img/val/val1.jpg").unlink()
    with pytest.raises(JaxpartError, match=r"val1\.jpg cannot be read: No such file"):
        source[1]


def test_ignored_pixels_stay_ignored_and_other_labels_are_refused(tmp_path):
    layouts.ade_challenge(tmp_path)
    for label in (255, 151):
        data = layouts.png(np.full((8, 12), label))
        (tmp_path / "annotations/training/ADE_training_0.png").write_bytes(data)
        source = ade20k_object(tmp_path, "train")
        if label == 255:
            assert (labels(source[0], "object") == 255).all()
        else:
            with pytest.raises(JaxpartError, match=r"ADE_training_0\.png: the label map holds 151"):
                source[0]


def test_versions_follow_the_files(tmp_path):
    layouts.paper(tmp_path, 19)
    before = lip(tmp_path, "val").info.version
    assert lip(tmp_path, "val").info.version == before
    layouts.write(tmp_path / "img/val/val0.jpg", layouts.jpeg(9))
    assert lip(tmp_path, "val").info.version != before
