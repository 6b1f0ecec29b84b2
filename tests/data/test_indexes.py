"""What was read of large annotations is kept: a second process reads it from the cache of the user."""

import hashlib

import layouts
import pytest

from jaxpart.data.sets import ade20k_part, coco, pascal, pascal_annotations
from jaxpart.errors import JaxpartError
from jaxpart.io.files import user_cache


def pascal_parts(root):
    pascal_annotations.all_pairs.cache_clear()  # as in another process
    return pascal.pascal_part(root, "train")


def ade20k_parts(root):
    ade20k_part._chosen_pairs.cache_clear()
    return ade20k_part.ade20k_part(root, "train")


SETS = {
    "pascal": (layouts.pascal, pascal_parts, (pascal_annotations, "_pairs"), "*/*.mat"),
    "ade20k": (layouts.ade_full, ade20k_parts, (ade20k_part, "read_parts"), "**/*.json"),
    "coco": (layouts.coco, coco.CocoPersons, (coco, "CocoFile"), "*/*train2017.json"),
}


@pytest.mark.parametrize("name", SETS)
def test_annotations_are_read_once_until_they_change(tmp_path, monkeypatch, name):
    make, open_, (module, reader), pattern = SETS[name]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make(tmp_path / "set")
    first, calls, read = open_(tmp_path / "set"), [], getattr(module, reader)

    def counted(*arguments):
        calls.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(module, reader, counted)
    second = open_(tmp_path / "set")
    assert not calls
    assert second.info == first.info
    assert repr([second.annotation(i) for i in range(len(second))]) == repr(
        [first.annotation(i) for i in range(len(first))]
    )
    for path in (user_cache() / "annotations").iterdir():
        path.write_bytes(path.read_bytes()[:-1])  # damaged
    assert open_(tmp_path / "set").info == first.info
    assert calls
    file = next((tmp_path / "set").glob(pattern))
    file.write_bytes(b"changed")
    with pytest.raises(JaxpartError, match=file.name):
        open_(tmp_path / "set")
    kept = [path.read_bytes() for path in (user_cache() / "annotations").iterdir()]
    assert all(hashlib.sha256(data[32:]).digest() == data[:32] for data in kept)


def test_new_images_are_matched_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    layouts.coco(tmp_path / "coco")
    file = tmp_path / "coco/annotations/person_keypoints_train2017.json"
    file.write_bytes(file.read_bytes().replace(b'"3.jpg"', b'"x/3.jpg"'))
    image = tmp_path / "coco/train2017/3.jpg"
    image.unlink()
    assert coco.CocoPersons(tmp_path).annotation(0).id == "train2017/x/3.jpg"
    layouts.write(image, layouts.jpeg(3))
    assert coco.CocoPersons(tmp_path).annotation(0).id == "train2017/3.jpg"
