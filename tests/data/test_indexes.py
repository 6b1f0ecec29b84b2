"""What was read of large annotations is kept: a second process reads it from the cache of the user."""

import hashlib
import os

import layouts
import numpy as np
import pytest

from jaxpart.data import masked_images
from jaxpart.data.indexes import expected_bytes
from jaxpart.data.label_maps import LabelMaps
from jaxpart.data.sets import (
    ade20k_object,
    ade20k_part,
    coco,
    paco,
    pascal,
    pascal_annotations,
)
from jaxpart.errors import JaxpartError
from jaxpart.io.files import user_cache


def pascal_parts(root):
    pascal_annotations.all_pairs.cache_clear()  # as in another process
    return pascal.pascal_part(root, "train")


def ade20k_parts(root):
    ade20k_part._chosen_pairs.cache_clear()
    return ade20k_part.ade20k_part(root, "train")


def kept_files(kind):
    return list((user_cache() / kind).glob("*/*"))


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
    for path in kept_files("annotations"):
        path.write_bytes(path.read_bytes()[:-1])  # damaged
    assert open_(tmp_path / "set").info == first.info
    assert calls
    file = next((tmp_path / "set").glob(pattern))
    file.write_bytes(b"changed")
    with pytest.raises(JaxpartError, match=file.name):
        open_(tmp_path / "set")
    kept = [path.read_bytes() for path in kept_files("annotations")]
    assert all(hashlib.sha256(data[32:]).digest() == data[:32] for data in kept)


MAPS = {
    "pascal_part": (layouts.pascal, pascal.pascal_part, pascal.Pascal, "*/*.mat"),
    "pascal_object": (layouts.pascal, pascal.pascal_object, pascal.Pascal, "*/*.mat"),
    "ade20k_part": (
        layouts.ade_full,
        ade20k_part.ade20k_part,
        ade20k_part.Ade20kParts,
        "**/*_seg.png",
    ),
    "ade20k_object": (
        layouts.ade_challenge,
        ade20k_object.ade20k_object,
        LabelMaps,
        "ann*/*/*.png",
    ),
    "paco_part": (layouts.paco, paco.paco_part, masked_images.MaskedImages, "**/*train*.json"),
}


@pytest.mark.parametrize("name", MAPS)
def test_label_maps_are_drawn_once_until_a_file_changes(tmp_path, monkeypatch, name):
    make, open_, kind, pattern = MAPS[name]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make(tmp_path / "set")
    source, drawn, draw = open_(tmp_path / "set", "train"), [], kind._draw
    (mask,) = source.info.mask_names

    def counted(source, index):
        drawn.append(index)
        return draw(source, index)

    def read():
        drawn.clear()
        return [source[i].masks[mask] for i in range(len(source))]

    monkeypatch.setattr(kind, "_draw", counted)
    expected = read()
    assert drawn == list(range(len(source)))
    assert all(labels.dtype == np.uint8 for labels in expected)
    np.testing.assert_equal(read(), expected)
    assert not drawn
    files = kept_files("label_maps")
    assert expected_bytes(source) == 4096 * len(files)
    files[0].write_bytes(files[0].read_bytes()[:-1])  # damaged
    np.testing.assert_equal(read(), expected)
    assert len(drawn) == 1
    for file in (tmp_path / "set").glob(pattern):
        os.utime(file, ns=(0, 0))
    np.testing.assert_equal(read(), expected)
    assert drawn == list(range(len(source)))


def test_label_maps_are_drawn_where_no_file_can_be_kept(tmp_path, monkeypatch):
    layouts.pascal(tmp_path / "set")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = pascal.pascal_part(tmp_path / "set", "train")[0].masks["part"]
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    drawn = pascal.pascal_part(tmp_path / "set", "train")[0].masks["part"]
    np.testing.assert_equal(drawn, kept)


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
