"""The whole report of finished runs, on their own data."""

import csv
import json
import os
import re

import numpy as np
import pytest
from made_runs import made_run

from jaxpart.data.critters import Critters
from jaxpart.data.identity import identity_of
from jaxpart.data.parts import Patch
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError
from jaxpart.features import extract as features
from jaxpart.io.files import write_json
from jaxpart.report import evaluate
from jaxpart.report.__main__ import main
from jaxpart.report.figures import style
from jaxpart.report.figures.style import file_name
from jaxpart.report.figures.tokens import foreground, principal_colours
from jaxpart.report.runs import read_runs
from jaxpart.runs.progress import duration
from jaxpart.runs.rows import Row

ROWS = [
    *(
        Row(f"critters{which}", "segmentation", "mIoU", 0.25, head)
        for which in ("_object", "_part")
        for head in ("paper", "block0", "block1")
    ),
    *(
        Row("critters", "retrieval", "AP", 0.5, representation=name)
        for name in ("embedding", "projection")
    ),
    *(
        Row("critters", "retrieval", "AP", 0.5, representation="embedding", group=part)
        for part in ("eye", "wing")
    ),
]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    digest = random_encoder("ibot", small_config("ibot"), seed=0).digest
    folder = made_run(
        tmp_path_factory.mktemp("runs") / "<b>run",
        rows=ROWS,
        variant=None,
        trained=False,
        digest=digest,
        width=128,
    )
    config = json.loads((folder / "config.json").read_text())
    config["data"]["num_images"] = 8
    config["encoder"]["small"] = "random"
    config["features"]["cache"] = "off"
    config["retrieval"]["representations"] = ["embedding", "projection"]
    write_json(folder / "config.json", config)
    return folder


@pytest.mark.slow
def test_everything(workdir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(style, "_DOTS", 48)
    out = tmp_path / "report"
    arguments = [str(workdir), "--out", str(out), "--patches", "20", "--images", "2"]
    assert main(arguments) == 0, capsys.readouterr().err
    said = capsys.readouterr().err
    assert "to encode with iBOT: critters, windows (98 images)" in said
    assert "to encode with each encoder: 8 whole images" in said
    assert "encoding will take about" in said
    page = (out / "index.html").read_text()
    assert "UNTRAINED, random weights; miniature" in page
    assert "<b>run" not in page  # escaped
    assert (
        "masked-part reconstructions of iBOT: skipped, the method does not predict patches" in page
    )
    names = set(re.findall(r'src="figures/(.+?)\.png"', page))
    assert names == {
        "object_against_part", "ap_per_part", "over_blocks", "learning_curves",
        "gallery_critters_part_patches_iBOT", "gallery_critters_windows_iBOT", "attention_iBOT",
        "principal_components",
    }  # fmt: skip
    assert {path.name for path in (out / "figures").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    }
    for link in re.findall(r'href="((?:tables|figures)/.+?|explorer.html|match.html)"', page):
        assert (out / link).is_file(), link
    explorer = (out / "explorer.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', explorer)[1])
    parts, windows = data["sets"]
    assert (parts["kind"], windows["kind"]) == ("parts", "windows")
    assert [pair["name"] for pair in parts["pairs"]] == ["iBOT · encoded", "iBOT · projected"]
    assert len(windows["images"]) == 2
    assert 'href="match.html"' in page
    picture = tmp_path / "slide.png"
    assert main([str(workdir), "--slide", str(picture), "--patches", "20"]) == 0
    picture.unlink()
    # Only an earlier report is replaced, and nothing is left half-written.
    empty = str(made_run(workdir.parent / "empty", rows=[]))
    assert main([empty, "--out", str(out), "--tables-only"]) == 0
    assert not (out / "explorer.html").exists()
    capsys.readouterr()
    assert main([str(workdir), "--out", str(workdir), "--tables-only"]) == 2
    assert "is not an earlier report" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_what_is_gone_is_skipped(tmp_path, capsys):
    gone = made_run(tmp_path / "gone", rows=[Row("cub_parts", "retrieval", "AP", 0.5)])
    assert main([str(gone), "--out", str(tmp_path / "report")]) == 0
    said = capsys.readouterr().err
    assert "cub, part patches: skipped, the data root is missing" in said
    assert "iBOT: attention and PCA of tokens skipped" in said


def test_functions_that_a_run_names_are_not_run_unasked(tmp_path, capsys):
    run = made_run(
        tmp_path / "theirs", rows=[Row("critters", "retrieval", "AP", 0.5)], variant=None
    )
    (run / "evil.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
    )
    config = json.loads((run / "config.json").read_text())
    config["data"]["num_images"] = 8
    config["encoder"] |= {"callable": f"torch:{run / 'evil.py'}:f", "small": "", "image_size": 32}
    write_json(run / "config.json", config)
    arguments = [str(run), "--out", str(tmp_path / "report"), "--patches", "4", "--images", "1"]
    assert main(arguments) == 0
    said = capsys.readouterr().err
    for skipped in (
        "critters, part patches: skipped",
        "critters, windows: skipped",
        "PCA of tokens",
    ):
        assert re.search(
            f"{skipped}.*, its encoder is the function torch:.*evil.py:f, which is", said
        )
    assert not (run / "ran").exists()
    with pytest.raises(JaxpartError, match="has no attribute 'f'"):
        _ = evaluate.OpenedRun(read_runs([run])[0], functions=True).encoder
    assert (run / "ran").exists()


def test_data_that_changed_since_the_run_are_refused(tmp_path):
    run = made_run(tmp_path / "a", rows=[])
    critters = Critters("test", 4)
    opened = evaluate.OpenedRun(read_runs([run])[0], functions=False)
    opened.check_data(critters)  # not recorded
    what = f"the data of critters/retrieval ({critters.info.split})"
    write_json(run / "identity.json", {what: identity_of(critters)})
    evaluate.OpenedRun(read_runs([run])[0], functions=False).check_data(critters)
    write_json(run / "identity.json", {what: "other"})
    with pytest.raises(JaxpartError, match=r"critters \(test\) has changed since .*a ran"):
        evaluate.OpenedRun(read_runs([run])[0], functions=False).check_data(critters)


@pytest.mark.slow
def test_quick_encodes_nothing(workdir, tmp_path, capsys, monkeypatch):
    def encoded(*arguments):
        raise AssertionError

    monkeypatch.setattr(features, "_step", encoded)
    arguments = [str(workdir), "--out", str(tmp_path / "out"), "--patches", "9", "--images", "1"]
    assert main([*arguments, "--quick"]) == 0
    said = capsys.readouterr().err
    assert "windows of iBOT: left out by --quick, the feature cache lacks 49 of 49" in said
    assert "attention, PCA of tokens, two images matched: left out by --quick" in said
    assert "to encode" not in said
    assert "ap_per_part" in (tmp_path / "out" / "index.html").read_text()


def test_how_long():
    seconds = (0.2, 1, 40, 480, 9000)
    said = ["1 second", "1 second", "40 seconds", "8 minutes", "2.5 hours"]
    assert list(map(duration, seconds)) == said


def test_one_basis_for_all_images():
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((3, 4, 4, 10))
    tokens[2] = tokens[0][::-1]
    colours = principal_colours(tokens)
    assert colours.shape == (3, 4, 4, 3)
    assert (colours.min(), colours.max()) == (0, 1)
    np.testing.assert_allclose(colours[2], colours[0][::-1], atol=1e-9)


def test_foreground_is_what_the_borders_are_not():
    rng = np.random.default_rng(0)
    tokens = 0.1 * rng.standard_normal((2, 6, 6, 8))
    inside = np.zeros((2, 6, 6), bool)
    inside[:, 2:5, 1:4] = True
    tokens[inside] += 1
    np.testing.assert_array_equal(foreground(tokens), inside)
    np.testing.assert_array_equal(foreground(-tokens), inside)
    colours = principal_colours(tokens, inside)
    assert np.ptp(colours[~inside]) == 0
    assert colours[inside].std(axis=0).min() > 0.1
    assert foreground(np.ones((1, 1, 1, 2))).shape == (1, 1, 1)


NAMES = (b"=1+1", b"-1", b"@x", b"a" * 250, b"new\nline", b"\xff\xfe", b" ", b"$x$ \\frac{a}%&#_^~",
         b"<script>alert(1)", "ünï ☃ 漢字".encode())  # fmt: skip


@pytest.mark.slow
def test_many_runs_under_any_names(tmp_path):
    plain = [f"run{i}" for i in range(14)]
    names = [*plain, *map(os.fsdecode, NAMES)]
    rows = [
        Row("=cub", "retrieval", "AP", 0.5, representation="=embedding"),
        Row("cub_parts", "retrieval", "AP", 0.5, representation="embedding"),
    ]
    rows += [
        Row(f"{what}{'x' * 300}", "retrieval", "AP", 0.5, representation="embedding")
        for what in "-+"
    ]
    runs = [made_run(tmp_path / name, rows=rows) for name in names]
    assert main([*map(str, runs), "--out", str(tmp_path / "out"), "--tables-only"]) == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<script>alert" not in page
    assert len(list((tmp_path / "out" / "tables").glob("_xxx*.csv"))) == 2
    for file in (tmp_path / "out" / "tables").glob("*.csv"):
        lines = list(csv.reader(file.read_text().splitlines()))
        assert not any(cell[:1] in ("=", "@") for line in lines for cell in line)
    for name in plain:
        assert name in page


def test_no_two_figures_share_a_file():
    labels = [
        f"mine ({name})" for name in ("a b", "a_b", "a-b", "=1", "-1", "1", "ü", "☃", "x" * 300)
    ]
    names = [file_name("attention", label) for label in labels]
    assert len({name.lower() for name in names}) == len(labels)
    assert all(re.fullmatch(r"\w{1,100}", name, re.ASCII) for name in names)


def test_pictures_that_memory_does_not_hold_are_refused_before_any_is_read(monkeypatch):
    patches = [Patch(i // 2, "a", 1, 0, 0.0, 0.0, 30.0) for i in range(1000)]
    needed = 3 * 64**2 * 1000 + 4 * 224**2 * 500
    monkeypatch.setattr(evaluate, "memory_limit", lambda: needed)
    evaluate._check_memory(patches, evaluate.Limits())
    monkeypatch.setattr(evaluate, "memory_limit", lambda: needed - 1)
    with pytest.raises(JaxpartError, match=r"1,000 patches in 500 images take .* with --patches"):
        evaluate._check_memory(patches, evaluate.Limits())
