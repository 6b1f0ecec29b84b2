"""PACO-LVIS from a small copy, from the synthetic samples, and from broken files."""

import copy
import json

import layouts
import numpy as np
import pytest
from test_coco import STRANGE, places

from jaxpart.data.checking import record_faults
from jaxpart.data.folders import NotThere
from jaxpart.data.masks import read_mask
from jaxpart.data.sets.paco import SPLITS, paco_object, paco_part
from jaxpart.errors import JaxpartError


def labels(source, index, kind):
    return read_mask(source[index], kind, len(source.info.mask_names[kind]))


def test_parts_of_one_name_are_one_class(tmp_path):
    layouts.paco(tmp_path / "paco")
    source = paco_part(tmp_path, "val")
    assert source.info.mask_names == {"part": ("background", "body", "handle")}
    assert source.info.notes == ("1 images without a part mask are left out",)
    assert source.annotation(0).id == "train2017/5.jpg"
    assert source[0].image == layouts.jpeg((5, 9))
    expected = np.zeros((8, 12), np.uint8)
    expected[:2, 6:] = 2
    expected[:, 1:4] = 1
    expected[:4, :3] = 2  # the greater id lies above, whatever the order of the file
    np.testing.assert_array_equal(labels(source, 0, "part"), expected)


def test_objects_come_by_their_ids(tmp_path):
    layouts.paco(tmp_path / "paco")
    source = paco_object(tmp_path, "test")
    assert source.annotation(0).id == "val2017/5.jpg"
    assert source.info.mask_names == {"object": ("background", "knife", "mug")}
    assert source.info.notes[1] == "1 annotations have no polygon of three corners or more"
    expected = np.zeros((8, 12), np.uint8)
    expected[:2, 6:], expected[:, :6] = 1, 2
    np.testing.assert_array_equal(labels(source, 0, "object"), expected)


def test_the_images_may_lie_beside_the_annotations(tmp_path):
    layouts.paco(tmp_path / "paco")
    expected = paco_part(tmp_path, "test").info
    for place in ("coco2017", "coco2017/images"):
        (tmp_path / place).mkdir()
        for folder in ("train2017", "val2017"):
            (found,) = tmp_path.rglob(folder)
            found.rename(tmp_path / place / folder)
        assert paco_part(tmp_path, "test").info == expected
        assert paco_part(tmp_path, "test")[0].image == layouts.jpeg((5, 7))


def test_the_samples_are_drawn_as_by_pycocotools(samples):
    for split in SPLITS:
        part, whole = paco_part(samples, split), paco_object(samples / "paco", split)
        file = samples / f"paco/annotations/paco_lvis_v1_{split}.json"
        document = json.loads(file.read_text())
        bare = [entry["name"] for entry in document["part_categories"]]
        assert part.info.mask_names == {"part": ("background", *bare)}
        assert len(bare) == 200
        name_of = {entry["id"]: entry["name"] for entry in document["categories"]}
        objects = [name_of[key] for key in sorted(name_of) if key < 2000]
        assert whole.info.mask_names == {"object": ("background", *objects)}
        for source, kind in ((part, "part"), (whole, "object")):
            (index,) = range(len(source))
            name = source.annotation(index).id.rpartition("/")[2].removesuffix(".jpg")
            stored = np.load(samples / f"paco/expected/{name}.{kind}.npy")
            if kind == "object":
                expected = np.where(stored == 255, 0, stored + 1)
            else:
                expected = np.zeros_like(stored)
                for number in np.unique(stored[stored != 65535]).tolist():
                    label = bare.index(name_of[2000 + number].partition(":")[2]) + 1
                    expected[stored == number] = label
            np.testing.assert_array_equal(labels(source, index, kind), expected)
            assert not list(record_faults(source[index], source.info))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["categories"][0].update(supercategory="ATTR"),
            r"\[0\]\.supercategory is 'ATTR', n",
        ),
        (
            lambda d: d["categories"][0].update(name="mug:cup"),
            r"\[0\]\.name is 'mug:cup', which is",
        ),
        (lambda d: d["categories"][0].update(name=7), r"\[0\]\.name is 7, which is"),
        (
            lambda d: d["categories"][2].update(name="knife"),
            r"\[2\]\.name is 'knife', which is",
        ),
        (
            lambda d: d["categories"][2].update(name="knife:"),
            r"\[2\]\.name is 'knife:', which is",
        ),
        (
            lambda d: d["categories"].pop(),
            r"annotations\[1\]\.category_id is 2067, which is not in",
        ),
        (
            lambda d: d["annotations"][2]["segmentation"].update(counts=3),
            r"annotations\[2\]\.segmentation has",
        ),
        (
            lambda d: d["images"][0].update(file_name="../5.jpg"),
            r"lists an image in '\.\.'; PACO-LVIS has",
        ),
        (
            lambda d: d["images"][0].update(file_name="train2017/../5.jpg"),
            "lists .*/5.jpg, which does not",
        ),
        (
            lambda d: d["images"][0].update(file_name="train2017/9.jpg"),
            "9.jpg, which does not exist; unpack",
        ),
        (lambda d: d["images"][0].pop("height"), "the image with id 5 has the size None"),
    ],
)
def test_a_wrong_field_is_told(tmp_path, change, message):
    layouts.paco(tmp_path)
    document = layouts.paco_file("val")
    change(document)
    layouts.write(tmp_path / "annotations/paco_lvis_v1_val.json", json.dumps(document))
    with pytest.raises(JaxpartError, match=r"paco_lvis_v1_val\.json.*" + message):
        paco_part(tmp_path, "val")


def test_runs_of_another_size_are_told_when_they_are_drawn(tmp_path):
    layouts.paco(tmp_path)
    document = layouts.paco_file("val")
    document["annotations"][2]["segmentation"]["size"] = [12, 8]
    layouts.write(tmp_path / "annotations/paco_lvis_v1_val.json", json.dumps(document))
    with pytest.raises(JaxpartError, match=r"annotation with id 7 has the size \(12, 8\) \(height"):
        paco_part(tmp_path, "val")[0]


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(
        NotThere, match=r"paco_lvis_v1_val\.json is missing; unpack paco_lvis_v1\.zip"
    ):
        paco_part(tmp_path, "val")
    layouts.paco(tmp_path)
    (tmp_path / "annotations/paco_lvis_v1_val.json").unlink()
    with pytest.raises(NotThere, match=r"paco_lvis_v1_val\.json is missing"):
        paco_part(tmp_path, "val")
    (tmp_path / "coco/val2017").rename(tmp_path / "coco/elsewhere")
    assert len(paco_part(tmp_path, "train")) == 1
    with pytest.raises(NotThere, match="has no images val2017 in it or beside it"):
        paco_part(tmp_path, "test")


def test_no_value_anywhere_in_a_file_is_more_than_a_sentence(tmp_path):
    layouts.paco(tmp_path)
    document = layouts.paco_file("val")
    document["annotations"] = document["annotations"][1:3]
    document["categories"] = document["categories"][3:]
    document["images"] = document["images"][:1]
    told = 0
    for *path, last in places(document):
        for value in STRANGE:
            strange = copy.deepcopy(document)
            spot = strange
            for key in path:
                spot = spot[key]
            spot[last] = value
            layouts.write(tmp_path / "annotations/paco_lvis_v1_val.json", json.dumps(strange))
            try:
                source = paco_part(tmp_path, "val")
                for index in range(len(source)):
                    list(record_faults(source[index], source.info))
            except JaxpartError:
                told += 1
    assert told > 300
