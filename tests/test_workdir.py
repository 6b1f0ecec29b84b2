"""The folder of a run: resumed, killed, not writable."""

import errno
import json
import math
import os

import pytest

from jaxpart.config import part_config
from jaxpart.data.critters import Critters
from jaxpart.data.subset import Subset
from jaxpart.errors import JaxpartError
from jaxpart.report.runs import read_runs
from jaxpart.runs.rows import VERSION, Row
from jaxpart.runs.workdir import WorkDir, check_place
from jaxpart.verify.results import verify_results

AP = Row("lip", "segmentation", "aAcc", 0.5)


def measured(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        (line.get("name", line.get("metric")), line.get("step")): line["value"] for line in lines
    }


def test_a_resumed_run_keeps_what_was_measured(tmp_path):
    first = WorkDir(tmp_path, {"a": 1})
    for step in range(3):
        first.metric("loss", 1 / (step + 1), step=step)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"time": 1, "name": "lo')  # killed in the middle of a line
    (tmp_path / ".config.json.writing-999999").write_text("{")
    second = WorkDir(tmp_path, {"a": 1})
    second.metric("loss", 0.25, step=2)
    for value in (0.25, 0.5):
        second.row(Row("critters", "retrieval", "AP", value))
    second.finish({"rows": []})
    assert measured(tmp_path) == {
        ("loss", 0): 1.0,
        ("loss", 1): 0.5,
        ("loss", 2): 0.25,
        ("AP", None): 0.5,
    }
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *("config.json", "identity.json", "versions.json", "metrics.jsonl", "results.json")
    }


def test_other_processes_write_nothing(tmp_path):
    workdir = WorkDir(tmp_path / "run", {}, writes=False)
    workdir.row(AP)
    workdir.file("picture.png", b"")
    workdir.finish({})
    assert not list(tmp_path.iterdir())


def test_what_has_no_value_is_null(tmp_path):
    workdir = WorkDir(tmp_path, part_config("deit", "", projector=True).to_dict())
    rows = [Row("lip", "segmentation", "mIoU", math.nan, low=math.nan, high=math.nan), AP]
    workdir.row(rows[0])
    assert math.isnan(workdir.measured()[0]["value"])
    about = {"name": "deit", "trained": False}
    workdir.finish(
        {"version": VERSION, "encoder": about, "rows": [row.fields() for row in rows]}
        | {"rules": {}, "few": [math.inf, 1.5]}
    )

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    for name in ("results.json", "metrics.jsonl"):
        found = json.loads((tmp_path / name).read_text(), parse_constant=refuse)
        assert "null" in (tmp_path / name).read_text()
    assert found["value"] is None
    (run,) = read_runs([tmp_path])
    assert repr(run.rows) == repr(rows)
    report = verify_results(tmp_path, tmp_path)
    assert report.same
    assert len(report.rows) == 2


CONFIG = {
    "encoder": {"checkpoint": "a/encoder", "small": ""},
    "data": {"root": "a", "seed": 0},
    "features": {"folder": "a/features", "cache": "disk"},
}


def test_a_folder_belongs_to_its_encoder_and_data_wherever_they_lie(tmp_path):
    critters = Critters(num_images=4)
    first = WorkDir(tmp_path, CONFIG)
    first.belongs_to("the encoder", "0123456789abcdef")
    first.reads("critters/retrieval", critters)
    moved = {
        "encoder": {"checkpoint": "b/encoder", "small": ""},
        "data": {"root": "b", "seed": 0},
        "features": {"folder": "b/features", "cache": "disk"},
    }
    second = WorkDir(tmp_path, moved)
    second.belongs_to("the encoder", "0123456789abcdef")
    second.reads("critters/retrieval", critters)
    third = WorkDir(tmp_path, CONFIG)
    with pytest.raises(JaxpartError, match=r"the encoder was different \(0123.* then, f.*now"):
        third.belongs_to("the encoder", "f" * 16)
    with pytest.raises(
        JaxpartError, match=r"the data of critters/retrieval \(train\) was .* another"
    ):
        third.reads("critters/retrieval", Subset(critters, [0, 1]))
    WorkDir(tmp_path, moved).belongs_to(
        "the encoder", "0123456789abcdef"
    )  # refusing changed nothing
    with pytest.raises(JaxpartError, match=r"data\.seed: 0 then, 1 now"):
        WorkDir(tmp_path, moved | {"data": {"root": "b", "seed": 1}})


def test_a_folder_without_identity_is_refused(tmp_path):
    WorkDir(tmp_path, CONFIG)
    (tmp_path / "identity.json").unlink()
    with pytest.raises(
        JaxpartError, match=r"does not say which encoder and data .*; name another --workdir"
    ):
        WorkDir(tmp_path, CONFIG)


def test_a_changed_measurement_is_named(tmp_path):
    workdir = WorkDir(tmp_path, {})
    for step in range(3):
        workdir.metric("loss", 0.5, step=step)
    file = tmp_path / "metrics.jsonl"
    file.write_text(file.read_text().replace('"step": 1, "value": 0.5', '"step": 1, "value": 0.1'))
    with pytest.raises(JaxpartError, match=r"metrics\.jsonl, line 2 is damaged \(it was modified"):
        WorkDir(tmp_path, {})


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS])
def test_a_bad_disk_is_told_in_one_sentence(tmp_path, monkeypatch, fault):
    workdir = WorkDir(tmp_path, {})

    def fail(*_):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    for write in (lambda: workdir.file("picture.png", b"x"), lambda: workdir.finish({})):
        with pytest.raises(
            JaxpartError, match=r"cannot be written: .*(space|Read-only).*--workdir"
        ):
            write()
    assert not list(tmp_path.glob(".*"))


def test_a_place_that_cannot_be_written_is_told_before_the_run(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place, reason in ((tmp_path / "file", "File exists"), (tmp_path / "file/x", "Not a direc")):
        with pytest.raises(JaxpartError, match=f"cannot be written: {reason}"):
            check_place(place)
    check_place(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(JaxpartError, match="cannot be written: Permission denied"):
        check_place(tmp_path / "a" / "b")
