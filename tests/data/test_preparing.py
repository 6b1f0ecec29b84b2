"""Prepared data sets hold the records of the official folders, however often they were interrupted."""

import contextlib
import errno
import itertools
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import types

import layouts
import numpy as np
import pytest

from jaxpart.data import preparing, shards
from jaxpart.data.critters import Critters
from jaxpart.data.manifest import MANIFEST, read_manifest
from jaxpart.data.prepared import Prepared, find_prepared
from jaxpart.data.preparing import prepare
from jaxpart.data.sets import SETS, open_official, open_set
from jaxpart.data.sets.imagenet import ImageNet
from jaxpart.data.sets.lip import lip
from jaxpart.data.sets.part_folder import part_folder
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError
from jaxpart.io import files


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
        assert dict(mine.masks) == dict(theirs.masks)


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
    folder, summaries = prepare(name, sources, out, whole=whole, workers=1, records_per_shard=1)
    assert {split: s.records for split, s in summaries.items()} == {
        split: len(source) for split, source in sources.items()
    }
    for root in (out, folder.parent, folder):
        for split in (*splits, *([entry.whole] if entry.whole else [])):
            prepared = open_set(name, split, types.SimpleNamespace(root=root))
            assert isinstance(prepared, Prepared)
            same_source(prepared, open_official(name, split, official))


def test_bytes_are_the_same_for_any_number_of_processes(tmp_path):
    sources = {split: Critters(split, 7, image_size=32) for split in ("train", "test")}
    one, _ = prepare("critters", sources, tmp_path / "a", workers=1, records_per_shard=3)
    two, _ = prepare("critters", sources, tmp_path / "b", workers=2, records_per_shard=3)
    assert contents(one) == contents(two)
    assert prepare("critters", sources, tmp_path / "a", workers=1, records_per_shard=3) == (one, {})
    same_source(Prepared(two, "test"), sources["test"])


def test_an_interrupted_preparation_goes_on_from_its_shards(tmp_path, monkeypatch):
    sources = {"train": Critters("train", 8, image_size=32)}
    whole, _ = prepare("critters", sources, tmp_path / "a", workers=1, records_per_shard=2)
    seen = []

    def third_time_unlucky(given, task):
        seen.append(task.file)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return shards.write_shard(given, task)

    monkeypatch.setattr(preparing, "write_shard", third_time_unlucky)
    with pytest.raises(KeyboardInterrupt):
        prepare("critters", sources, tmp_path / "b", workers=1, records_per_shard=2)
    folder = tmp_path / "b/critters/1.0.0"
    assert not (folder / MANIFEST).exists()
    with pytest.raises(JaxpartError, match=r"is not finished; run .* prepare critters` again"):
        find_prepared(tmp_path / "b", "critters")
    first = folder / seen[0]
    first.write_bytes(first.read_bytes()[:-1] + b"?")  # a shard that changed is made again
    prepare("critters", sources, tmp_path / "b", workers=1, records_per_shard=2)
    assert seen[3:] == [seen[0], *seen[2:3], seen[2].replace("00002-of", "00003-of")]
    assert contents(folder) == contents(whole)


def test_other_data_are_not_gone_on_with(tmp_path, monkeypatch):
    folder, _ = prepare("critters", {"train": Critters(num_images=1)}, tmp_path, workers=1)
    with pytest.raises(JaxpartError, match="holds another version of the data set or other splits"):
        prepare("critters", {"train": Critters(num_images=1, seed=1)}, tmp_path, workers=1)
    (folder / MANIFEST).unlink()
    monkeypatch.setattr(preparing, "_finish", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare("critters", {"train": Critters(num_images=1)}, tmp_path, workers=1)
    with pytest.raises(JaxpartError, match="was begun for other data or options"):
        prepare("critters", {"train": Critters(num_images=1, seed=1)}, tmp_path, workers=1)


def process(out):
    """A process with two workers that prepares 120 critters in shards of 20."""
    code = (
        "import sys; from jaxpart.data.critters import Critters;"
        "from jaxpart.data.preparing import prepare; from jaxpart.errors import JaxpartError\n"
        "try: prepare('critters', {'train': Critters('train', 120, image_size=64)}, sys.argv[1],"
        " workers=2, records_per_shard=20)\n"
        "except JaxpartError as error: sys.exit(str(error))"
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    line = [sys.executable, "-c", code, str(out)]
    return subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)


def test_a_killed_process_leaves_nothing_finished_and_lets_go_of_its_lock(tmp_path):
    source = Critters("train", 120, image_size=64)
    first = process(tmp_path)
    folder = tmp_path / "critters/1.0.0"
    while not list(folder.glob(".unfinished/*.array_record*")):
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # at work, for as long as it takes to look
    with pytest.raises(JaxpartError, match=r"another process is preparing .*wait until it is done"):
        prepare("critters", {"train": source}, tmp_path, workers=1, records_per_shard=20)
    first.kill()
    first.communicate()
    assert not (folder / MANIFEST).exists()
    prepare("critters", {"train": source}, tmp_path, workers=1, records_per_shard=20)
    again, _ = prepare(
        "critters", {"train": source}, tmp_path / "b", workers=1, records_per_shard=20
    )
    assert contents(folder) == contents(again)


def test_a_full_disk_is_told_and_leaves_nothing_finished(tmp_path, monkeypatch):
    sources = {"train": Critters(num_images=2, image_size=32)}
    folder = tmp_path / "critters/1.0.0"
    temporary = files._temporary

    def on_full_disk(path, make):
        shard = ".array_record-" in path.name and path.suffix != ".json"
        return contextlib.nullcontext(pathlib.Path("/dev/full")) if shard else temporary(path, make)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_temporary", on_full_disk)
        with pytest.raises(
            JaxpartError, match=r"00001 cannot be written: .*No space left on device"
        ):
            prepare("critters", sources, tmp_path, workers=1)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(JaxpartError, match=r"cannot be written: No space left on device"):
            prepare("critters", sources, tmp_path, workers=1)
    assert not any(path.name.startswith((".crit", "jaxpart")) for path in folder.iterdir())
    prepare("critters", sources, tmp_path, workers=1)
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
        prepare("lip", sources, pairs / "b", workers=2, records_per_shard=1)
    folder, found = prepare("lip", sources, pairs / "c", skip=True, workers=1, records_per_shard=1)
    assert (found["train"].records, found["val"].records) == (1, 2)
    ((index, why),) = read_manifest(folder).splits["train"].skipped
    assert index == 0
    assert "train0.jpg is truncated" in why
    left = Prepared(folder, "train")
    assert [left.annotation(i).id for i in range(len(left))] == ["img/train/train1.jpg"]
    assert left[0].image == sources["train"][1].image
    assert left.info.version != sources["train"].info.version
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
        JaxpartError, match=r"the id train/000000 comes 2 times; make the ids unique"
    ):
        prepare(
            "critters", {"train": Twice(num_images=2)}, tmp_path, workers=1, records_per_shard=1
        )


class Same:
    """One picture under many names, as a `Source`."""

    info = DatasetInfo("same", "train", "1", class_names=("noise",))
    image = layouts.jpeg(0, (160, 120))

    def __len__(self):
        return 400

    def annotation(self, index):
        return Annotation(f"{index:06d}", label=0)

    def origin(self, index):
        return "same"

    def __getitem__(self, index):
        return Record(self.annotation(index), self.image)


def test_a_shard_holds_one_record_at_a_time(tmp_path):
    source = Same()
    task = preparing._tasks("same", {"train": source}, tmp_path, False, 1000)[0]
    (tmp_path / ".unfinished").mkdir()
    tracemalloc.start()
    written = shards.write_shard({"train": source}, task)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert written.shard.images.size > 4e6
    assert peak < 2e6


def test_shards_grow_where_there_would_be_too_many(tmp_path):
    tasks = preparing._tasks("x", {"train": Critters(num_images=1_300_000)}, tmp_path, False, 1000)
    assert len(tasks) == 256
    assert (tasks[0].first, tasks[-1].last) == (0, 1_300_000)
    assert all(a.last == b.first for a, b in itertools.pairwise(tasks))


@pytest.fixture
def prepared(tmp_path):
    layouts.imagenet(tmp_path)
    sources = {split: ImageNet(tmp_path, split) for split in ("train", "val")}
    return prepare("imagenet", sources, tmp_path / "out", workers=1, records_per_shard=2)[0]


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
    shard = prepared / "imagenet-train.array_record-00001-of-00003"
    manifest = prepared / MANIFEST

    def told(message, split="train"):
        with pytest.raises(JaxpartError, match=message):
            Prepared(prepared, split)[2]

    told("has no split 'test'; it has train, val", "test")
    data = shard.read_bytes()
    shard.write_bytes(data[:-5])
    told(r"00001-of-00003 has \d+ bytes instead of \d+; prepare the data set again")
    start = data.index(b"\xff\xd8")
    shard.write_bytes(data[:start] + b"?" * 40 + data[start + 40 :])
    told(r"00001-of-00003, record 0 is damaged")
    shard.unlink()
    told(r"00001-of-00003 cannot be read: No such file")
    shard.write_bytes(data)
    assert Prepared(prepared, "train")[2].image
    spoil(manifest, b'"format": 1', b'"format": 9')
    told("was changed after it was written")
    spoil(manifest, b'"checksum"', b'"no longer"')
    told(r"jaxpart\.json has format 9 \(version 1\.0\.0\) and this jaxpart reads 1")
    spoil(manifest, b'"format": 9', b'"format": 1')
    spoil(manifest, b'"sha256"', b'"sha257"')
    told(r"jaxpart\.json is damaged")
    manifest.write_bytes(b"{")
    told(r"jaxpart\.json is damaged")


def test_a_folder_of_another_set_is_not_taken(prepared, tmp_path):
    assert find_prepared(prepared, "lip") is None
    assert find_prepared(prepared, "imagenet") == prepared
    assert find_prepared(tmp_path / "none", "imagenet") is None


def test_a_part_folder_without_instances_in_a_shard(tmp_path):
    layouts.keypoint_folder(tmp_path / "mine")
    source = part_folder(tmp_path / "mine")
    folder, _ = prepare("part_folder", {"all": source}, tmp_path, workers=1, records_per_shard=1)
    assert len(read_manifest(folder).splits["all"].shards) == 2
    same_source(Prepared(folder, "all"), source)
