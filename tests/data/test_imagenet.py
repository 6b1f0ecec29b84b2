"""ImageNet from class folders."""

import unicodedata

import layouts
import pytest

from jaxpart.data.folders import NotThere
from jaxpart.data.sets.imagenet import ImageNet
from jaxpart.errors import JaxpartError


def test_labels_are_places_among_the_classes_of_both_splits(tmp_path):
    layouts.imagenet(tmp_path / "imagenet")
    source = ImageNet(tmp_path, "val")
    assert source.info.class_names == ("na", "nb", "nc")
    found = [(a.id, a.label) for a in map(source.annotation, range(len(source)))]
    assert found == [
        ("val/na/a_0.JPEG", 0),
        ("val/na/a_1.JPEG", 0),
        ("val/nc/c_0.JPEG", 2),
        ("val/nc/c_1.JPEG", 2),
    ]
    assert source[3].image == layouts.jpeg((1, 3))
    assert len(ImageNet(tmp_path / "imagenet", "train")) == 6
    with pytest.raises(IndexError):
        source[4]


def test_class_folders_match_in_either_unicode_form(tmp_path):
    for split, form in (("train", "NFC"), ("val", "NFD")):
        for name in ("é", "f"):
            file = tmp_path / split / unicodedata.normalize(form, name) / "a.jpg"
            layouts.write(file, layouts.jpeg())
    train, val = (ImageNet(tmp_path, split) for split in ("train", "val"))
    assert train.info.class_names == val.info.class_names == ("f", "é")
    assert [val.annotation(i).label for i in range(2)] == [1, 0]
    assert val[0].image == layouts.jpeg()


def test_images_beside_the_class_folders_are_said(tmp_path):
    layouts.imagenet(tmp_path)
    assert not ImageNet(tmp_path, "val").info.notes
    layouts.write(tmp_path / "val/b.JPEG", layouts.jpeg())
    source = ImageNet(tmp_path, "val")
    (note,) = source.info.notes
    assert "class folders: 1 (the first val/b.JPEG); they are left out" in note
    assert len(source) == 4


def test_wrong_folders_are_told(tmp_path):
    layouts.imagenet(tmp_path)
    with pytest.raises(JaxpartError, match="ImageNet has no split 'test'"):
        ImageNet(tmp_path, "test")
    (tmp_path / "val/nd").mkdir()
    with pytest.raises(JaxpartError, match=r"val/nd holds no \.jpg"):
        ImageNet(tmp_path, "val")
    (tmp_path / "train").rename(tmp_path / "gone")
    with pytest.raises(NotThere, match="has no folder train"):
        ImageNet(tmp_path, "train")
    for folder in (tmp_path / "val").iterdir():
        folder.rename(tmp_path / folder.name)
    layouts.write(tmp_path / "val/ILSVRC2012_val_1.JPEG", layouts.jpeg())
    with pytest.raises(JaxpartError, match=r"val holds no class folder; .* of val too"):
        ImageNet(tmp_path, "val")
