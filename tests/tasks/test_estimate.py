"""What a run says that it takes, before it begins, and what it then takes."""

import dataclasses
import math
import pathlib
import types

import pytest
from carried_out import QUIET
from safetensors import safe_open

from jaxpart import command, devices, main
from jaxpart.config import part_config
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError
from jaxpart.features import cache
from jaxpart.features.cache import size_text
from jaxpart.features.extract import extract
from jaxpart.features.table import FeatureTable
from jaxpart.tasks import chosen, estimate

SIDE = 32


@pytest.fixture(scope="module")
def encoder():
    """A tiny iBOT, whose projector ends in 512 channels of 64."""
    body = {"image_size": (SIDE, SIDE), "patch_size": 8, "width": 16, "depth": 1, "mlp_width": 16}
    return devices.replicate(
        random_encoder("ibot", dataclasses.replace(small_config("ibot"), **body))
    )


@pytest.fixture
def config(tmp_path):
    made = part_config("ibot", "", projector=True)
    made.data.num_images = 8
    made.tasks = ("classification", "retrieval")
    made.features.folder = str(tmp_path / "cache")
    made.classification.selection = True
    for head in ("linear", "attentive"):
        made.classification[head].epochs = 2
    return made


def plans_of(encoder, config):
    return [p for task in chosen(config).values() for p in task.plans(encoder, config, QUIET)]


def test_a_run_encodes_and_stores_what_it_said(encoder, config, tmp_path):
    plans = plans_of(encoder, config)
    first, second = estimate.estimate(plans, config.features, QUIET)
    assert (first.what, second.what) == ("critters/classification", "critters/retrieval")
    assert second.items == len(plans[1].needs["trained"].view.ids)
    assert first.images > 0
    assert not (tmp_path / "cache").exists()

    names, rows = estimate.names_by_kind(plans), {}
    for need in (need for plan in plans for need in plan.needs.values()):
        wanted = names[need.kind()]
        extract(need.encoder, need.view, wanted, config.features, QUIET, batch_size=16)
    for path in (tmp_path / "cache").rglob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            rows[path] = file.get_tensor("features").nbytes
    assert sum(rows.values()) == first.stored + second.stored > 0
    again = estimate.estimate(plans, config.features, QUIET)
    assert [(one.images, one.stored) for one in again] == [(0, 0), (0, 0)]


def test_crops_and_windows_of_segmentation_are_counted(encoder, config):
    config.tasks = ("segmentation",)
    config.segmentation.sets = ("critters_part",)
    config.segmentation.settings.critters_part.crop = SIDE
    config.segmentation.settings.critters_part.stride = SIDE
    (found,) = estimate.estimate(plans_of(encoder, config), config.features, QUIET)
    options = config.segmentation
    crops = options.iterations * options.batch_size * (1 + len(options.shares))
    images = crops + options.incontext.images + 2 * 8
    assert found.encoded[0][1:] == (SIDE, ("block0/tokens",), images)
    assert found.items == 16
    assert found.stored == 0


def test_features_that_heads_read_again_are_counted_where_they_do_not_stay(
    encoder, config, monkeypatch
):
    config.tasks = ("classification",)
    plans = plans_of(encoder, config)
    assert estimate.estimate(plans, config.features, QUIET)[0].read == 0
    monkeypatch.setattr(estimate, "free_memory", lambda: 0)
    (found,) = estimate.estimate(plans, config.features, QUIET)
    items = len(plans[0].needs["train"].view.ids)
    heads = config.classification.linear, config.classification.attentive
    names = [name for head in heads for name in head.representations]
    values = sum(map(math.prod, estimate.item_shapes(encoder, names, SIDE).values()))
    assert found.read == 2 * 2 * items * 4 * values  # epochs, trainings, items, bytes
    # Representations that train together stay together.
    plan = plans[0]
    most = max(math.prod(shape) for shape in estimate.item_shapes(encoder, names, SIDE).values())
    monkeypatch.setattr(estimate, "free_memory", lambda: items * 4 * most / devices.count())
    alone = estimate.estimate([plan], config.features, QUIET)[0].read
    monkeypatch.setattr(estimate, "free_memory", lambda: items * 4 * most * 3 / devices.count())
    assert estimate.estimate([plan], config.features, QUIET)[0].read <= alone < found.read


def test_a_file_of_features_is_not_timed():
    table = FeatureTable(pathlib.Path("mine.npz"), {}, {}, "", (SIDE, SIDE))
    one = estimate.Estimate("critters/retrieval", 8, [estimate.Pass(table, SIDE, (), 8)], 0, 0)
    assert "8 images to encode" in estimate.lines([one])[0]


def test_what_does_not_fit_is_refused_with_the_options_that_do(
    encoder, config, monkeypatch, tmp_path
):
    config.tasks = ("retrieval",)
    plans = plans_of(encoder, config)
    (found,) = estimate.estimate(plans, config.features, QUIET)
    usage = types.SimpleNamespace(free=found.stored - 1)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(JaxpartError) as refused:
        estimate.announce(plans, config.features, QUIET)
    assert str(refused.value) == (
        f"the features of this run take {size_text(found.stored)}, more than the "
        f"{size_text(usage.free)} free in {tmp_path / 'cache'}; leave out critters/retrieval "
        f"({size_text(found.stored)}), or pass --config.features.precision=bfloat16 "
        f"({size_text(found.stored // 2)}), or name a larger disk with "
        "--config.features.folder=FOLDER"
    )
    config.features.cache = "ram"
    monkeypatch.setattr(estimate, "memory_limit", lambda: 10)
    with pytest.raises(JaxpartError, match=r"0\.0 MiB of memory; leave out critters/retrieval \("):
        estimate.announce(plans, config.features, QUIET)
    usage.free = found.stored
    with pytest.raises(JaxpartError, match=r"or pass --config\.features\.cache=disk$"):
        estimate.announce(plans, config.features, QUIET)
    monkeypatch.undo()
    estimate.announce(plans, config.features, QUIET)


def test_much_is_announced_and_little_is_not(encoder, config, monkeypatch, capsys):
    config.tasks = ("retrieval",)
    plans, progress = plans_of(encoder, config), main.Progress()
    monkeypatch.setattr(estimate, "seconds_per_image", lambda *_, batch_size: 60.0)
    estimate.announce(plans, config.features, progress)
    assert not capsys.readouterr().err
    monkeypatch.setattr(estimate, "_MANY", 1)
    estimate.announce(plans, config.features, progress)
    (found,) = estimate.estimate(plans, config.features, QUIET)
    own, total = capsys.readouterr().err.splitlines()
    assert own == (
        f"critters/retrieval: {found.items:,} items, {found.images:,} images to encode, "
        f"{size_text(found.stored)} of features to store, about "
        f"{estimate.duration(60 * found.images)}"
    )
    assert total.startswith(f"in total {size_text(found.stored)} and about ")


def test_a_dry_run_prints_what_a_run_takes_and_writes_nothing(tmp_path, monkeypatch, capsys):
    config = part_config("ibot", "", projector=True)
    config.data.num_images, config.tasks = 8, ("retrieval",)
    config.features.folder = str(tmp_path / "cache")
    monkeypatch.setattr(estimate, "seconds_per_image", lambda *_, batch_size: 0.5)
    main.dry_run(config)
    out = capsys.readouterr().out
    assert "critters/retrieval: " in out
    assert "in total " in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dry", [False, True])
def test_the_command_runs_or_says_what_it_takes(monkeypatch, tmp_path, capsys, dry):
    called = []
    monkeypatch.setattr(command.sys, "argv", ["main", *["--dry-run"][: int(dry)]])
    monkeypatch.setattr(command, "_config_file", lambda arguments: tmp_path / "config.py")
    monkeypatch.setattr(command, "_start", lambda name: tmp_path)
    monkeypatch.setattr(command.devices, "hard_exit", lambda: called.append(2))

    def run(config, path):
        called.append("run")

    command.entry(run, "", {}.get, dry_run=lambda config: called.append("dry"))
    assert called == ["dry" if dry else "run"]
    command.entry(run, "", {}.get)
    assert called[1:] == [2 if dry else "run"]
    assert ("--dry-run is an option" in capsys.readouterr().err) == dry
    command.flags.FLAGS["dry-run"].value = False
