"""Everything that can be wrong with a record is listed; what may be is counted."""

import dataclasses
import io
import shutil

import layouts
import numpy as np
import pytest
from PIL import Image

from jaxpart.data.checking import check_source, record_faults, repeated
from jaxpart.data.critters import Critters
from jaxpart.data.masks import read_mask
from jaxpart.data.sets import SETS
from jaxpart.data.sets.imagenet import ImageNet
from jaxpart.data.sets.lip import lip
from jaxpart.data.sets.part_folder import part_folder
from jaxpart.data.source import Annotation, Keypoints
from jaxpart.data.splits import compare_splits, unseen_labels
from jaxpart.errors import JaxpartError

SOURCE = Critters(num_images=2, image_size=32)
RECORD = SOURCE[0]


def faults(**changes):
    return list(record_faults(dataclasses.replace(RECORD, **changes), SOURCE.info))


def test_a_sound_record_has_no_faults():
    assert faults() == []


def test_every_fault_is_named():
    masks = dict(RECORD.masks)
    assert "truncated or damaged" in faults(image=RECORD.image[:-40])[0]
    assert "not an image" in faults(image=b"GIF!")[0]
    assert "empty file" in faults(image=b"")[0]
    assert "train/000000 (object mask) is missing" in faults(masks={"part": masks["part"]})[0]
    high = layouts.png(np.full((32, 32), 8, np.uint8))
    small = layouts.png(np.zeros((8, 32), np.uint8))
    both = faults(masks={"part": high, "object": small})
    assert "train/000000 (part mask): the label map holds 8, but 8 classes allow 0 to 7" in both[0]
    assert "the label map is 32 × 8 pixels but its image is 32 × 32" in both[1]
    assert (
        "has the label 24, but there are only 24 classes"
        in faults(annotation=Annotation("a", label=24))[0]
    )
    points = Keypoints(
        np.array([1, 9]), np.full((2, 2), np.nan), np.ones(2, bool), np.zeros(2, int)
    )
    wrong = faults(annotation=Annotation("a", points))
    assert wrong == [
        "a has keypoints of the unknown parts [9]",
        "a has a keypoint that is not a number",
    ]


def encoded(mode, kind, dtype=np.uint8):
    file = io.BytesIO()
    image = Image.fromarray(np.full((6, 5), 300 if dtype == np.uint16 else 3, dtype))
    (image if dtype == np.uint16 else image.convert(mode)).save(file, kind)
    return file.getvalue()


def test_unusual_images_are_read_as_rgb_and_counted(tmp_path):
    images = {
        "a.jpg": encoded("RGB", "jpeg"),
        "b.jpg": encoded("CMYK", "jpeg"),
        "c.jpg": encoded("L", "jpeg"),
        "d.png": encoded("P", "png"),
        "e.png": encoded("I;16", "png", np.uint16),
        "f.png": encoded("RGBA", "png"),
    }
    for name, data in images.items():
        layouts.write(tmp_path / "val/n1" / name, data)
    summary, found = check_source(ImageNet(tmp_path, "val"), workers=1)
    assert found == []
    assert summary.modes == {"CMYK": 1, "I;16": 1, "L": 1, "P": 1, "RGBA": 1}
    assert str(summary) == (
        "6 images, sides of 5 to 6 pixels, 1 of mode CMYK, 1 of mode I;16, 1 of mode L, 1 of mode P, "
        "1 of mode RGBA (read as RGB)"
    )


def test_a_check_lists_all_and_goes_on(tmp_path):
    layouts.paper(tmp_path, 19)
    (tmp_path / "img/val/val0.jpg").write_bytes(layouts.jpeg()[:-30])
    (tmp_path / "ann/val/val1.png").write_bytes(layouts.png(layouts.label_map(25)))
    source = lip(tmp_path, "val")
    done = []
    summary, found = check_source(source, workers=1, progress=done.append)
    assert summary.records == 2
    assert done == [2]
    assert len(found) == 2
    assert "val0.jpg is truncated" in found[0]
    assert (
        "val1.jpg (part mask): the label map holds 20, 21, 22, 23, 24, but 20 classes" in found[1]
    )
    assert check_source(source, workers=2) == (summary, found)


def test_repeated_ids():
    assert repeated(["a", "b", "a"]) == ["the id a appears 2 times"]


def label_folder(root, *maps, names=("beak", "wing", "tail")):
    for i, labels in enumerate(maps):
        picture = layouts.jpeg((i, len(root.name)), size=labels.shape[::-1])
        layouts.write(root / f"images/{i}.jpg", picture)
        layouts.write(root / f"labels/{i}.png", layouts.png(labels))
    layouts.write(root / "classes.txt", "\n".join(names))
    return part_folder(root)


def test_maps_without_a_label_are_a_fault(tmp_path):
    white = np.where(layouts.label_map(3) > 0, 255, 0).astype(np.uint8)
    summary, found = check_source(label_folder(tmp_path, white, white), workers=1)
    assert summary.labels == {"part": {frozenset({0, 255}): "images/0.jpg"}}
    assert found == [
        "part_folder (all): no pixel of the label maps has a label from 1 to 3; the values found are 0, "
        "255 (0 is the background, 255 is ignored); save labels, not colours"
    ]


def test_one_class_as_1_in_some_maps_and_as_white_in_others_is_a_fault(tmp_path):
    ones = layouts.label_map(1)
    source = label_folder(tmp_path / "a", ones * 0, ones, ones * 255, names=("bird",))
    assert check_source(source, workers=1)[1] == [
        "part_folder (all): the label map of images/1.jpg holds 1, that of images/2.jpg 255, which is "
        "ignored, and none holds both; save the class as 1 in every label map"
    ]
    ones[0] = 255  # as is usual at the edges of objects
    both = label_folder(tmp_path / "b", ones, ones * 255, names=("bird",))
    assert check_source(both, workers=1)[1] == []


def test_labels_that_no_pixel_has_are_said(tmp_path):
    source = label_folder(tmp_path, layouts.label_map(1), layouts.label_map(1) * 3)
    summary, found = check_source(source, workers=1)
    assert found == []
    assert list(unseen_labels(source.info, summary.labels)) == [
        "part_folder (all): no pixel of wing"
    ]


def test_a_narrow_picture_is_a_fault(tmp_path):
    source = label_folder(tmp_path, np.ones((2, 300), np.uint8))
    assert check_source(source, workers=1)[1] == [
        "images/0.jpg has 300 × 2 pixels, too narrow to be cropped"
    ]


def test_a_turned_picture_beside_a_map_as_it_is_stored_names_exif(tmp_path):
    label_folder(tmp_path, layouts.label_map(3))
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (12, 8)).save(tmp_path / "images/0.jpg", exif=exif.tobytes())
    (fault,) = check_source(part_folder(tmp_path), workers=1)[1]
    assert (
        "is 12 × 8 pixels, its image 8 × 12 once the image's EXIF orientation is applied" in fault
    )


def test_broken_links_and_other_formats_are_named(tmp_path):
    for name in ("a.jpg", "b.WEBP", "._a.jpg", ".DS_Store", "notes.txt"):
        layouts.write(tmp_path / "val/n1" / name, layouts.jpeg())
    (tmp_path / "val/n1/c.jpg").symlink_to("/nowhere/c.jpg")
    summary, found = check_source(ImageNet(tmp_path, "val"), workers=1)
    assert summary.records == 2
    assert found == [
        f"{tmp_path}/val/n1/c.jpg is a broken link to /nowhere/c.jpg; fix or remove the link"
    ]
    layouts.write(tmp_path / "val/n1/d.heic", b"")
    with pytest.raises(JaxpartError, match=r"d\.heic is in an unsupported format"):
        ImageNet(tmp_path, "val")


def test_splits_with_other_lists_are_a_fault(tmp_path):
    for split, names in (("train", ("beak", "wing", "tail")), ("test", ("wing", "beak", "tail"))):
        label_folder(tmp_path / split, layouts.label_map(3), names=names)
    sources = {split: part_folder(tmp_path, split) for split in ("train", "test")}
    (fault,) = compare_splits(SETS["part_folder"], sources, str(tmp_path))[1]
    assert "train and test have different labels of mask 'part', or order them" in fault


def test_training_images_in_the_test_split_are_said_and_nothing_else_is_refused(tmp_path):
    layouts.imagenet(tmp_path)
    (tmp_path / "val/na/a_0.JPEG").write_bytes((tmp_path / "train/nb/b_1.JPEG").read_bytes())

    def told():
        opened = {split: ImageNet(tmp_path, split) for split in ("train", "val")}
        return compare_splits(SETS["imagenet"], opened, str(tmp_path))

    assert told()[0][0] == "imagenet (val): 1 of 4 images are also images of imagenet (train)"
    shutil.rmtree(tmp_path / "val")
    (tmp_path / "val").symlink_to(tmp_path / "train")
    assert told()[1] == [
        "every image of imagenet (val) is also an image of imagenet (train), and a test on training images "
        "measures nothing; give the splits different images"
    ]


def test_classes_that_one_split_lacks_are_said(tmp_path):
    layouts.imagenet(tmp_path)  # three classes in train, two in val
    sources = {split: ImageNet(tmp_path, split) for split in ("train", "val")}
    lines, faults = compare_splits(SETS["imagenet"], sources, str(tmp_path))
    assert (lines, faults) == (["imagenet (val): no image of nb"], [])


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ("background\nbeak\nwing", ("beak", "wing")),
        ("__ignore__\n_background_\nbeak\nwing\n", ("beak", "wing")),
        ("BG\r\nbeak\r\nwing\r\n\r\n", ("beak", "wing")),
        ("\ufeffbeak\nwing", ("beak", "wing")),
    ],
)
def test_lists_that_begin_with_the_background(tmp_path, lines, names):
    label_folder(tmp_path, layouts.label_map(2))
    (tmp_path / "classes.txt").write_bytes(lines.encode())
    info = part_folder(tmp_path).info
    assert info.mask_names == {"part": ("background", *names)}
    assert bool(info.notes) == (lines[0] != "\ufeff")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("beak\nbackground\n", "line 2 is 'background', which is not a class"),
        ("background\n", "line 1 is 'background', which is not a class"),
        ("beak\n\nwing\n", "line 2 is empty, but each line names a label"),
        ("\n\n", "is an empty list"),
        ("beak\nbeak\n", "line 2: the id 'beak' appears twice"),
        ("0 background\n1 beak\n", "line 1 is '0 background'; give names only"),
        ("beak\nwing:1,2,3::\n", "line 2 is 'wing:1,2,3::'; give names only"),
        ("beak\nvoid\n", "line 2 is 'void', which is not a class"),
    ],
)
def test_lists_that_cannot_be_meant_are_refused(tmp_path, lines, message):
    label_folder(tmp_path, layouts.label_map(2))
    (tmp_path / "classes.txt").write_text(lines)
    with pytest.raises(JaxpartError, match=message):
        part_folder(tmp_path)


@pytest.mark.parametrize("ending", ["bmp", "tif", "gif"])
def test_label_maps_in_other_lossless_formats(tmp_path, ending):
    label_folder(tmp_path, layouts.label_map(3))
    Image.open(tmp_path / "labels/0.png").save(tmp_path / f"labels/0.{ending}")
    (tmp_path / "labels/0.png").unlink()
    source = part_folder(tmp_path)
    np.testing.assert_array_equal(read_mask(source[0], "part", 4), layouts.label_map(3))
