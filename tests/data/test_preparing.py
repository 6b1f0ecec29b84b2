"""Prepared data sets hold the records of the official folders, whatever interrupted their making."""

import errno
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import types

import layouts
import numpy as np
import pytest

from jaxpart.data import builders
from jaxpart.data.critters import Critters
from jaxpart.data.label_maps import mask_files
from jaxpart.data.prepared import METADATA, VERSION, Prepared, find_prepared, read_about
from jaxpart.data.preparing import prepare
from jaxpart.data.sets import SETS, open_official, open_set
from jaxpart.data.sets.imagenet import ImageNet
from jaxpart.data.sets.lip import lip
from jaxpart.data.sets.part_folder import part_folder
from jaxpart.errors import JaxpartError


def same_annotation(a, b):
    assert (a.id, a.label) == (b.id, b.label)
    assert (a.keypoints is None) == (b.keypoints is None)
    for field in ("part", "xy", "visible", "instance") if a.keypoints is not None else ():
        mine, theirs = getattr(a.keypoints, field), getattr(b.keypoints, field)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def same_source(a, b):
    assert a.info == b.info
    assert len(a) == len(b)
    for i in range(len(a)):
        same_annotation(a.annotation(i), b.annotation(i))
        mine, theirs = a[i], b[i]
        same_annotation(mine.annotation, theirs.annotation)
        assert mine.image == theirs.image
        assert mask_files(mine) == mask_files(theirs)


def contents(folder):
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", layouts.BUILDERS)
def test_prepared_records_are_those_of_the_official_folder(tmp_path, name):
    layouts.BUILDERS[name](tmp_path / "data")
    official = types.SimpleNamespace(root=tmp_path / "data")
    entry = SETS[name]
    splits = ("all",) if name == "part_folder" else entry.splits
    sources = {split: open_official(name, split, official) for split in splits}
    whole = open_official(name, entry.whole, official) if entry.whole else None
    out = tmp_path / "out"
    folder, summaries = prepare(name, sources, out, whole=whole, workers=1)
    assert {split: s.records for split, s in summaries.items()} == {
        split: len(source) for split, source in sources.items()
    }
    for root in (out, folder.parent, folder):
        for split in (*splits, *([entry.whole] if entry.whole else [])):
            prepared = open_set(name, split, types.SimpleNamespace(root=root))
            assert isinstance(prepared, Prepared)
            same_source(prepared, open_official(name, split, official))


def test_file_names_may_be_any_bytes(tmp_path):
    layouts.imagenet(tmp_path)
    train = tmp_path / "train"
    (train / "na/a_0.JPEG").rename(os.fsdecode(bytes(train / "na") + b"/caf\xe9.JPEG"))
    folder, _ = prepare(
        "imagenet", {"train": ImageNet(tmp_path, "train")}, tmp_path / "out", workers=1
    )
    same_source(Prepared(folder, "train"), ImageNet(tmp_path, "train"))
    for split in ("train", "val"):
        (tmp_path / split / "na").rename(os.fsdecode(bytes(tmp_path / split) + b"/\xe9"))
    with pytest.raises(JaxpartError, match="the name of a class is not UTF-8; rename its folder"):
        prepare("imagenet", {"train": ImageNet(tmp_path, "train")}, tmp_path / "other", workers=1)


def test_bytes_are_the_same_for_any_number_of_processes(tmp_path):
    sources = {split: Critters(split, 7, image_size=32) for split in ("train", "test")}
    one, _ = prepare("critters", sources, tmp_path / "a", workers=1)
    two, _ = prepare("critters", sources, tmp_path / "b", workers=2)
    assert contents(one) == contents(two)
    assert prepare("critters", sources, tmp_path / "a", workers=1) == (one, {})
    same_source(Prepared(two, "test"), sources["test"])


def test_other_data_are_refused(tmp_path):
    prepare("critters", {"train": Critters(num_images=1)}, tmp_path, workers=1)
    with pytest.raises(JaxpartError, match="was prepared from other files or another version"):
        prepare("critters", {"train": Critters(num_images=1, seed=1)}, tmp_path, workers=1)
    with pytest.raises(JaxpartError, match="holds other splits"):
        prepare("critters", {"test": Critters("test", num_images=1)}, tmp_path, workers=1)


def process(out):
    """A process with two workers that prepares 1200 critters."""
    code = (
        "import sys; from jaxpart.data.critters import Critters;"
        "from jaxpart.data.preparing import prepare; from jaxpart.errors import JaxpartError\n"
        "try: prepare('critters', {'train': Critters('train', 1200, image_size=64)}, sys.argv[1],"
        " workers=2)\n"
        "except JaxpartError as error: sys.exit(str(error))"
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    line = [sys.executable, "-c", code, str(out)]
    return subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)


def test_a_killed_process_leaves_nothing_finished_and_lets_go_of_its_lock(tmp_path):
    source = Critters("train", 3, image_size=64)
    first = process(tmp_path)
    while not list(tmp_path.glob("critters/incomplete.*")):
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # at work, for as long as it takes to look
    with pytest.raises(JaxpartError, match=r"another process is preparing .*wait until it is done"):
        prepare("critters", {"train": source}, tmp_path, workers=1)
    first.kill()
    first.communicate()
    assert find_prepared(tmp_path, "critters") is None
    folder, _ = prepare("critters", {"train": source}, tmp_path, workers=1)
    again, _ = prepare("critters", {"train": source}, tmp_path / "b", workers=1)
    assert contents(folder) == contents(again)
    assert {path.name for path in folder.parent.iterdir()} == {VERSION, ".lock"}


@pytest.mark.parametrize("file", ["array_record", "annotations-train", "dataset_info.json"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch, file):
    sources = {"train": Critters(num_images=2, image_size=32)}

    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if file == "array_record":
            from array_record.python import array_record_module

            patch.setattr(
                array_record_module, "ArrayRecordWriter", lambda path, options: full() or path
            )
        elif file == "dataset_info.json":
            patch.setattr(builders.tfds.core.DatasetInfo, "write_to_directory", full)
        else:
            patch.setattr(pathlib.Path, "write_bytes", full)
        with pytest.raises(
            JaxpartError, match=r"2\.0\.0 cannot be written: No space left on device"
        ):
            prepare("critters", sources, tmp_path, workers=1)
    assert [path.name for path in (tmp_path / "critters").iterdir()] == [".lock"]
    folder, _ = prepare("critters", sources, tmp_path, workers=1)
    same_source(Prepared(folder, "train"), sources["train"])


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    sources = {"train": Critters(num_images=2, image_size=32)}
    (tmp_path / "file").write_text("")
    with pytest.raises(JaxpartError, match=r"critters cannot be written: Not a directory"):
        prepare("critters", sources, tmp_path / "file", workers=1)

    def read_only(*args, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(pathlib.Path, "mkdir", read_only)
    with pytest.raises(JaxpartError, match=r"critters cannot be written: Read-only file system"):
        prepare("critters", sources, tmp_path / "out", workers=1)


@pytest.fixture
def pairs(tmp_path):
    """LIP pairs, one of them with a truncated image."""
    layouts.paper(tmp_path / "LIP", 19)
    path = tmp_path / "LIP/img/train/train0.jpg"
    path.write_bytes(path.read_bytes()[:-30])
    return tmp_path


def test_a_wrong_record_ends_the_work_or_is_left_out_and_listed(pairs):
    sources = {split: lip(pairs, split) for split in ("train", "val")}
    with pytest.raises(JaxpartError, match=r"train0\.jpg is truncated or damaged"):
        prepare("lip", sources, pairs / "a", workers=1)
    with pytest.raises(JaxpartError, match=r"train0\.jpg is truncated or damaged"):
        prepare("lip", sources, pairs / "b", workers=2)
    assert [path.name for path in pairs.glob("[ab]/lip/*")] == [".lock", ".lock"]
    folder, found = prepare("lip", sources, pairs / "c", skip=True, workers=1)
    assert (found["train"].records, found["val"].records) == (1, 2)
    ((index, why),) = read_about(folder).splits["train"].skipped
    assert index == 0
    assert "train0.jpg is truncated" in why
    left = Prepared(folder, "train")
    assert [left.annotation(i).id for i in range(len(left))] == ["img/train/train1.jpg"]
    assert left[0].image == sources["train"][1].image
    assert left.info.version != sources["train"].info.version
    assert "left out when it was prepared, since they could not be used: 1" in left.info.notes[-1]
    assert Prepared(folder, "val").info == sources["val"].info
    assert prepare("lip", sources, pairs / "c", skip=True, workers=1)[1] == {}


def test_nothing_usable_and_nothing_at_all_are_told(pairs):
    (pairs / "LIP/img/train/train1.jpg").write_bytes(b"")
    sources = {"train": lip(pairs, "train")}
    with pytest.raises(
        JaxpartError, match=r"no image of lip \(train\) can be used; the first: .*train0"
    ):
        prepare("lip", sources, pairs / "a", skip=True, workers=1)

    class Empty(Critters):
        def __len__(self):
            return 0

    with pytest.raises(JaxpartError, match=r"critters \(train\) holds no image"):
        prepare("critters", {"train": Empty()}, pairs / "b", workers=1)


def test_an_id_that_comes_twice_is_told(tmp_path):
    class Twice(Critters):
        def __getitem__(self, index):
            return super().__getitem__(0)

    with pytest.raises(
        JaxpartError, match=r"the id train/000000 appears 2 times; make the ids unique"
    ):
        prepare("critters", {"train": Twice(num_images=2)}, tmp_path, workers=1)


@pytest.fixture
def prepared(tmp_path):
    layouts.imagenet(tmp_path)
    sources = {split: ImageNet(tmp_path, split) for split in ("train", "val")}
    return prepare("imagenet", sources, tmp_path / "out", workers=1)[0]


def test_prepared_sets_travel_to_processes_and_threads(prepared):
    source = Prepared(prepared, "train")
    expected = [source[i].image for i in range(6)]
    assert [pickle.loads(pickle.dumps(source))[i].image for i in range(6)] == expected
    found = [None] * 60

    def read(start):
        for i in range(start, 60, 4):
            found[i] = source[i % 6].image

    threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected * 10
    assert source[-1].image == expected[-1]
    with pytest.raises(IndexError):
        source[6]


def spoil(path, old, new):
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new))


def test_what_is_wrong_with_a_prepared_folder_is_told(prepared):
    shard = prepared / "imagenet-train.array_record-00000-of-00001"
    metadata = prepared / METADATA

    def told(message, split="train"):
        with pytest.raises(JaxpartError, match=message):
            Prepared(prepared, split)[2]

    told("has no split 'test'; it has train, val", "test")
    data = shard.read_bytes()
    shard.write_bytes(data[:-5])
    told(r"has 0 of 6 records of train, in 1 shards; prepare the data set again")
    changed = bytearray(data)
    for place in range(300, len(data) - 300, 200):
        changed[place] ^= 1
    shard.write_bytes(changed)
    told(r"00000-of-00001.* is damaged|has \d of 6 records")
    shard.rename(prepared / "elsewhere")
    told(r"has 0 of 6 records of train, in 0 shards; prepare the data set again")
    shard.write_bytes(data)
    assert Prepared(prepared, "train")[2].image
    shutil.copy(prepared / "imagenet-val.array_record-00000-of-00001", shard)
    told(r"has 3 of 6 records of train, in 1 shards|is inconsistent|has \d of 6 records")
    shard.write_bytes(data)
    spoil(metadata, b'"format": 2', b'"format": 9')
    told("was modified after it was written")
    spoil(metadata, b'"checksum"', b'"no longer"')
    told(r"metadata\.json has format 9 and this jaxpart reads 2")
    metadata.write_bytes(b"{")
    told(r"metadata\.json is damaged")


def test_what_an_earlier_jaxpart_prepared_is_told(tmp_path):
    (tmp_path / "lip/1.0.0").mkdir(parents=True)
    (tmp_path / "lip/1.0.0/jaxpart.json").write_text("{}")
    with pytest.raises(JaxpartError, match=r"lip was prepared by an earlier jaxpart; remove it"):
        find_prepared(tmp_path, "lip")


def test_a_folder_of_another_set_is_not_taken(prepared, tmp_path):
    assert find_prepared(prepared, "lip") is None
    assert find_prepared(prepared, "imagenet") == prepared
    assert find_prepared(tmp_path / "none", "imagenet") is None


def test_metadata_of_others_is_not_ours(tmp_path):
    (tmp_path / "metadata.json").write_text('{"title": "my photos"}')
    assert find_prepared(tmp_path, "lip") is None


def test_a_part_folder_without_instances_in_a_shard(tmp_path):
    layouts.keypoint_folder(tmp_path / "mine")
    source = part_folder(tmp_path / "mine")
    folder, _ = prepare("part_folder", {"all": source}, tmp_path, workers=1)
    same_source(Prepared(folder, "all"), source)
