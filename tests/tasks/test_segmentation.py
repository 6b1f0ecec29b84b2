"""Segmentation end to end on small critters: run, devices, resume, compiled programs, bad input."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import signal

import jax
import numpy as np
import pytest
from carried_out import carried_out
from compile_checks import exchanges, steady, taken_over, values
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict
from PIL import Image

from jaxpart import config as configs
from jaxpart import devices, tasks
from jaxpart.data.critters import Critters
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.vit import ViTConfig
from jaxpart.errors import JaxpartError
from jaxpart.evaluation import measure
from jaxpart.probes.pixel import PixelHeads, optimizer
from jaxpart.runs.config_checks import check_config
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Key, by_key
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.segmentation import experiment as segmentation
from jaxpart.tasks.segmentation.experiment import Segmentation
from jaxpart.tasks.segmentation.heads import readouts, training_program
from jaxpart.tasks.segmentation.inputs import SegmentationSet, part_objects, segmentation_set
from jaxpart.training import Stopped

CROP = 32


class Quiet(Progress):
    """Says nothing; counts and may be asked to end the run."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.done, self.stop_at, self.lines = 0, stop_at, []

    def say(self, line):
        self.lines.append(line)

    def bar(self, what, total):
        def advance(count):
            self.done += count
            if self.done == self.stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

        return contextlib.nullcontext(advance)


@pytest.fixture(scope="module")
def encoder():
    architecture = ViTConfig(
        image_size=(CROP, CROP), patch_size=8, width=32, depth=3, num_heads=2, mlp_width=64
    )
    return devices.replicate(random_encoder("deit", architecture))


def small_config(**changes) -> ConfigDict:
    config = configs.part_config("deit", None, projector=False)
    config.data.num_images, config.data.image_size = 12, 40
    config.segmentation.update(
        {"train_images": 10, "test_images": 5, "iterations": 6, "batch_size": 4, "warmup": 2}
        | {"window_batch": 4, "pictures": 2, "shares": (0.1,)}
        | changes
    )
    config.segmentation.incontext.images = 8
    for name in ("critters_part", "critters_object"):
        config.segmentation.settings[name].update(
            {"crop": CROP, "stride": 16, "train_scale": (40, 40), "test_scale": (40, 40)}
        )
    return config


def key(metric, head="paper"):
    return Key("critters_part", "segmentation", metric, head)


def experiment(encoder, **changes):
    config = small_config(**changes)
    data = segmentation_set("critters_part", config)
    return Segmentation("", (), devices.replicate(encoder), data, config.segmentation, 0)


@pytest.mark.slow
def test_run_on_critters_leaves_values_tables_and_pictures(encoder, tmp_path):
    config = small_config(sets=("critters_part",))
    rows = carried_out(segmentation, encoder, config, WorkDir(tmp_path, {}), Quiet())
    found = by_key(rows)
    heads = ("paper", "block0", "block1", "block2", "paper@10%", "incontext")
    for head in heads:
        for name in ("mIoU", "mAcc", "aAcc"):
            row = found[key(name, head)]
            assert 0 <= row.value <= 1
            assert 0 <= row.low <= row.high <= 1
    right, within = found[key("aAcc")], found[key("taken for another part of the object")]
    assert within.value + right.value == pytest.approx(1)  # critters have no part of another object

    folder = tmp_path / "segmentation" / "critters_part"
    names = segmentation_set("critters_part", config).classes
    table = list(csv.DictReader((folder / "classes.csv").open()))
    assert [row["head"] for row in table] == [head for head in heads for _ in names]
    assert {row["class"] for row in table} == set(names)
    confused = list(csv.DictReader((folder / "confusions.csv").open()))
    assert sum(int(row["pixels"]) for row in confused) > 0
    pictures = sorted((folder / "pictures").iterdir())
    assert len(pictures) == 2
    with Image.open(pictures[0]) as image:
        assert image.width > 3 * 256
        assert image.height > 256

    section = tasks.find("segmentation").section(rows)
    assert {len(row) for row in section.rows} == {len(section.columns)}
    said = {row[0]: row[-1] for row in section.rows}
    assert "…" in said["critters_part, paper"]
    assert "the last" in said["critters_part, block2"]
    assert "critters_part, incontext" in said


@pytest.mark.slow
def test_one_device_and_four_agree(encoder, tmp_path, monkeypatch):
    def result(folder):
        one = experiment(encoder, pictures=0, shares=(), readouts=("paper", "block0"))
        rows = one.rows({}, WorkDir(tmp_path / folder, {}), Quiet())
        return {row.key: row.value for row in rows if row.metric in ("mIoU", "mAcc", "aAcc")}

    four = result("four")
    alone = Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), ("data", "model"))
    monkeypatch.setattr(devices, "mesh", lambda: alone)
    one = result("one")
    assert len(one) == 9
    for key, value in one.items():
        assert abs(four[key] - value) <= 1e-5, key


@pytest.mark.slow
def test_the_step_exchanges_gradients_alone_and_never_retraces(encoder):
    heads = PixelHeads(readouts(("paper", "blocks"), 3), 32, 7, rngs=nnx.Rngs(0))
    state, step = training_program(encoder, heads, optimizer(lambda _: 1e-3))
    batch = {
        "image": np.zeros((4, CROP, CROP, 3), np.uint8),
        "label": np.zeros((4, CROP, CROP), np.uint8),
        "size": np.full((4, 2), CROP, np.int32),
    }
    batch = devices.shard(batch)
    compiled = step.func.lower(*step.args, state, batch).compile()
    found = exchanges(compiled)
    assert {kind for kind, _ in found} == {"all-reduce"}
    heads = [parameter.size for parameter in jax.tree.leaves(state.heads)]
    assert sum(heads) <= values(found) <= sum(heads) + 8
    assert taken_over(compiled) == len(jax.tree.leaves(state))
    state, _ = step(state, batch)
    before = jax.tree.leaves(state)
    with steady():
        for _ in range(3):
            state, _ = step(state, batch)
    assert all(leaf.is_deleted() for leaf in before)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))


@pytest.mark.slow
def test_resumed_training_is_bitwise_the_undisturbed_one(encoder, tmp_path):
    def train(folder, progress=None):
        one = experiment(encoder, readouts=("paper",))
        workdir = WorkDir(tmp_path / folder, {})
        return one.train("all", one.data.train, one.readouts, workdir, progress or Quiet())

    whole = train("whole")
    with pytest.raises(Stopped):
        train("stopped", Quiet(stop_at=3))
    again = Quiet()
    resumed = train("stopped", again)
    assert 0 < again.done < 6
    finished = Quiet()
    kept = train("stopped", finished)
    assert finished.done == 0  # all of it was read back
    for heads in (resumed, kept):
        jax.tree.map(np.testing.assert_array_equal, nnx.state(heads), nnx.state(whole))


def with_masks(source, change):
    """A source whose part masks are changed."""

    class Changed:
        info = source.info

        def __len__(self):
            return len(source)

        def annotation(self, index):
            return source.annotation(index)

        def origin(self, index):
            return source.origin(index)

        def __getitem__(self, index):
            record = source[index]
            with Image.open(io.BytesIO(record.masks["part"])) as image:
                mask = change(np.array(image))
            file = io.BytesIO()
            Image.fromarray(mask).save(file, "png")
            return dataclasses.replace(record, masks={"part": file.getvalue()})

    return Changed()


def changed_experiment(encoder, change, **sizes):
    config = small_config(shares=(), readouts=("paper",), iterations=2, pictures=0)
    train, test = (Critters(split, 4, image_size=40) for split in ("train", "test"))
    setting = {"crop": CROP, "stride": 16, "train_scale": (40, 40), "test_scale": (40, 40)} | sizes
    data = SegmentationSet(
        "critters_part", with_masks(train, change), with_masks(test, change), "part", **setting
    )
    return config, Segmentation("", (), devices.replicate(encoder), data, config.segmentation, 0)


def test_a_share_of_less_than_one_image_is_skipped(encoder, tmp_path, monkeypatch):
    said, trained = Quiet(), []
    one = experiment(encoder, shares=(0.001, 0.5))
    monkeypatch.setattr(Segmentation, "train", lambda self, name, *rest: trained.append(name))
    with pytest.raises(AttributeError):  # nothing was trained, so nothing can be tested
        list(one.rows({}, WorkDir(tmp_path, {}), said))
    assert trained == ["all", "paper@50%"]
    assert "0.1 % of" in said.lines[0]


@pytest.mark.slow
def test_crops_do_not_depend_on_the_number_of_workers(encoder):
    def made(workers, count, state=None):
        one = experiment(encoder, workers=workers, in_memory=False)
        loader = one.batches(one.data.train)
        with contextlib.closing(loader):
            if state is not None:
                loader.set_state(state)
            batches = [next(loader) for _ in range(count)]
            return batches, json.loads(json.dumps(loader.get_state()))

    threads, _ = made(0, 4)
    workers, state = made(2, 2)
    rest, _ = made(0, 2, state)
    for ours, theirs in zip([*workers, *rest], threads, strict=True):
        assert ours.ids == theirs.ids
        for name, array in theirs.arrays.items():
            np.testing.assert_array_equal(ours.arrays[name], array)


def test_label_that_is_no_class(encoder, tmp_path):
    _, one = changed_experiment(encoder, lambda mask: np.where(mask, 9, mask).astype("uint8"))
    with pytest.raises(JaxpartError, match=r"train/00000\d \(part mask\).* holds 9, but 8 classes"):
        list(one.rows({}, WorkDir(tmp_path, {}), Quiet()))


def test_label_of_another_size_than_its_image(encoder, tmp_path):
    _, one = changed_experiment(encoder, lambda mask: mask[:-1])
    with pytest.raises(JaxpartError, match=r"train/.* is 40 × 39 pixels but its image is 40 × 40"):
        list(one.rows({}, WorkDir(tmp_path, {}), Quiet()))


@pytest.mark.slow
def test_image_smaller_than_the_crop(encoder, tmp_path):
    _, one = changed_experiment(
        encoder, lambda mask: mask, train_scale=(20, 20), test_scale=(20, 20)
    )
    found = by_key(one.rows({}, WorkDir(tmp_path, {}), Quiet()))
    assert 0 < found[key("aAcc")].value < 1
    assert 0 < found[key("aAcc", "incontext")].value <= 1


@pytest.mark.slow
def test_every_pixel_ignored(encoder, tmp_path):
    config, one = changed_experiment(encoder, np.zeros_like)
    with pytest.raises(JaxpartError, match="no patch has a labelled pixel"):
        one.memory(Quiet())
    config.segmentation.incontext.images = 0
    found = by_key(one.rows({}, WorkDir(tmp_path, {}), Quiet()))
    assert all(np.isnan(found[key(name)].value) for name in ("mIoU", "mAcc", "aAcc"))


def checked_plans(encoder, config):
    check_config(config)
    segmentation.check(config)
    return list(segmentation.plans(encoder, config, Quiet()))


def test_class_lists_of_different_length():
    config = small_config()
    data = segmentation_set("critters_part", config)
    other = Critters("test", 4)
    other.info = dataclasses.replace(
        other.info, mask_names={"part": (*other.info.mask_names["part"], "horn")}
    )
    with pytest.raises(JaxpartError, match="7 classes in train, but 8 others in test"):
        dataclasses.replace(data, test=other)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sets": ("critter",)}, "no segmentation set 'critter'; choose from ade20k"),
        ({"readouts": ("block7",)}, "no readout 'block7'.*block0 … block2"),
        ({"readouts": ()}, "readouts is empty; name at least one"),
        ({"readouts": ("paper", "paper")}, "readouts names 'paper' twice"),
        ({"shares": (0.5, 0.5)}, "shares names 0.5 twice"),
        ({"shares": (5,)}, "shares holds 5"),
        ({"shares": (float("nan"),)}, "shares holds nan"),
        ({"sets": ()}, "sets is empty"),
        ({"sets": ("lip", "lip")}, "sets names 'lip' twice"),
        ({"iterations": 0}, "iterations is 0; give a whole number, at least 1 and at most"),
        ({"iterations": -3}, "iterations is -3"),
        ({"batch_size": 0}, "batch_size is 0; give a whole number, at least 1 and at most"),
        ({"window_batch": -1}, "window_batch is -1"),
        ({"train_images": -1}, "train_images is -1; give a whole number, at least 0 and at most"),
        ({"test_images": -1}, "test_images is -1"),
        ({"pictures": -1}, "pictures is -1"),
        ({"warmup": -1}, "warmup is -1"),
        ({"warmup": 7}, "warmup is 7, more than the 6 iterations; give 0 to 6"),
        ({"learning_rate": float("inf")}, "learning_rate is inf; give a finite number, above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1"),
        ({"weight_decay": -0.05}, "weight_decay is -0.05; give a finite number, at least 0"),
        ({"weight_decay": float("inf")}, "weight_decay is inf"),
        ({"resize": "cubic"}, "resize is 'cubic'; choose from opencv, pillow"),
        ({"incontext": {"images": -1}}, "incontext.images is -1"),
        ({"incontext": {"neighbours": 0}}, "incontext.neighbours is 0"),
        ({"incontext": {"temperature": 0.0}}, "incontext.temperature is 0"),
        ({"settings": {"critters_part": {"crop": 0}}}, "critters_part.crop is 0"),
        ({"settings": {"critters_part": {"stride": 0}}}, "critters_part.stride is 0"),
        ({"settings": {"critters_part": {"stride": 33}}}, "stride is 33: windows of 32 pixels"),
        ({"settings": {"critters_part": {"test_scale": (0, 9)}}}, "test_scale holds 0; give"),
        (
            {"settings": {"critters_part": {"train_scale": (9, 9, 9)}}},
            r"train_scale is \(9, 9, 9\)",
        ),
        (
            {"settings": {"critters_part": {"kind": "parts"}}},
            "kind is 'parts'; choose from part, object",
        ),
        ({"settings": {"critters_part": {"data": "critter"}}}, "no data set 'critter'"),
        (
            {"settings": {"critters_part": {"test_split": "val"}}},
            "test_split is 'val'; choose from train, test",
        ),
    ],
)
def test_mistakes_in_the_configuration(encoder, tmp_path, change, sentence):
    config = small_config()
    for option in ("settings", "incontext"):
        config.segmentation[option].update(change.get(option, {}))
    config.segmentation.update({k: v for k, v in change.items() if not isinstance(v, dict)})
    with pytest.raises(JaxpartError, match=sentence):
        checked_plans(encoder, config)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"iterations": 0}, "segmentation.iterations is 0"),
        ({"learning_rate": float("inf")}, "segmentation.learning_rate is inf"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(option, sentence, tmp_path):
    """Also where other tasks come first, and the encoder is not to be had."""
    config = small_config(**option)
    config.encoder.checkpoint = "nowhere"
    with pytest.raises(JaxpartError, match=sentence):
        measure(config, tmp_path / "run", Progress(shown=False))
    assert not (tmp_path / "run").exists()


def test_crop_that_is_no_multiple_of_the_patch(encoder):
    config = small_config(sets=("critters_part",))
    config.segmentation.settings.critters_part.crop = 321
    with pytest.raises(
        JaxpartError, match=r"settings\.critters_part\.crop is 321, .* patches of 8; .* as 320"
    ):
        next(segmentation.plans(encoder, config, Quiet()))


def test_number_of_classes_that_is_not_the_papers_is_said(encoder, tmp_path):
    config = small_config(sets=("critters_part",), readouts=("paper",), shares=(), pictures=0)
    config.segmentation.settings.critters_part.classes = 193
    progress = Quiet()
    next(segmentation.plans(encoder, config, progress))
    assert "critters_part has 7 classes here and 193 in the paper" in progress.lines[0]


def test_object_of_a_part_is_the_longest_that_its_name_starts_with():
    names = ["dog head", "chest of drawers door", "chest lid", "class 3", "dogwood leaf"]
    objects = ["dog", "chest", "chest of drawers"]
    assert part_objects(names, objects) == [
        "dog",
        "chest of drawers",
        "chest",
        "class 3",
        "dogwood leaf",
    ]
    assert len(set(part_objects(names, ()))) == 1
