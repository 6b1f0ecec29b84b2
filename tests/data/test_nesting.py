"""Data sets are found as their archives unpack, and one that is there twice is told."""

import os
import shutil
import unicodedata

import layouts
import pytest

from jaxpart.data.folders import NotThere, walk_images
from jaxpart.data.sets import SETS
from jaxpart.errors import JaxpartError

OFFICIAL = sorted(set(layouts.BUILDERS) - {"part_folder"})
SPLIT = {"cub_parts": "test", "coco_person_parts": "val2017"}


def opened(name, root):
    source = SETS[name].open(root, SPLIT.get(name, "val"))
    assert source[len(source) - 1].image[:2] == b"\xff\xd8"
    return source


def move(root, old, new):
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(root / old, root / new)


@pytest.mark.parametrize("name", OFFICIAL)
def test_itself_doubled_far_above_and_linked(tmp_path, name):
    layouts.BUILDERS[name](tmp_path / "data")
    expected = opened(name, tmp_path / "data").info
    assert opened(name, tmp_path).info == expected  # one folder further up
    (inner,) = (path for path in (tmp_path / "data").iterdir())
    move(tmp_path, f"data/{inner.name}", f"moving/{inner.name}")
    move(tmp_path, f"moving/{inner.name}", f"data/{inner.name}/{inner.name}")
    assert opened(name, tmp_path / "data").info == expected  # as some archives unpack
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / inner.name).symlink_to(tmp_path / "data" / inner.name)
    assert opened(name, tmp_path / "linked").info == expected
    for folder in list(os.walk(tmp_path / "data"))[1:]:  # what macOS leaves
        for file in folder[2]:
            layouts.write(tmp_path / folder[0] / f"._{file}", b"\0\5\x16\7")
        layouts.write(tmp_path / folder[0] / ".DS_Store", b"\0")
    assert opened(name, tmp_path / "data").info == expected


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("coco_person_parts", "coco/val2017", "coco/images/val2017"),
        ("coco_person_parts", "coco/val2017", "coco/val2017/val2017"),
        ("coco_person_parts", "coco/val2017", "coco/images/val2017/val2017"),
        ("coco_person_parts", "coco/val2017", "val2017"),
        ("coco_person_parts", "coco/annotations", "coco/annotations/annotations"),
        ("coco_person_parts", "coco", "coco2017"),
        ("coco_person_parts", "coco/annotations", "annotations"),
        ("cub_parts", "CUB_200_2011", "birds/CUB_200_2011"),
        ("imagenet", "imagenet", "ILSVRC/Data/CLS-LOC"),
        ("imagenet", "imagenet", "imagenet/ILSVRC/Data/CLS-LOC"),
        ("imagenet", "imagenet", "ILSVRC2012"),
        ("lip", "LIP", "lip/LIP"),
        ("lip", "LIP/TrainVal_images", "LIP/TrainVal_images/TrainVal_images"),
        ("pascal_part", "pascal_part/Annotations_Part", "pascal_part/trainval/Annotations_Part"),
        ("pascal_part", "pascal_part/VOCdevkit", "pascal_part/VOCtrainval_03-May-2010/VOCdevkit"),
        ("pascal_part", "pascal_part/VOCdevkit/VOC2010", "pascal_part/VOC2010"),
        (
            "pascal_part",
            "pascal_part/Annotations_Part",
            "pascal_part/Annotations_Part/Annotations_Part",
        ),
        ("ade20k", "ade20k/ADEChallengeData2016", "sets/ADEChallengeData2016"),
        ("ade20k_part", "ADE20K_2021_17_01", "ade20k/ADE20K_2021_17_01"),
    ],
)
def test_common_nestings(tmp_path, name, old, new):
    layouts.BUILDERS[name](tmp_path)
    ids = [opened(name, tmp_path).annotation(0).id]
    move(tmp_path, old, "moving")
    move(tmp_path, "moving", new)
    found = opened(name, tmp_path).annotation(0).id
    assert found.rpartition("/")[2] == ids[0].rpartition("/")[2]
    if name == "coco_person_parts":
        assert [found] == ids  # wherever the images lie


def test_twice_is_told(tmp_path):
    layouts.cub(tmp_path / "old/CUB_200_2011")
    layouts.cub(tmp_path / "new/CUB_200_2011")
    with pytest.raises(JaxpartError, match=r"holds CUB_200_2011 2 times, in .* and .*; name one"):
        opened("cub_parts", tmp_path)
    layouts.imagenet(tmp_path / "imagenet")
    layouts.imagenet(tmp_path / "ILSVRC2012")
    with pytest.raises(JaxpartError, match="holds ImageNet 2 times"):
        opened("imagenet", tmp_path)
    layouts.coco(tmp_path / "coco")
    layouts.write(tmp_path / "coco/images/val2017/3.jpg", layouts.jpeg(5))
    with pytest.raises(JaxpartError, match="holds the images of val2017 2 times"):
        opened("coco_person_parts", tmp_path)


def test_another_set_of_the_same_shape_is_not_taken(tmp_path):
    layouts.paper(tmp_path / "LIP", 19)
    for name in ("pascal_part", "ade20k_part", "imagenet"):
        with pytest.raises(NotThere):
            opened(name, tmp_path)


def test_linked_folders_are_followed_and_loops_end(tmp_path):
    layouts.write(tmp_path / "far/c.jpg", layouts.jpeg())
    layouts.write(tmp_path / "images/a.jpg", layouts.jpeg())
    layouts.write(tmp_path / "images/sub/b.webp", layouts.jpeg())
    layouts.write(tmp_path / "images/__MACOSX/._b.jpg", b"\0")
    (tmp_path / "images/sub/far").symlink_to(tmp_path / "far")
    (tmp_path / "images/sub/up").symlink_to(tmp_path / "images")
    assert walk_images(tmp_path / "images") == ["a.jpg", "sub/b.webp", "sub/far/c.jpg"]


@pytest.mark.parametrize("link", ["links/to", "zlink"])
def test_a_linked_folder_does_not_hide_the_real_one(tmp_path, link):
    layouts.write(tmp_path / "real/deep/b.jpg", layouts.jpeg())
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "real/deep")
    assert walk_images(tmp_path) == ["real/deep/b.jpg"]


def test_a_class_folder_that_links_to_another_class_is_told(tmp_path):
    layouts.imagenet(tmp_path)
    (tmp_path / "val/nb").symlink_to(tmp_path / "val/na")
    with pytest.raises(JaxpartError, match="val/nb is the same folder as na, so its images would"):
        SETS["imagenet"].open(tmp_path, "val")


def test_a_link_to_a_folder_above_is_no_class(tmp_path):
    layouts.imagenet(tmp_path)
    (tmp_path / "val/nd").symlink_to(tmp_path)
    (tmp_path / "far/nb").mkdir(parents=True)
    layouts.write(tmp_path / "far/nb/b.jpg", layouts.jpeg())
    (tmp_path / "val/nb").symlink_to(tmp_path / "far/nb")
    source = SETS["imagenet"].open(tmp_path, "val")
    assert source.info.class_names == ("na", "nb", "nc")
    assert [source.annotation(i).label for i in range(len(source))] == [0, 0, 1, 2, 2]


def test_names_in_the_other_form_of_unicode(tmp_path):
    """As a Mac writes files, and most programs lists of them."""
    layouts.cub(tmp_path / "cub")
    layouts.lip(tmp_path / "lip")
    for folder, old in (("cub", "0.Auk/a"), ("lip", "77_2")):
        for path in [*(tmp_path / folder).rglob("*.txt")]:
            path.write_text(path.read_text().replace(old, unicodedata.normalize("NFC", f"{old}é")))
        for path in [*(tmp_path / folder).rglob(f"{old.rpartition('/')[2]}.*")]:
            path.rename(path.with_stem(unicodedata.normalize("NFD", f"{path.stem}é")))
    assert opened("cub_parts", tmp_path / "cub").annotation(0).size is None
    source = SETS["lip"].open(tmp_path / "lip", "train")
    assert source[0].masks["part"] == layouts.png(layouts.label_map(19, 0))


def test_the_full_release_of_ade20k_with_a_linked_folder(tmp_path):
    layouts.ade_full(tmp_path / "ADE20K_2021_17_01")
    training = tmp_path / "ADE20K_2021_17_01/images/ADE/training"
    (tmp_path / "elsewhere").mkdir()
    shutil.move(training / "urban", tmp_path / "elsewhere/urban")
    (training / "urban").symlink_to(tmp_path / "elsewhere/urban")
    source = SETS["ade20k_part"].open(tmp_path, "train")
    assert len(source) == 2
    assert source.info.mask_names == {"part": ("background", "car door", "car wheel")}
