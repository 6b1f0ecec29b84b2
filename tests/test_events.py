"""TensorBoard events."""

import sys

import pytest

from jaxpart.errors import JaxpartError
from jaxpart.runs.rows import Row
from jaxpart.runs.workdir import WorkDir


def test_measurements_become_events(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    workdir = WorkDir(tmp_path / "run", {}, tensorboard=True)
    workdir.metric("train/loss", 0.5, step=3)
    workdir.row(Row("critters", "retrieval", "AP", 0.25, representation="embedding"))
    workdir.finish({})
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    found, content = {}, file.read_bytes()
    while content:  # records: length, its checksum, the event, its checksum
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        found |= {v.tag: (event.step, v.simple_value) for v in event.summary.value}
        content = content[16 + length :]
    assert found == {"train/loss": (3, 0.5), "critters/retrieval/embedding/AP": (0, 0.25)}


def test_the_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(JaxpartError, match="pip install tensorboardX"):
        WorkDir(tmp_path / "run", {}, tensorboard=True)
    assert not (tmp_path / "run").exists()
