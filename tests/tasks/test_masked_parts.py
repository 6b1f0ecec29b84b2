"""Masked parts: what is hidden, and on released layouts what comes of it."""

import json

import numpy as np
import pytest
from carried_out import carried_out
from tiny_folders import tiny_folder

import jaxpart
from convert.pipeline import convert
from jaxpart import devices
from jaxpart.config import part_config
from jaxpart.encoders.configured import configured_encoder
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import find_row, select
from jaxpart.tasks.masked_parts import experiment as masked_parts
from jaxpart.tasks.masked_parts.regions import draw_masks


def test_masks():
    touched = np.zeros((3, 36), bool)
    touched[0, :3] = touched[1, 5:14] = touched[2, :17] = True
    whole, random = draw_masks(touched, 0)
    assert whole.sum(axis=1).tolist() == random.sum(axis=1).tolist() == [4, 16, 17]
    assert (whole >= touched).all()
    assert (random & touched).any(axis=1).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "space"), [("mae_full", "pixels"), ("beit", "tokens"), ("cae", "representation")]
)
def test_released_layouts_on_real_birds(name, space, golden, samples, tmp_path):
    folder = golden / f"encoders/{name}"
    note = json.loads((folder / "note.json").read_text())
    convert(note["method"], folder / note["file"], tmp_path / "out", num_heads=3, with_decoder=True)
    config = part_config(note["method"], "paper", projector=False)
    config.encoder.checkpoint = str(tmp_path / "out")
    config.data.root = str(samples)
    config.data.sets = ("cub",)
    config.masked_parts.images = 12
    encoder = jaxpart.load_encoder(tmp_path / "out")
    rows = carried_out(masked_parts, encoder, config)
    spaces = {row.representation for row in select(rows, head="seen")}
    assert spaces == {space}  # DALL-E's tokens of the releases are not known

    def ap(query, space=space):
        return find_row(rows, "cub_parts", "masked_parts", "AP", query, space).value

    assert 0 < ap("baseline", "chance") < ap("seen") <= 1
    assert ap("part_less_other_image") == pytest.approx(ap("part") - ap("other_image"))
    (row,) = masked_parts.section(rows).rows
    assert row[0] == f"cub_parts, {space}"


@pytest.mark.slow
def test_processes_share_the_parts(monkeypatch, tmp_path):
    config = part_config("mae", "", projector=False)
    config.encoder.checkpoint = str(tiny_folder(tmp_path / "mae", "mae"))
    config.data.sets, config.data.num_images = ("critters",), 12
    config.masked_parts.images = 6
    (plan,) = masked_parts.plans(configured_encoder(config), config, Progress(shown=False))

    def vectors(start, stop):
        """What a process adds that predicts these parts."""
        monkeypatch.setattr(devices, "my_share", lambda items: range(start, min(stop, items)))
        progress = Progress(shown=False)
        return masked_parts._vectors(plan.predictor, plan.regions, 0, "critters", progress)

    parts = len(plan.regions.parts)
    alone, *shared = (vectors(*share) for share in [(0, parts), (0, 5), (5, parts), (0, 0)])
    for query, expected in alone["pixels"].items():
        rows = [of_one["pixels"][query] for of_one in shared]
        np.testing.assert_allclose(sum(rows), expected, rtol=0, atol=1e-5)
        assert not rows[2].any()
