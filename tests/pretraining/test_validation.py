"""What is measured of an encoder in training, and when its curve counts as flat."""

import numpy as np
import pytest
from scipy import stats

from jaxpart.data.critters import Critters
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.small import small_config
from jaxpart.pretraining.run import validation_of
from jaxpart.pretraining.validation import MEASURES, Validation, effective_rank, levelled_off


def test_effective_rank():
    random = np.random.default_rng(0)
    line = np.outer(np.arange(20.0), np.arange(1, 4)) + 5
    assert effective_rank(line) == pytest.approx(1, abs=1e-4)
    alike = np.concatenate([np.eye(4), -np.eye(4)]) + 7
    assert effective_rank(alike) == pytest.approx(4)
    features = random.normal(size=(50, 6)) * [1, 1, 0.5, 0.1, 0, 0]
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    assert effective_rank(features) == pytest.approx(np.exp(stats.entropy(values)), rel=1e-6)


@pytest.mark.slow
def test_an_untrained_encoder_tells_nothing():
    source = Critters("train", 216, version=2)
    measured = Validation(source, 96)(random_encoder("mae", small_config("mae")))
    assert tuple(measured) == MEASURES
    assert measured["kinds"] < 0.2  # 24 kinds, 72 images
    assert 0.2 < measured["parts"] < 0.35
    assert 1 < measured["rank"] < 128


def test_levelled_off():
    rising = np.linspace(0.3, 0.7, 20)
    flat = np.r_[np.linspace(0.3, 0.6, 10), np.full(10, 0.6)]
    steady = {"kinds": flat, "parts": flat, "rank": 30 * flat}
    assert levelled_off(steady)
    for measure in MEASURES:
        assert not levelled_off(steady | {measure: rising * (30 if measure == "rank" else 1)})
    assert not levelled_off({measure: values[:3] for measure, values in steady.items()})
    assert not levelled_off(steady | {"parts": np.full(20, np.nan)})
    falling = {measure: values[::-1] for measure, values in steady.items()}
    assert levelled_off(falling)  # no better than before


def test_measurements_of_a_run_are_kept_apart_from_its_log():
    log = [
        {"name": "loss", "step": 0, "value": 2.0},
        *({"name": f"validation/{name}", "step": 1, "value": 0.25} for name in MEASURES),
    ]
    assert validation_of(log) == {"step": [1], **{name: [0.25] for name in MEASURES}}
    assert validation_of(log[:1]) == {}
