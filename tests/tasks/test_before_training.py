"""What is looked at before heads are trained for hours: classes, labels, sizes."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxpart.data.critters import CRITTER_PARTS, Critters
from jaxpart.data.sets.part_folder import part_folder
from jaxpart.errors import JaxpartError
from jaxpart.runs.progress import Progress
from jaxpart.tasks.classification.heads import learnable
from jaxpart.tasks.classification.objects import _Images
from jaxpart.tasks.classification.parts import _Patches
from jaxpart.tasks.segmentation.inputs import SegmentationSet
from jaxpart.tasks.segmentation.survey import survey

QUIET = Progress(shown=False)
NAMES = ("eye", "wing", "leg", "tail")


def test_classes_without_items_are_left_out_and_said(capsys):
    assert learnable("mine", NAMES, np.array([1, 2, 3]), np.array([0, 3, 2]), Progress()) == [
        1,
        2,
        3,
    ]
    assert capsys.readouterr().err.splitlines() == [
        "mine: no training items of eye; excluded",
        "mine: no test items of wing; trained, but not tested",
    ]
    every = np.arange(4)
    assert learnable("mine", NAMES, every, every, Progress()) == [0, 1, 2, 3]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("train", "test"), [([1, 1], [1]), ([1, 2], [3]), ([1, 2], []), ([], [1])])
def test_too_few_classes_are_refused(train, test):
    with pytest.raises(JaxpartError, match="are too few classes to classify"):
        learnable("mine", NAMES, np.array(train, int), np.array(test, int), QUIET)


def test_patches_and_images_of_some_classes():
    patches = _Patches(Critters("train", 20, image_size=96), CRITTER_PARTS)
    kept = np.unique(patches.labels).tolist()[1:]
    some = patches.of(kept[::-1])
    np.testing.assert_array_equal(
        np.array(kept[::-1])[some.labels], patches.labels[np.isin(patches.labels, kept)]
    )
    images = _Images(Critters("train", 20, image_size=32))
    chosen = np.unique(images.labels).tolist()[:2]
    some = images.of(chosen)
    np.testing.assert_array_equal(
        np.array(chosen)[some.labels], images.labels[np.isin(images.labels, chosen)]
    )
    assert images.of(range(24)) is images


def masks(root, *label_maps):
    for i, labels in enumerate(label_maps):
        for name, pixels in (("images", np.zeros_like(labels)), ("labels", labels)):
            (root / name).mkdir(parents=True, exist_ok=True)
            file = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(file, "png")
            (root / name / f"{i}.png").write_bytes(file.getvalue())
    (root / "classes.txt").write_text("beak\nwing\n")


def looked_at(root, progress=QUIET):
    sizes = {"train_scale": (96, 96), "test_scale": (96, 96), "crop": 64, "stride": 32}
    train, test = (part_folder(root, split) for split in ("train", "test"))
    survey(SegmentationSet(name="mine", train=train, test=test, kind="part", **sizes), progress)


GOOD = np.array([[0, 1, 2], [255, 0, 1]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (GOOD * 0, r"mine \({}\): no pixel .* a label from 1 to 2; the values found are 0 "),
        (np.where(GOOD, 255, 0), "the values found are 0, 255"),
        (GOOD + 1, r"images/0\.png \(part mask\): the label map holds 3, but 3 classes"),
        (np.ones((1, 300)), r"images/0\.png: an image of 300 × 1 pixels cannot be resized to fit"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_and_sizes_are_looked_at(tmp_path, split, wrong, message):
    for name in ("train", "test"):
        masks(tmp_path / name, wrong if name == split else GOOD)
    with pytest.raises(JaxpartError, match=message.format(split)):
        looked_at(tmp_path)


def test_good_labels_pass(tmp_path):
    for name in ("train", "test"):
        masks(tmp_path / name, GOOD, GOOD * 0)  # a picture may have none
    looked_at(tmp_path)


def test_classes_without_a_training_pixel_are_said(tmp_path, capsys):
    masks(tmp_path / "train", np.where(GOOD == 2, 0, GOOD))
    masks(tmp_path / "test", GOOD)
    looked_at(tmp_path, Progress())
    told = "mine: no training pixels of wing; still included in the test"
    assert told in capsys.readouterr().err.splitlines()


def test_exif_orientations_of_images_with_label_maps_are_said(tmp_path, capsys):
    for name in ("train", "test"):
        masks(tmp_path / name, GOOD, GOOD)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down, so that sizes do not tell
    path = tmp_path / "train/images/1.png"
    Image.open(path).save(path, exif=exif)
    for _ in range(2):  # at first, and from the cache
        looked_at(tmp_path, Progress())
        assert capsys.readouterr().err.splitlines()[-1] == (
            "mine (train): images with an EXIF orientation: 1 (the first images/1.png); it is applied to "
            "them, but not to their label maps"
        )


@pytest.mark.parametrize("first", [0, 1])
def test_labels_that_seem_to_count_from_0_are_said(tmp_path, capsys, first):
    for name in ("train", "test"):
        masks(tmp_path / name, np.array([[first, first + 1, 255]]))
    looked_at(tmp_path, Progress())
    said = "mine: all classes have pixels but the last, wing, as if label 0 were beak"
    assert (said in capsys.readouterr().err) == (first == 0)


def test_good_labels_are_looked_at_once_until_they_change(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("train", "test"):
        masks(tmp_path / "mine" / name, GOOD)
    looked_at(tmp_path / "mine")
    with monkeypatch.context() as patch:
        patch.delattr("jaxpart.tasks.segmentation.survey.read_mask")
        looked_at(tmp_path / "mine")
    masks(tmp_path / "mine" / "test", GOOD + 1)
    for _ in range(2):  # what is wrong is not kept
        with pytest.raises(JaxpartError, match="the label map holds 3"):
            looked_at(tmp_path / "mine")
