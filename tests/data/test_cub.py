"""CUB-200-2011 from a small folder in the official layout, and from broken ones."""

import numpy as np
import pytest

from jaxpart.data.parts import CUB_PARTS, part_patches
from jaxpart.data.sets.cub import Cub
from jaxpart.errors import JaxpartError

IMAGES = {2: "007.Gull/b.jpg", 9: "003.Auk/a.jpg", 5: "007.Gull/c.jpg"}
LABELS = {2: 7, 9: 3, 5: 7}
TRAIN = {2: 1, 9: 0, 5: 1}
CLASSES = {3: "003.Auk", 7: "007.Gull"}


@pytest.fixture
def root(tmp_path):
    """A CUB_200_2011 folder with ids that are neither contiguous nor sorted."""
    folder = tmp_path / "CUB_200_2011"
    (folder / "parts").mkdir(parents=True)

    def write(name, rows):
        (folder / name).write_text("".join(f"{' '.join(map(str, row))}\n" for row in rows))

    write("images.txt", IMAGES.items())
    write("train_test_split.txt", TRAIN.items())
    write("image_class_labels.txt", LABELS.items())
    write("classes.txt", CLASSES.items())
    write("parts/parts.txt", [(9, "left wing"), (11, "right eye"), (12, "right leg"), (14, "tail")])
    write(
        "parts/part_locs.txt",
        [
            (image, part, 10.0 * part + image, 2.5 * part, int(part != 12))
            for image in IMAGES
            for part in (9, 11, 12, 14)
        ],
    )
    for name in IMAGES.values():
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(name.encode())
    return folder


def replace_line(path, number, line):
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    path.write_text("\n".join(lines) + "\n")


def test_records_in_the_order_of_images_txt(root):
    source = Cub(root)
    assert [source.annotation(i).id for i in range(len(source))] == [
        f"images/{name}" for name in IMAGES.values()
    ]
    assert source.info.class_names == ("003.Auk", "007.Gull")
    assert [source.annotation(i).label for i in range(3)] == [1, 0, 1]
    assert source.info.part_names[11] == "right_eye"
    assert source[1].image == b"003.Auk/a.jpg"


def test_keypoints(root):
    points = Cub(root).annotation(1).keypoints
    assert points.part.tolist() == [9, 11, 12, 14]
    assert points.visible.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(points.xy, [[99, 22.5], [119, 27.5], [129, 30], [149, 35]])
    assert points.instance.tolist() == [0, 0, 0, 0]


def test_the_parent_folder_will_do(root):
    assert len(Cub(root.parent)) == len(Cub(str(root))) == 3


@pytest.mark.parametrize(
    ("split", "expected"), [("train", [2, 5]), ("test", [9]), ("all", [2, 9, 5])]
)
def test_splits(root, split, expected):
    source = Cub(root, split)
    assert source.info.split == split
    names = [source.annotation(i).id.removeprefix("images/") for i in range(len(source))]
    assert names == [IMAGES[i] for i in expected]


def test_version_follows_the_annotations(root):
    before = Cub(root).info.version
    assert Cub(root).info.version == before
    replace_line(root / "parts" / "part_locs.txt", 2, "2 11 1.0 1.0 1")
    assert Cub(root).info.version != before


def test_samples_are_read_by_official_id(samples):
    source = Cub(samples)
    assert len(source) == 120
    assert len(Cub(samples, "train")) + len(Cub(samples, "test")) == 120
    assert len(source.info.part_names) == 15


@pytest.mark.parametrize(
    ("file", "number", "line", "message"),
    [
        ("parts/part_locs.txt", 3, "2 12 oops 1.0 1", "part_locs.txt, line 3"),
        ("parts/part_locs.txt", 3, "2 12 1.0 1.0", "part_locs.txt, line 3"),
        ("parts/part_locs.txt", 3, "", "part_locs.txt, line 3"),
        ("parts/part_locs.txt", 3, "# 12 1.0 1.0 1", "part_locs.txt, line 3"),
        ("parts/part_locs.txt", 3, "2 12 nan 1.0 1", "part_locs.txt, line 3"),
        ("parts/part_locs.txt", 3, "2 12 1.0 1.0 2", "part_locs.txt, line 3"),
        ("parts/part_locs.txt", 3, "2 99 1.0 1.0 1", "line 3: the part id 99 is not in parts.txt"),
        ("parts/part_locs.txt", 3, "8 12 1.0 1.0 1", "line 3: the image id 8 is not in images.txt"),
        ("parts/part_locs.txt", 3, "2 9 1.0 1.0 1", "line 3: the part id 9 appears twice"),
        ("images.txt", 2, "2 other.jpg", "images.txt, line 2: the id 2 appears twice"),
        ("images.txt", 2, "9 007.Gull/b.jpg", "the ids 2 and 9 are both 007.Gull/b.jpg"),
        ("images.txt", 2, "nine a.jpg", "images.txt, line 2"),
        ("images.txt", 2, "9", "images.txt, line 2"),
        ("images.txt", 2, "10 new.jpg", "has no line for image 10"),
        ("image_class_labels.txt", 1, "2 8", "image_class_labels.txt, line 1"),
        ("train_test_split.txt", 1, "2 yes", "train_test_split.txt, line 1"),
    ],
)
def test_a_wrong_line_is_named(root, file, number, line, message):
    replace_line(root / file, number, line)
    with pytest.raises(JaxpartError, match=message):
        Cub(root)


@pytest.mark.parametrize("file", ["images.txt", "parts/part_locs.txt", "parts/parts.txt"])
def test_an_empty_file_is_named(root, file):
    (root / file).write_text("")
    with pytest.raises(JaxpartError, match=f"{file} is empty"):
        Cub(root)


@pytest.mark.parametrize("file", ["images.txt", "classes.txt", "parts/part_locs.txt"])
def test_a_missing_file_is_named_with_its_origin(root, file):
    (root / file).unlink()
    with pytest.raises(JaxpartError, match=f"{file} is missing; unpack CUB_200_2011.tgz"):
        Cub(root)


def test_a_binary_file_is_named(root):
    (root / "images.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(JaxpartError, match=r"images\.txt is not a text file"):
        Cub(root)


def test_a_missing_image_is_named(root):
    (root / "images" / IMAGES[9]).unlink()
    source = Cub(root)
    assert source[0].image
    with pytest.raises(JaxpartError, match=r"003\.Auk/a\.jpg cannot be read: No such file"):
        source[1]


def test_an_unknown_split_is_refused(root):
    with pytest.raises(JaxpartError, match="no split 'val'"):
        Cub(root, "val")


def test_patches_are_made_of_visible_selected_parts(root):
    patches = part_patches(Cub(root), CUB_PARTS)
    assert patches == []  # 10 pixels apart: too near for the published limits
