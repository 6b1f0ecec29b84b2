"""Loading: order, shares, padding, random numbers, resuming, unreadable records, prefetch."""

import contextlib
import dataclasses
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from jaxpart.data.input import load
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Records that hold their own index; some cannot be read."""

    count: int = 11
    damaged: tuple[int, ...] = ()

    info = DatasetInfo("numbers", "all", "1")

    def __len__(self):
        return self.count

    def annotation(self, index):
        return Annotation(f"{index}.png")

    def origin(self, index):
        return "bytes"

    def __getitem__(self, index):
        if index in self.damaged:
            raise JaxpartError(f"{index}.png is truncated or damaged; replace it")
        return Record(self.annotation(index), bytes([index]))


def number(record, random):
    return {
        "index": np.full((2, 3), record.image[0], np.uint8),
        "noise": np.float32(random.random()),
    }


def run(source=None, **options):
    settings = {"batch_size": 6, "shuffle": True, "epochs": 3, "seed": 5} | options
    return load(Numbers() if source is None else source, number, **settings)


def contents(batches):
    """(index, noise, valid, id) of every row of every batch."""
    return [
        list(
            zip(
                batch.arrays["index"][:, 1, 2].tolist(),
                batch.arrays["noise"].tolist(),
                batch.valid.tolist(),
                batch.ids,
                strict=True,
            )
        )
        for batch in batches
    ]


@pytest.fixture(scope="module")
def whole():
    return contents(run())


def test_every_epoch_has_every_record_once_in_another_order(whole):
    rows = [row for batch in whole for row in batch]
    assert len(whole) == 6
    assert {len(batch) for batch in whole} == {6}
    assert [row[2] for row in rows] == [True] * 33 + [False] * 3
    assert rows[33:] == [(0, 0.0, False, "")] * 3
    orders = [[index for index, *_ in rows[start : start + 11]] for start in (0, 11, 22)]
    assert [sorted(order) for order in orders] == [list(range(11))] * 3
    assert len({*map(tuple, orders), tuple(range(11))}) == 4
    assert all(name == f"{index}.png" for index, _, _, name in rows[:33])


def test_random_numbers_are_new_for_every_record_and_epoch(whole):
    noise = [row[1] for batch in whole for row in batch if row[2]]
    assert len(set(noise)) == 33


def test_another_seed_gives_another_run(whole):
    other = contents(run(seed=6))
    assert [[row[0] for row in batch] for batch in other] != [
        [row[0] for row in batch] for batch in whole
    ]
    assert not {row[1] for row in other[0]} & {row[1] for batch in whole for row in batch}


def test_the_transforms_random_numbers_do_not_depend_on_the_order():
    plain = contents(run(shuffle=False, epochs=1))
    shuffled = contents(run(epochs=1))
    assert [row[0] for batch in plain for row in batch if row[2]] == list(range(11))
    assert sorted(itertools.chain(*plain)) != list(itertools.chain(*shuffled))
    seeds = {row[:2] for batch in plain for row in batch}
    assert len(seeds & {row[:2] for batch in shuffled for row in batch}) == len(seeds)


@pytest.mark.slow
def test_workers_change_nothing(whole):
    with contextlib.closing(run(workers=2)) as loader:
        assert contents(itertools.islice(loader, 2)) == whole[:2]
        state = json.loads(json.dumps(loader.get_state()))
    threads = run()
    threads.set_state(state)
    assert contents(threads) == whole[2:]


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_the_same_batches(whole, count):
    shares = [contents(run(process_index=i, process_count=count)) for i in range(count)]
    assert [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)] == whole


def test_a_process_without_a_record_gets_padding_of_the_right_shape():
    loader = run(Numbers(7), epochs=1, process_index=2, process_count=3)
    assert loader.num_batches == 2
    first, last = loader
    assert first.valid.all()
    assert not last.valid.any()
    assert {key: (a.shape, a.dtype) for key, a in last.arrays.items()} == {
        key: (a.shape, a.dtype) for key, a in first.arrays.items()
    }


@pytest.mark.parametrize("done", range(7))
def test_resuming_in_the_middle_of_an_epoch(whole, done):
    loader = run()
    assert contents(itertools.islice(loader, done)) == whole[:done]
    state = json.loads(json.dumps(loader.get_state()))
    loader.close()
    resumed = run(process_index=1, process_count=2)
    resumed.set_state(state)
    assert contents(resumed) == [batch[3:] for batch in whole[done:]]


def test_a_position_in_another_run_is_refused():
    state = run().get_state()
    for options, message in (
        ({"seed": 6}, "seed 5, but this run has 6"),
        ({"batch_size": 3}, "batch_size 6, but this run has 3"),
        ({"source": Numbers(12)}, "records 11, but this run has 12"),
    ):
        with pytest.raises(JaxpartError, match=message):
            run(**options).set_state(state)


def test_a_run_without_end_goes_on(whole):
    with contextlib.closing(run(epochs=None)) as loader:
        assert loader.num_batches is None
        assert contents(itertools.islice(loader, 5)) == whole[:5]
        later = loader.get_state() | {"next_batch": 10**9}
        loader.set_state(later)
        assert next(loader).valid.all()


def test_an_unreadable_record_raises():
    with pytest.raises(JaxpartError, match=r"^4\.png is truncated"):
        list(run(Numbers(damaged=(4,))))


def test_unreadable_records_are_skipped_counted_and_keep_their_row(whole):
    loader = run(Numbers(damaged=(4, 9)), on_error="skip")
    for found, expected in zip(contents(loader), whole, strict=True):
        for row, good in zip(found, expected, strict=True):
            assert row == ((0, 0.0, False, good[3]) if good[3] in ("4.png", "9.png") else good)
    assert loader.skipped == {
        f"{i}.png": f"{i}.png is truncated or damaged; replace it" for i in (4, 9)
    }


def test_a_batch_of_unreadable_records_has_the_right_shape():
    loader = run(Numbers(damaged=tuple(range(10))), on_error="skip", shuffle=False, epochs=1)
    batch = next(loader)
    assert not batch.valid.any()
    assert batch.arrays["index"].shape == (6, 2, 3)
    with pytest.raises(
        JaxpartError, match=r"no image of numbers, split all can be read; .*10\.png"
    ):
        list(run(Numbers(damaged=tuple(range(11))), on_error="skip"))


def test_errors_of_a_transform_name_the_record():
    def refuse(record, random):
        raise JaxpartError("it is too small")

    with pytest.raises(JaxpartError, match=r"^0\.png: it is too small"):
        next(load(Numbers(), refuse, batch_size=1, shuffle=False, epochs=1))


@pytest.mark.slow
def test_errors_come_through_from_workers():
    with pytest.raises(JaxpartError, match=r"^0\.png is truncated"):
        next(run(Numbers(damaged=(0,)), shuffle=False, workers=1))


def test_a_fault_of_the_program_is_never_skipped():
    def broken(record, random):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        next(load(Numbers(), broken, batch_size=1, shuffle=False, epochs=1, on_error="skip"))


def test_records_of_different_shape_cannot_be_stacked():
    def sized(record, random):
        return {"image": np.zeros((record.image[0] + 1, 2), np.uint8)}

    with pytest.raises(JaxpartError, match=r"'image' is \(2, 2\) for 1.png and \(1, 2\) for 0.png"):
        next(load(Numbers(), sized, batch_size=2, shuffle=False, epochs=1))
    single = load(Numbers(), sized, batch_size=1, shuffle=False, epochs=1)
    assert [batch.arrays["image"].shape[1] for batch in single] == list(range(1, 12))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": Numbers(0)}, "numbers, split all has no images"),
        ({"batch_size": 5, "process_count": 2}, "batch of 5 cannot be shared among 2 processes"),
        ({"batch_size": 0}, "batch of 0"),
    ],
)
def test_wrong_options_are_refused_at_once(options, message):
    with pytest.raises(JaxpartError, match=message):
        run(**options)


@pytest.mark.slow
def test_segmentation_of_critters_needs_neither_pytorch_nor_tensorflow():
    code = """
import sys
sys.modules["torch"] = sys.modules["tensorflow"] = None
from jaxpart.data.critters import Critters
from jaxpart.data.input import load
from jaxpart.data.segmentation_transforms import SegmentationTrain
critters = Critters("train", 5, image_size=32)
labels = len(critters.info.mask_names["part"])
train = SegmentationTrain("part", labels, (64, 32), crop=32)
for batch in load(critters, train, batch_size=4, shuffle=True, epochs=2):
    assert batch.arrays["image"].shape == (4, 32, 32, 3)
    label = batch.arrays["label"][batch.valid]
    assert ((label < labels - 1) | (label == 255)).all()
assert batch.valid.tolist() == [True, True, False, False]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
