"""PartImageNet from small copies of both releases, from the synthetic samples, and from broken files."""

import copy
import json

import layouts
import numpy as np
import pytest
from test_coco import STRANGE, places

from jaxpart.data.checking import record_faults
from jaxpart.data.folders import NotThere
from jaxpart.data.label_maps import numbered
from jaxpart.data.masks import read_mask
from jaxpart.data.sets.partimagenet import PARTS, SPLITS, partimagenet_object, partimagenet_part
from jaxpart.errors import JaxpartError

FISH_HEAD, FISH_FIN = PARTS.index("Fish Head") + 1, PARTS.index("Fish Fin") + 1


def labels(source, index, kind="part"):
    return read_mask(source[index], kind, len(source.info.mask_names[kind]))


def test_parts_have_the_official_ids():
    assert len(PARTS) == 40
    known = {0: "Quadruped Head", 11: "Fish Fin", 26: "Car Side Mirror", 30: "Bicycle Tier"}
    known |= {31: "Boat Body", 39: "Bottle Body"}
    assert {key: PARTS[key] for key in known} == known


def test_polygons_of_the_first_release(tmp_path):
    layouts.partimagenet(tmp_path / "PartImageNet_OOD")
    source = partimagenet_part(tmp_path, "val")
    assert len(source) == 1
    assert source.info.notes == ("1 images without a part mask are left out",)
    assert source.info.mask_names == {"part": ("background", *PARTS)}
    assert source.annotation(0).id == "val/n01440764/n01440764_val0.JPEG"
    expected = np.zeros((8, 12), np.uint8)
    expected[:4, :6], expected[2:, 4:] = FISH_HEAD, FISH_FIN  # the later lies above
    np.testing.assert_array_equal(labels(source, 0), expected)
    assert source[0].image == layouts.jpeg((0, 3))


def test_label_maps_of_the_other_release(tmp_path):
    layouts.partimagenet_seg(tmp_path / "PartImageNet_Seg")
    for opened, kind, classes in (
        (partimagenet_part, "part", 40),
        (partimagenet_object, "object", 158),
    ):
        source = opened(tmp_path, "test")
        stored = layouts.label_map(classes, 4)
        expected = np.where(stored == classes, 0, stored + 1)  # the background comes last
        np.testing.assert_array_equal(labels(source, 0, kind), expected)
        assert len(source.info.mask_names[kind]) == classes + 1
    assert source.info.mask_names == {"object": numbered(158)}


@pytest.mark.parametrize("release", ["PartImageNet_OOD", "PartImageNet_Seg", ""])
def test_the_samples_are_drawn_as_by_pycocotools(samples, release):
    for split in SPLITS:
        source = partimagenet_part(samples / "partimagenet" / release, split)
        assert not source.info.notes
        for index in range(len(source)):
            name = source.annotation(index).id.rpartition("/")[2].removesuffix(".JPEG")
            stored = np.load(samples / f"partimagenet/expected/{name}.paint.npy")
            expected = np.where(stored == 40, 0, stored + 1)
            np.testing.assert_array_equal(labels(source, index), expected)
            assert not list(record_faults(source[index], source.info))


def changed(folder, change, split="val"):
    """A val split with another file."""
    layouts.partimagenet(folder)
    document = layouts.partimagenet_file(split)
    change(document)
    (folder / f"{split}.json").write_text(json.dumps(document))
    return partimagenet_part(folder, split)


def test_the_defects_of_the_official_file_are_passed_over(tmp_path):
    def change(document):
        first, second = document["annotations"]
        first["segmentation"] += [[1, 1, 3, 3], [2, 2]]
        second.update(segmentation=[], area=0)
        document["annotations"].append({**second, "id": 30, "segmentation": [[0, 0, 5, 5]]})

    source = changed(tmp_path, change)
    assert np.unique(labels(source, 0)).tolist() == [0, FISH_HEAD]
    assert source.info.notes[1] == "2 annotations have no polygon of three corners or more"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["categories"][0].update(name="Fish Eye"),
            r"categories\[0\]\.name is 'Fish Eye', .*40",
        ),
        (lambda d: d["categories"][0].update(id=9), r"categories\[1\] repeats the id 9"),
        (
            lambda d: d["annotations"][1].update(category_id=1),
            r"annotations\[1\]\.category_id is 1, which",
        ),
        (
            lambda d: d["annotations"][1].pop("segmentation"),
            r"annotations\[1\] lacks the field 'segm",
        ),
        (
            lambda d: d["annotations"][1].update(segmentation=3),
            r"annotations\[1\]\.segmentation is 3",
        ),
        (lambda d: d["images"][0].update(width=None), r"the image with id 0 has the size None"),
        (
            lambda d: d["images"][0].update(width=10**9),
            r"the image with id 0 has the size \(10+, 8\)",
        ),
        (
            lambda d: d["images"][0].update(file_name="../test/n01440764/n01440764_test0.JPEG"),
            "lists .*not in",
        ),
        (
            lambda d: d["images"][0].update(file_name="n0_1.JPEG"),
            r"lists n0_1.JPEG, which is not in",
        ),
        (
            lambda d: d["images"][1].update(file_name="/etc/passwd"),
            r"lists /etc/passwd, which is not in",
        ),
    ],
)
def test_a_wrong_field_is_told(tmp_path, change, message):
    with pytest.raises(JaxpartError, match=r"val\.json.*" + message):
        changed(tmp_path, change)


def test_a_mask_beside_its_image_is_told_when_it_is_drawn(tmp_path):
    far = [0, 0, 1e9, 0, 5, 5]
    source = changed(tmp_path, lambda d: d["annotations"][1].update(segmentation=[far]))
    with pytest.raises(
        JaxpartError, match=r"val\.json: the segmentation of the annotation with id 10 ext"
    ):
        source[0]


def test_an_image_of_another_size_is_told_before_anything_is_drawn(tmp_path):
    source = changed(tmp_path, lambda d: d["images"][0].update(width=2**14, height=2**14))
    with pytest.raises(
        JaxpartError, match=r"val0\.JPEG has 12 × 8 pixels, but its annotations state 16"
    ):
        source[0]


def test_what_is_not_there_is_told(tmp_path):
    layouts.partimagenet(tmp_path / "PartImageNet_OOD")
    (tmp_path / "PartImageNet_OOD/test.json").unlink()
    with pytest.raises(NotThere, match=r"test\.json is missing; unpack"):
        partimagenet_part(tmp_path, "test")
    with pytest.raises(NotThere, match="holds no PartImageNet_Seg"):
        partimagenet_object(tmp_path, "test")
    with pytest.raises(JaxpartError, match="no split 'all'"):
        partimagenet_part(tmp_path, "all")


def test_no_value_anywhere_in_a_file_is_more_than_a_sentence(tmp_path):
    layouts.partimagenet(tmp_path)
    document = layouts.partimagenet_file("val")
    document = {section: rows[:1] for section, rows in document.items()}
    document["annotations"][0]["segmentation"] = [[0, 0, 6, 0, 6, 4]]
    told = 0
    for *path, last in places(document):
        for value in STRANGE:
            strange = copy.deepcopy(document)
            spot = strange
            for key in path:
                spot = spot[key]
            spot[last] = value
            (tmp_path / "val.json").write_text(json.dumps(strange))
            try:
                source = partimagenet_part(tmp_path, "val")
                for index in range(len(source)):
                    list(record_faults(source[index], source.info))
            except JaxpartError:
                told += 1
    assert told > 200
