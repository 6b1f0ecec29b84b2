"""Masked parts as they are predicted: put back among the visible patches, in the image's own colours."""

import json

import numpy as np
import pytest
from made_runs import made_run
from tiny_folders import SIDE, SIZE, TOKENS, tiny_folder

from jaxpart.encoders.loading import load_encoder
from jaxpart.io.files import write_json
from jaxpart.pretraining.crops import patches_of
from jaxpart.pretraining.masked_prediction import Hidden, load_predictor
from jaxpart.report.evaluate import OpenedRun
from jaxpart.report.figures.reconstructions import drawn, reconstructions
from jaxpart.report.runs import read_runs
from jaxpart.runs.progress import Progress


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("encoders")
    kinds = ("mae", "beit", "cae")
    return {kind: tiny_folder(home / kind, kind, codebook=kind == "beit") for kind in kinds}


class Told:
    """A predictor that says what it is told."""

    def __init__(self, encoder, hidden, codebook=None):
        self.encoder, self.codebook, self._hidden = encoder, codebook, hidden

    def __call__(self, images, mask):
        return self._hidden


def test_pixels_get_their_own_scale_back(folders):
    encoder = load_encoder(folders["mae"])
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    images[:, :SIDE, :SIDE] = rng.integers(0, 30, 3)  # one patch without contrast
    mask = rng.uniform(size=(2, 16)) < 0.4
    mask[:, 0] = True
    given = np.asarray(patches_of(encoder.normalize(images), SIDE))
    centred = given - given.mean(axis=-1, keepdims=True)
    normal = centred / np.sqrt(given.var(axis=-1, ddof=1, keepdims=True) + 1e-6)
    for pixels, undone in ((normal, True), (given, False)):
        told = np.where(mask[..., None], pixels, np.nan)
        predicted, best, how = drawn(Told(encoder, Hidden(pixels=told)), images, mask)
        assert how is undone
        assert np.abs(predicted - images / 255).max() < 1e-6
        assert np.abs(best - images / 255).max() < 1e-6


def test_tokens_are_drawn_as_their_pixels(folders):
    predictor = load_predictor(load_encoder(folders["beit"]), folders["beit"])
    images = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    mask = np.zeros((1, 16), bool)
    mask[0, 6] = True  # second row, third column
    logits = np.full((1, 16, TOKENS), np.nan)
    logits[0, 6] = np.eye(TOKENS)[3]
    told = Told(predictor.encoder, Hidden(logits=logits), predictor.codebook)
    predicted, best, how = drawn(told, images, mask)
    square = predicted[0, SIDE : 2 * SIDE, 2 * SIDE : 3 * SIDE]
    assert how is None
    assert np.allclose(square, predictor.codebook[3].reshape(SIDE, SIDE, 3))
    darkest = predictor.codebook[np.square(predictor.codebook).sum(axis=1).argmin()]
    assert np.allclose(
        best[0, SIDE : 2 * SIDE, 2 * SIDE : 3 * SIDE], darkest.reshape(SIDE, SIDE, 3)
    )
    outside = np.ones((SIZE, SIZE), bool)
    outside[SIDE : 2 * SIDE, 2 * SIDE : 3 * SIDE] = False
    assert not predicted[0, outside].any()


@pytest.mark.slow
def test_who_has_a_decoder_gets_a_picture(folders, tmp_path):
    runs = []
    for method in ("beit", "cae", "deit", "dino"):
        there = folders.get(method)
        digest = load_encoder(there).digest if there else ""
        folder = made_run(tmp_path / method, method, rows=[], variant=None, width=24, digest=digest)
        config = json.loads((folder / "config.json").read_text())
        config["data"]["num_images"] = 12
        config["encoder"]["checkpoint"] = str(there or "")
        write_json(folder / "config.json", config)
        runs.append(folder)
    opened_runs = [OpenedRun(run, functions=False) for run in read_runs(runs)]
    picture, *lines = reconstructions(opened_runs, Progress(shown=False))
    assert picture.name == "reconstructions_BEiT"
    assert picture.caption.startswith("BEiT (miniature, 12 blocks of width 24): every patch")
    axes = picture.figure.axes
    assert len(axes) % 4 == 0  # image, hidden, predicted, truth
    assert len({axis.get_title() for axis in axes[: len(axes) // 4]}) >= 3  # parts
    assert lines == [
        "masked-part reconstructions of CAE: skipped, its tokens are DALL-E's, whose decoder is not "
        "stored with the checkpoint",
        "masked-part reconstructions of DeiT, DINO: skipped, the method does not predict patches",
    ]
