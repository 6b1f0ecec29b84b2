"""What a result says of its encoder."""

import dataclasses
import types

import numpy as np
import pytest

from jaxpart import evaluation
from jaxpart.config import part_config
from jaxpart.data.critters import Critters
from jaxpart.data.subset import InMemory
from jaxpart.encoders.configured import permutation_seed
from jaxpart.encoders.families import Preprocessing
from jaxpart.encoders.loading import shapes_of, write_encoder
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError
from jaxpart.runs.progress import Progress
from jaxpart.runs.table import Section, encoder_name, sections_text
from jaxpart.tasks.plans import Plan


@pytest.fixture
def converted(tmp_path):
    """(method, SHA-256 of its checkpoint) → a configuration with an encoder that was converted from it."""

    def make(method, sha256):
        folder = tmp_path / f"{method}{sha256}"
        folder.mkdir()
        shape = small_config(method)
        arrays = {path: np.zeros(shape, np.float32) for path, shape in shapes_of(shape).items()}
        about = {"source": {"file": "x.pth", "sha256": sha256}}
        write_encoder(folder, method, shape, Preprocessing(), arrays, about)
        config = part_config(method, "paper", projector=False)
        config.encoder.checkpoint = str(folder)
        return config

    return make


def test_whose_weights_they_are(converted):
    """The published digits of DeiT's two files prove it; else it is the user's word."""
    deit = converted("deit", "b5f2ef4d" + "0" * 56)
    assert evaluation._weights(deit) == "released, SHA-256 b5f2ef4d…"
    assert evaluation._weights(converted("dino", "b5f2ef4d" + "0" * 56)) == "yours"
    mine = converted("deit", "0" * 64)
    assert evaluation._weights(mine) == "yours"
    mine.encoder.released = True
    assert evaluation._weights(mine) == "released, as you stated"
    small = part_config("deit", "", projector=False)
    assert evaluation._weights(small) == "bundled with jaxpart"
    small.encoder.released = True
    with pytest.raises(JaxpartError, match="applies only to a converted checkpoint"):
        evaluation._weights(small)


def test_the_title_of_the_table():
    sections = [Section(("part retrieval", "patches", "AP"), [("cub, embedding", "245", "x" * 80)])]

    def title(**about):
        return (
            sections_text(encoder_name({"name": "mae", "trained": True} | about), sections)
            .splitlines()[0]
            .strip()
        )

    yours = title(weights="yours", patch_order="kept")
    assert yours == "mae (weights: yours; patches kept in their positions)"
    released = title(weights="released, as you stated", patch_order="permuted")
    assert released == (
        "mae (weights: released, as you stated; patches permuted against their positions)"
    )
    assert title(weights="bundled with jaxpart") == "mae"


def test_patches_are_permuted_for_mae_alone():
    config = part_config("mae", "", projector=False)
    assert permutation_seed(config) is None
    config.encoder.patch_order, config.seed = "permuted", 3
    assert permutation_seed(config) == 3
    config.method = "cae"
    with pytest.raises(JaxpartError, match=r"for MAE only, and this configuration is for cae"):
        permutation_seed(config)


@pytest.mark.parametrize(("name", "told"), [("lip", True), ("critters", False)])
def test_fields_of_critters_are_told_where_none_are_read(monkeypatch, name, told):
    source = types.SimpleNamespace(info=types.SimpleNamespace(name=name))
    plan = types.SimpleNamespace(needs={}, sources=(source,))
    task = types.SimpleNamespace(plans=lambda *given: [plan])
    monkeypatch.setattr(evaluation.experiments, "chosen", lambda config: {"a": task})
    config, lines = part_config("ibot", "paper", projector=False), []
    progress = types.SimpleNamespace(say=lines.append)
    evaluation._plans(None, config, progress)
    assert not lines
    config.data.num_images = 5
    evaluation._plans(None, config, progress)
    expected = "this run ignores config.data.num_images, which only critters have; it reads lip"
    assert lines == told * [expected]


def test_a_test_on_training_images_is_refused(monkeypatch):
    train, test = (Critters(split, 3, image_size=32) for split in ("train", "test"))
    task = types.SimpleNamespace(plans=lambda *given: [plan])
    monkeypatch.setattr(evaluation.experiments, "chosen", lambda config: {"a": task})
    config, progress = part_config("ibot", "paper", projector=False), Progress(shown=False)
    plan = Plan("critters/a", (train, test))
    assert evaluation._plans(None, config, progress) == [plan]
    test = InMemory(train)
    plan = Plan("critters/a", (train, test))
    assert evaluation._plans(None, config, progress) == [plan]  # the user named one split twice
    test.info = dataclasses.replace(train.info, split="test")
    with pytest.raises(JaxpartError, match=r"every image of critters \(test\) is also an image of"):
        evaluation._plans(None, config, progress)
