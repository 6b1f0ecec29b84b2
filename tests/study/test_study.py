"""A whole study of tiny encoders: measured, ended, resumed, collected, written, reported."""

import dataclasses
import json

import pytest
from tiny_folders import tiny_folder

from jaxpart.config import study_config
from jaxpart.errors import JaxpartError
from jaxpart.io.files import write_json
from jaxpart.report.runs import read_runs
from jaxpart.runs.paper import METHODS
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Key, Row, by_key, select
from jaxpart.study import evaluate as running
from jaxpart.study.__main__ import main
from jaxpart.study.entries import STORED, Entry, merge, read_study
from jaxpart.study.figures import baseline_figures
from jaxpart.study.members import find_members

QUIET = Progress(shown=False)


def seeded(folder, seed):
    """Makes an encoder's folder look like a pretraining of that seed."""
    about = json.loads((folder / "encoder.json").read_text())
    about["pretraining"] = {"config": {"seed": seed, "epochs": 1}, "images_seen": 8}
    write_json(folder / "encoder.json", about)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two encoders of different methods, with decoders."""
    place = tmp_path_factory.mktemp("zoo")
    for kind in ("ibot", "mae"):
        seeded(tiny_folder(place / kind, kind), 0)
    return place


@pytest.fixture(scope="module")
def config(folders):
    made = study_config("", ("ibot",))
    made.encoders = (str(folders),)
    made.tasks = ("retrieval", "layers", "masked_parts")
    made.data.num_images = 6
    made.data.image_size = 48
    made.features.cache = "ram"
    made.masked_parts.images = 4
    return made


@pytest.mark.slow
def test_a_study(config, folders, tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"
    study = running.run_study(config, path, QUIET)
    assert [entry.row for entry in study.entries] == ["mae", "ibot"]  # in the paper's order
    mae, ibot = (by_key(entry.rows) for entry in study.entries)
    projected = Key("critters", "retrieval", "AP", representation="projection")
    assert projected in ibot
    assert projected not in mae
    last = Key("critters", "layers", "AP", representation="projector4", group="parts")
    assert ibot[last].value == pytest.approx(ibot[projected].value)
    assert {
        last._replace(representation="block0/cls_token", group="objects"),
        last._replace(representation="embedding"),
    } <= (mae.keys())
    hidden = select(mae.values(), task="masked_parts", metric="AP", representation="pixels")
    assert {"part", "random_mask", "other_image", "seen"} <= {row.head for row in hidden}
    assert not select(ibot.values(), task="masked_parts")  # its decoder predicts no patches
    document = json.loads((path / "results.json").read_text())
    assert document["runs"] == ["mae-0", "ibot-0"]
    assert [claim["number"] for claim in document["claims"]] == [1, 2, 3, 4, 5]
    assert document["claims"][0]["verdict"] == "undecided"  # DeiT is not there
    text = running.study_text(study)
    assert "claim 3" in text
    assert "±" in text

    # What is there is not measured again; the one that was not finished is.
    asked = []
    real = running.measure
    monkeypatch.setattr(running, "measure", lambda c, p, g: asked.append(p.name) or real(c, p, g))
    (path / "ibot-0" / "results.json").unlink()
    again = running.run_study(config, path, QUIET)
    assert asked == ["ibot-0"]
    assert again.entries == study.entries
    assert [run.method for run in read_runs([path])] == ["MAE", "iBOT"]

    stored = tmp_path / "stored.json"
    assert main(["collect", str(path), "--out", str(stored)]) == 0
    assert read_study(stored).entries == study.entries
    assert main(["write", str(tmp_path / "study.md"), str(stored)]) == 0
    page = (tmp_path / "study.md").read_text()
    for words in ("## All tasks", "### Claim 4", "`projector4`", "MAE, pixels", "| chance |"):
        assert words in page
    assert main(["show", str(stored)]) == 0
    assert "claim 1" in capsys.readouterr().out

    # Stored results of other seeds stand beside what is measured now.
    others = [dataclasses.replace(entry, seed=1) for entry in study.entries]
    monkeypatch.setattr(
        running,
        "read_study",
        lambda path: dataclasses.replace(study, entries=[*study.entries, *others]),
    )
    config.seeds = 2
    several = running.run_study(config, tmp_path / "several", QUIET)
    assert [(entry.row, entry.seed) for entry in several.entries] == [
        ("mae", 0),
        ("ibot", 0),
        ("mae", 1),
        ("ibot", 1),
    ]
    config.seeds = 3
    with pytest.raises(JaxpartError, match="those of 2 are stored"):
        running.run_study(config, tmp_path / "more", QUIET)
    config.seeds = 1


def test_members(folders, tmp_path):
    members = find_members([str(folders)])
    assert [(m.row, m.seed, m.label) for m in members] == [
        ("mae", 0, "mae-0"),
        ("ibot", 0, "ibot-0"),
    ]
    with pytest.raises(JaxpartError, match="twice"):
        find_members([str(folders), str(folders / "mae")])
    with pytest.raises(JaxpartError, match="neither a method"):
        find_members([str(tmp_path)])
    with pytest.raises(JaxpartError, match="needs encoders"):
        find_members([])


@pytest.mark.parametrize(
    "change",
    [
        {"pretraining": {"config": {"seed": "/../../../home/victim/x"}}},
        {"pretraining": {"config": {"seed": -1}}},
        {"pretraining": {"config": [1, 2]}},
        {"pretraining": "none"},
        {"digest": None},
        {"family": ".."},
    ],
)
def test_a_member_leads_nowhere_else(tmp_path, folders, change):
    about = json.loads((folders / "mae" / "encoder.json").read_text())
    write_json(tmp_path / "encoder.json", about | change)
    with pytest.raises(JaxpartError, match=r"encoder\.json is damaged; convert again"):
        find_members([str(tmp_path)])


def test_results_that_do_not_belong_together(tmp_path):
    def stored(name, digest="a", **options):
        entry = {"row": "mae", "seed": 0, "pretraining": {}, "rows": []}
        entry["encoder"] = {"digest": digest, "trained": True}
        (tmp_path / name).write_text(
            json.dumps({"version": 2, "options": options, "entries": [entry]})
        )
        return read_study(tmp_path / name)

    assert len(merge([stored("a"), stored("b")]).entries) == 1
    with pytest.raises(JaxpartError, match="different weights"):
        merge([stored("a"), stored("b", digest="b")])
    with pytest.raises(JaxpartError, match="tasks differ"):
        merge([stored("a"), stored("b", tasks=["layers"])])
    with pytest.raises(JaxpartError, match="holds no results of a study"):
        read_study(tmp_path)
    (tmp_path / "c").write_text('{"options": {}, "entries": []}')
    with pytest.raises(JaxpartError, match="holds no results of format version 2"):
        read_study(tmp_path / "c")
    (tmp_path / "c").write_text('{"version": 2}')
    with pytest.raises(JaxpartError, match="not the results of a study"):
        read_study(tmp_path / "c")


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": {}},
        {"encoder": {"digest": "a"}},
        {"encoder": None},
        {"row": ["deit"]},
        {"row": None},
        {"seed": "0"},
        {"pretraining": None},
    ],
)
def test_entries_of_other_types_are_told(tmp_path, change):
    entry = {"row": "mae", "seed": 0, "pretraining": {}, "rows": []}
    entry |= {"encoder": {"digest": "a", "trained": True}} | change
    write_json(tmp_path / "a", {"version": 2, "options": {}, "entries": [entry]})
    with pytest.raises(JaxpartError, match="entry 0 is damaged; copy the file again"):
        read_study(tmp_path / "a")


@pytest.mark.parametrize(
    "change", [{"entries": []}, {"options": {"data": 3}}, {"options": {"data": {"sets": 3}}}]
)
def test_a_study_of_other_types_is_told(tmp_path, change):
    entry = {"row": "mae", "seed": 0, "pretraining": {}, "rows": []}
    entry["encoder"] = {"digest": "a", "trained": True}
    write_json(tmp_path / "a", {"version": 2, "options": {}, "entries": [entry]} | change)
    with pytest.raises(JaxpartError, match="is not the results of a study"):
        read_study(tmp_path / "a")


def test_baselines_of_another_jaxpart_keep_their_name():
    entry = Entry("mae", 0, {}, {}, [Row("critters", "retrieval", "AP", 0.5, "baseline", "edges")])
    assert list(baseline_figures([entry])) == ["edges"]


def test_stored_results_can_be_read_and_are_of_the_encoders_in_the_package():
    stored = {
        (entry.row, entry.seed): entry.encoder["digest"] for entry in read_study(STORED).entries
    }
    for member in find_members(list(METHODS)):
        assert stored[member.row, member.seed] == member.digest
