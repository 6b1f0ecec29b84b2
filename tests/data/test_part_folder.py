"""The reader's own pictures with keypoints or label maps."""

import json

import layouts
import numpy as np
import pytest
from PIL import Image

from jaxpart.data.folders import NotThere
from jaxpart.data.sets.part_folder import part_folder
from jaxpart.errors import JaxpartError


def test_keypoints(tmp_path):
    layouts.keypoint_folder(tmp_path)
    source = part_folder(tmp_path)
    assert [source.annotation(i).id for i in range(2)] == ["images/b.jpg", "images/a.png"]
    assert source.info.part_names == {1: "beak", 2: "tail"}
    points = source.annotation(0).keypoints
    assert points.part.tolist() == [1, 2, 1, 2]
    assert points.instance.tolist() == [100_000, 100_000, 0, 0]
    assert points.visible.tolist() == [True, True, False, False]
    np.testing.assert_array_equal(points.xy, [[1, 2], [61.5, 4], [75, 6], [0, 0]])
    assert source.annotation(1).keypoints.xy.shape == (0, 2)
    assert source[0].image == layouts.jpeg(1, layouts.WIDE)


def test_images_that_are_not_listed_are_said(tmp_path):
    layouts.keypoint_folder(tmp_path)
    assert not part_folder(tmp_path).info.notes
    layouts.write(tmp_path / "images/more/c.jpg", layouts.jpeg())
    (note,) = part_folder(tmp_path).info.notes
    assert "does not list: 1 (the first images/more/c.jpg); they are left out" in note


def test_label_maps_and_splits(tmp_path):
    layouts.label_folder(tmp_path / "test")
    source = part_folder(tmp_path, "test")
    assert source.info.mask_names == {"part": ("background", "beak", "wing", "tail")}
    assert source[1].masks["part"] == layouts.png(layouts.label_map(3, 1))
    with pytest.raises(
        NotThere, match="train holds no part folder: images is missing; a part folder"
    ):
        part_folder(tmp_path, "train")


def test_palettes_that_contradict_each_other_are_told(tmp_path):
    """Reducing colours to a palette leaves out those that a picture lacks, which moves the others."""
    layouts.label_folder(tmp_path)
    colours = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [0, 0, 128]], np.uint8)
    for i, labels in enumerate((layouts.label_map(3), layouts.label_map(2))):
        image = Image.fromarray(labels)
        image.putpalette(colours[: labels.max() + 1].ravel().tolist())
        image.save(tmp_path / f"labels/{i}.png")
    assert len(part_folder(tmp_path)) == 2
    for i, labels in enumerate((layouts.label_map(3), layouts.label_map(2))):  # padded with black
        image = Image.fromarray(labels)
        rows = np.concatenate([255 - colours[: labels.max() + 1], np.zeros((200, 3), np.uint8)])
        image.putpalette(rows.ravel().tolist())
        image.save(tmp_path / f"labels/{i}.png")
    assert len(part_folder(tmp_path)) == 2
    for i, step in enumerate((85, 1)):  # greys that show small numbers better are no contradiction
        image = Image.fromarray(layouts.label_map(3))
        image.putpalette(np.repeat(np.arange(0, 256, step), 3).tolist())
        image.save(tmp_path / f"labels/{i}.png")
    assert len(part_folder(tmp_path)) == 2
    for i, labels in enumerate((layouts.label_map(3), layouts.label_map(2))):
        Image.fromarray(colours[labels]).quantize().save(tmp_path / f"labels/{i}.png")
    with pytest.raises(
        JaxpartError, match=r"labels/0.png has the colour .* as label \d, labels/1.png"
    ):
        part_folder(tmp_path)


def test_more_classes_than_a_byte_holds_are_told(tmp_path):
    layouts.label_folder(tmp_path)
    (tmp_path / "classes.txt").write_text("".join(f"part {i}\n" for i in range(255)))
    with pytest.raises(JaxpartError, match=r"classes\.txt has 255 classes; a label map holds 254"):
        part_folder(tmp_path)


def change(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.pop("categories"), "the field 'categories' is missing or empty"),
        (lambda d: d["images"][0].pop("file_name"), r"images\[0\] lacks the field 'file_name'"),
        (
            lambda d: d["annotations"][1].pop("image_id"),
            r"annotations\[1\] lacks the field 'image_id'",
        ),
        (lambda d: d["images"][1].update(id=7), r"images\[1\] repeats the id 7"),
        (lambda d: d["annotations"][1].update(id=5), r"annotations\[1\] repeats the id 5"),
        (lambda d: d["annotations"][1].update(image_id=9), r"annotations\[1\] belongs to image 9"),
        (lambda d: d["images"][1].update(file_name="c.jpg"), r"lists c\.jpg, which is not in"),
    ],
)
def test_a_wrong_field_is_told(tmp_path, edit, message):
    layouts.keypoint_folder(tmp_path)
    change(tmp_path / "keypoints.json", edit)
    with pytest.raises(JaxpartError, match=message):
        part_folder(tmp_path)


def test_repeated_objects_are_said(tmp_path):
    layouts.keypoint_folder(tmp_path)
    change(
        tmp_path / "keypoints.json",
        lambda d: d["annotations"].append({**d["annotations"][0], "id": 900}),
    )
    (note,) = part_folder(tmp_path).info.notes
    assert "the same keypoints as another one: 1 (the first in images/b.jpg)" in note


def test_the_numbers_of_annotations_change_nothing(tmp_path):
    layouts.keypoint_folder(tmp_path)
    first = part_folder(tmp_path).annotation(0).keypoints
    change(tmp_path / "keypoints.json", lambda d: d["annotations"][0].update(id=70_000))
    np.testing.assert_array_equal(
        part_folder(tmp_path).annotation(0).keypoints.instance, first.instance
    )


def test_relative_keypoints_are_told(tmp_path):
    layouts.keypoint_folder(tmp_path)

    def edit(document):
        for annotation in document["annotations"]:
            points = annotation.get("keypoints") or []
            annotation["keypoints"] = [n if i % 3 == 2 else n / 180 for i, n in enumerate(points)]

    change(tmp_path / "keypoints.json", edit)
    with pytest.raises(JaxpartError, match="between 0 and 1, as if relative to the image"):
        part_folder(tmp_path)


def test_images_alone_are_told(tmp_path):
    layouts.write(tmp_path / "images/a.jpg", layouts.jpeg())
    with pytest.raises(JaxpartError, match="has images without annotations; a part folder holds"):
        part_folder(tmp_path)
