"""A picture is told from every other of its name, whatever data set it is of."""

import os
import pathlib
import shutil
import types

import numpy as np
import pytest
from data import layouts
from PIL import Image, ImageOps

from jaxpart.data import identity
from jaxpart.data.critters import Critters
from jaxpart.data.identity import common_images, identities, identity_of
from jaxpart.data.prepared import Prepared
from jaxpart.data.preparing import prepare
from jaxpart.data.sets import open_set
from jaxpart.data.sets.coco import CocoPersons
from jaxpart.data.sets.cub import Cub
from jaxpart.data.sets.imagenet import ImageNet
from jaxpart.data.sets.lip import lip
from jaxpart.data.sets.part_folder import part_folder
from jaxpart.data.sets.pascal import pascal_part
from jaxpart.data.subset import InMemory, Subset
from jaxpart.data.views import image_view
from jaxpart.errors import JaxpartError

SETS = {
    "cub": (layouts.cub, lambda root: Cub(root, "all")),
    "coco": (layouts.coco, lambda root: CocoPersons(root, "val2017")),
    "imagenet": (layouts.imagenet, lambda root: ImageNet(root, "train")),
    "lip": (layouts.lip, lambda root: lip(root, "train")),
    "part_folder": (layouts.keypoint_folder, part_folder),
    "pascal": (layouts.pascal, lambda root: pascal_part(root, "all")),
}


@pytest.fixture(params=SETS)
def opened(request, tmp_path):
    """A function that opens a data set at a folder, and the folder."""
    make, open_set = SETS[request.param]
    make(tmp_path / "a")
    return open_set, tmp_path / "a"


def change(path):
    """Changes the content of a file, but neither its size nor, as far as one can, its time."""
    before = os.stat(path)
    data = bytearray(pathlib.Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    pathlib.Path(path).write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("read_first", [identity.READ_FIRST, 0])
def test_other_content_under_the_same_name(opened, monkeypatch, read_first):
    monkeypatch.setattr(identity, "READ_FIRST", read_first)
    open_set, root = opened
    source = open_set(root)
    before, whole = identities(source, range(len(source))), identity_of(source)
    assert identities(source, range(len(source))) == before
    last = len(source) - 1
    change(source.origin(last)[0])
    again = open_set(root)
    assert again.info.version == source.info.version
    changed = [a != b for a, b in zip(identities(again, range(len(again))), before, strict=True)]
    assert changed == [index == last for index in range(len(source))]
    if read_first:
        assert identity_of(again) != whole
    os.utime(source.origin(last)[0])
    assert identity_of(again) != whole


def test_another_place(opened, monkeypatch):
    open_set, root = opened
    source = open_set(root)
    everything = range(len(source))
    before, whole = identities(source, everything), identity_of(source)
    there = root.with_name("b")
    shutil.copytree(root, there, copy_function=shutil.copyfile)
    assert identities(open_set(there), everything) == before
    assert identity_of(open_set(there)) == whole
    # Where there is too much to read, times decide. A moved folder keeps them; a copy is encoded anew.
    monkeypatch.setattr(identity, "READ_FIRST", 0)
    before, whole = identities(source, everything), identity_of(source)
    root.rename(root.with_name("c"))
    moved = open_set(root.with_name("c"))
    assert identities(moved, everything) == before
    assert identity_of(moved) == whole
    assert not set(identities(open_set(there), everything)) & set(before)


def test_what_cannot_be_read(opened):
    open_set, root = opened
    source = open_set(root)
    file = source.origin(0)[0]
    everything = range(len(source))
    before = identities(source, everything)
    os.rename(file, f"{file}~")
    gone = identities(source, everything)
    assert "missing" in gone[0]
    assert gone[1:] == before[1:]


def test_drawn_prepared_and_chosen_ones(tmp_path):
    drawn = Critters(num_images=4)
    assert identity_of(drawn) != identity_of(Critters(num_images=4, seed=1))
    layouts.imagenet(tmp_path / "a")
    source = ImageNet(tmp_path / "a", "train")
    some = Subset(source, [2, 0])
    assert identities(InMemory(some), [0, 1, 0]) == identities(source, [2, 0, 2])
    folder, _ = prepare("imagenet", {"train": source}, tmp_path / "out", workers=1)
    prepared = Prepared(folder, "train")
    found = identities(prepared, range(len(prepared)))
    assert len(set(found)) == len(found)
    view = image_view(source, size=8)
    assert view.subset([2]).keys == [view.keys[2]]
    assert np.array_equal([key.split()[0] for key in view.keys], view.ids)


def test_a_changed_source_is_not_what_was_prepared(tmp_path):
    layouts.lip(tmp_path / "a")

    def again(split="train"):
        return prepare("lip", {split: lip(tmp_path / "a", split)}, tmp_path / "out", workers=1)

    again()
    _, summaries = again()
    assert not summaries
    image, labels = lip(tmp_path / "a", "train").origin(0)
    with Image.open(image) as picture, Image.open(labels) as label:
        others = ImageOps.invert(picture.convert("RGB")), ImageOps.mirror(label)
    for file, other in zip((image, labels), others, strict=True):
        kept = pathlib.Path(file).read_bytes()
        other.save(file)
        with pytest.raises(JaxpartError, match="was prepared from other files"):
            again()
        pathlib.Path(file).write_bytes(kept)
    again()


def test_originals_beside_what_was_prepared_are_compared(tmp_path):
    layouts.cub(tmp_path / "CUB_200_2011")
    sources = {split: Cub(tmp_path, split) for split in ("train", "test")}
    folder, _ = prepare("cub_parts", sources, tmp_path, whole=Cub(tmp_path), workers=1)
    beside, alone = (types.SimpleNamespace(root=root) for root in (tmp_path, folder.parent))
    for split in ("all", "train"):
        assert isinstance(open_set("cub", split, beside), Prepared)
    change(sources["train"].origin(0)[0])
    for split in ("all", "train"):
        with pytest.raises(JaxpartError, match=r"from other files .*of cub_parts \(train\) than"):
            open_set("cub", split, beside)
        assert isinstance(open_set("cub", split, alone), Prepared)
    assert isinstance(open_set("cub", "test", beside), Prepared)  # which has not changed
    (tmp_path / "CUB_200_2011/parts/part_locs.txt").write_text("damaged")
    with pytest.raises(JaxpartError, match="or name it as the root to use it"):
        open_set("cub", "test", beside)
    shutil.rmtree(tmp_path / "CUB_200_2011")
    assert isinstance(open_set("cub", "train", beside), Prepared)


def test_critters_are_not_drawn_to_find_common_ones():
    class Asked(Critters):
        def annotation(self, index):
            assert index == 0
            return super().annotation(index)

    assert common_images(Asked("train", 20), Asked("test", 20)) == 0
