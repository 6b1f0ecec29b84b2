"""Hidden parts: what is hidden, and on released layouts what comes of it."""

import json
import pathlib

import numpy as np
import pytest

import jaxpart
from convert.pipeline import convert
from jaxpart.config import part_config
from jaxpart.runs.progress import Progress
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.masked_parts import experiment as hidden_parts
from jaxpart.tasks.masked_parts.regions import draw_masks

NOTHING = WorkDir(pathlib.Path(), {}, writes=False)


def test_masks():
    touched = np.zeros((3, 36), bool)
    touched[0, :3] = touched[1, 5:14] = touched[2, :17] = True
    whole, random = draw_masks(touched, 0)
    assert whole.sum(axis=1).tolist() == random.sum(axis=1).tolist() == [4, 16, 17]
    assert (whole >= touched).all()
    assert (random & touched).any(axis=1).all()


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
    config.hidden_parts.images = 12
    encoder = jaxpart.load_encoder(tmp_path / "out")
    values = dict(hidden_parts.run(encoder, config, NOTHING, Progress(shown=False)))
    spaces = {key.split("/")[2] for key in values if key.endswith("/seen/AP")}
    assert spaces == {space}  # DALL-E's tokens of the releases are not known
    place = f"cub/hidden_parts/{space}"
    chance = values["cub/hidden_parts/chance/AP"]
    assert 0 < chance < values[f"{place}/seen/AP"] <= 1
    difference = values[f"{place}/part/AP"] - values[f"{place}/other_image/AP"]
    assert values[f"{place}/part_less_other_image/AP"] == pytest.approx(difference)
    (row,) = hidden_parts.section(values).rows
    assert row[0] == f"cub, {space}"
