"""Critters of version 2 are as hard as they shall be for pixels, and version 1 is not."""

import numpy as np
import pytest

from jaxpart.data.__main__ import main
from jaxpart.data.critters import Critters
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.small import small_config
from jaxpart.runs.progress import Progress
from jaxpart.study import controls


@pytest.mark.slow
def test_neither_pixels_nor_an_untrained_encoder_solve_version_2():
    found = controls.untrained_controls(Critters("test", 120, version=2), Progress(shown=False))
    assert len(found) == 7
    assert all(control.passed for control in found), found
    assert sum(control.high is not None for control in found) == 6


@pytest.mark.slow
def test_trained_controls_learn_from_one_split_what_they_tell_of_the_other(monkeypatch):
    learnt = []

    def train(images, labels, classes, views, progress):
        learnt.append((images.shape[1], int(labels.max()) + 1, classes, views))
        assert len(images) == len(labels)
        return random_encoder("deit", small_config("deit"))

    monkeypatch.setattr(controls, "_train", train)
    splits = [Critters(split, 24, version=2) for split in ("train", "test")]
    found = controls.part_controls(*splits, Progress(shown=False))
    found += controls.kind_controls(*splits, Progress(shown=False))
    assert learnt == [(64, 4, 4, 108_000), (64, 24, 24, 240_000), (96, 24, 24, 480_000)]
    assert [(control.low, control.high) for control in found] == [
        (0.8, None),
        (None, None),
        (None, 0.35),
        (0.9, None),
    ]
    assert all(0 <= control.value <= 1 for control in found)


@pytest.mark.slow
def test_a_control_learns_its_labels():
    labels = np.arange(64) % 2
    images = np.full((64, 16, 16, 3), 20, np.uint8)
    images[labels == 1, :8] = 220  # a bright upper half
    encoder = controls._train(images, labels, 2, 64 * 10, Progress(shown=False))
    assert controls._accuracy(controls._scores(encoder, images), labels) == 1


@pytest.mark.slow
def test_command_says_what_is_missed(capsys):
    arguments = ["--num-images=48", "--splits", "test", "--workers=1", "--baselines"]
    assert main(["check", "critters", "--version=1", *arguments]) == 1
    said = capsys.readouterr().out
    assert "each patch centred" in said
    assert "MISSED" in said
    assert main(["check", "imagenet", "--root=nowhere", "--baselines"]) == 2


def test_control_is_within_its_limits():
    assert controls.Control("free", 0.3).passed
    assert not controls.Control("low", 0.3, low=0.4).passed
    assert not controls.Control("high", 0.3, high=0.2).passed
