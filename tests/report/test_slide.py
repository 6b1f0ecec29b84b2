"""The picture for a lecture."""

import dataclasses

import numpy as np
import pytest
from made_patches import patch_set
from made_runs import made_run
from PIL import Image

from jaxpart.errors import JaxpartError
from jaxpart.report.__main__ import main
from jaxpart.report.figures import slide
from jaxpart.report.patch_sets import NEIGHBOURS
from jaxpart.report.runs import read_runs
from jaxpart.runs.rows import Row

CUB = "cub_parts"
AP = (
    Row(CUB, "retrieval", "AP", 0.5, representation="embedding", low=0.45, high=0.55),
    Row(CUB, "retrieval", "AP", 0.3, representation="projection"),
)
BASELINES = (
    Row(CUB, "retrieval", "AP", 0.2, "baseline", "chance"),
    Row(CUB, "retrieval", "AP", 0.4, "baseline", "pixels12_grey"),
)
WHOLE = (Row(CUB, "retrieval", "images", 11788), Row(CUB, "retrieval", "patches", 24000))


def patches():
    one = patch_set()
    pairs = [
        dataclasses.replace(pair, representation=name)
        for pair, name in zip(one.pairs, ("embedding", "projection"), strict=True)
    ]
    return dataclasses.replace(one, pairs=pairs)


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))]


def drawn(tmp_path, rows, **encoder):
    (run,) = read_runs([made_run(tmp_path / "run", rows=rows, **encoder)])
    assert slide.keys_of(run, CUB)
    return slide.slide(run, CUB, patches())


def test_both_representations_and_baselines(tmp_path):
    figure = drawn(tmp_path, (*AP, *BASELINES), weights="yours")
    said = texts(figure)
    levels = ["50.0", "30.0", "40.0", "20.0", "baseline: 12 × 12 pixels, grey", "baseline: chance"]
    assert set(levels) <= set(said)
    assert "iBOT (your weights) on cub_parts" in said
    assert not any("paper" in text for text in said)
    for suffix in ("png", "svg"):
        slide.save(figure, tmp_path / f"slide.{suffix}")
    with Image.open(tmp_path / "slide.png") as image:
        assert image.size == (1920, 1080)
    assert "<svg" in (tmp_path / "slide.svg").read_text()


def test_the_paper_s_figures_where_they_may_stand(tmp_path):
    assert {"paper 49.3", "paper 31.2"} <= set(texts(drawn(tmp_path, (*AP, *WHOLE))))


def test_a_typical_query(tmp_path):
    one = patches()
    ap = np.linspace(0, 1, len(one.part))
    ap[12] = np.nan
    (run,) = read_runs([made_run(tmp_path / "run", rows=AP)])

    def of(**changed):
        pairs = [dataclasses.replace(pair, **changed) for pair in one.pairs]
        return slide.slide(run, CUB, dataclasses.replace(one, pairs=pairs))

    all_right = np.stack([np.flatnonzero(one.part == part)[:1] for part in one.part])
    all_right = np.repeat(all_right, NEIGHBOURS, axis=1)
    assert f"10 of 10 right · AP {100 * ap[11]:.0f} %" in texts(of(ap=ap, neighbours=all_right))
    assert "dashed: another part" not in texts(of(ap=ap, neighbours=all_right))
    with pytest.raises(JaxpartError, match="no part has two patches"):
        of(ap=None)
    with pytest.raises(JaxpartError, match="no encoded and projected neighbours"):
        slide.slide(run, CUB, dataclasses.replace(one, pairs=one.pairs[:1]))


@pytest.mark.parametrize(
    ("rows", "name", "said"),
    [
        (AP, "slide.jpg", "is written as .png or .svg"),
        (AP[:1], "slide.png", "no run retrieved parts by both"),
        (AP, "slide.png", "the data root is missing"),
    ],
)
def test_what_it_cannot_be_made_of(rows, name, said, tmp_path, capsys):
    run = made_run(tmp_path / "run", rows=rows)
    assert main([str(run), "--slide", str(tmp_path / name)]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / name).exists()
