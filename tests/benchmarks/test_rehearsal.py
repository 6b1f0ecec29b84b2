"""The stand-ins of the official data sets are read as these are, and the rehearsal measures all of them."""

import pytest
from ml_collections import ConfigDict

from benchmarks import rehearsal, stand_ins
from jaxpart.data.checking import record_faults
from jaxpart.data.sets import SETS, open_splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("rehearsal") / "sets"
    stand_ins.make_all(root, 1e-4)
    return root


@pytest.mark.parametrize("name", rehearsal.NAMES[:-1])
def test_stand_ins_have_no_fault(folder, name):
    sources = open_splits(name, ConfigDict({"root": str(folder)}))
    splits = [split for split in SETS[name].splits if (name, split) != ("imagenet", "train")]
    assert list(sources) == splits
    for source in sources.values():
        assert len(source) >= 4
        assert not list(record_faults(source[0], source.info))


def test_every_set_and_the_features_are_measured(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # which a process of its own would set
    monkeypatch.setattr(rehearsal, "in_fresh_process", lambda function, *given: function(*given))
    names = ("coco_person_parts", "lip", "features")
    rows = list(rehearsal.measured(1e-4, names, folder))
    assert all(row.ours > 0 for row in rows)
    goals = {row.goal for row in rows}
    assert goals == {"", "≤ 3 s", "≥ 150 crops/s", "≥ 1 GB/s"}
