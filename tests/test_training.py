"""The training loop: resumed bitwise, ended by SIGTERM, stopped by what is not finite."""

import os
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpart import devices, terminal
from jaxpart.errors import JaxpartError
from jaxpart.io.checkpoints import Checkpointer
from jaxpart.training import Stopped, fit


class Batch(NamedTuple):
    arrays: np.ndarray
    ids: tuple[str, ...]


class Numbers:
    """Batches of 8 numbers that depend on their place alone."""

    def __init__(self, poison=None, on_batch=lambda number: None):
        self.number, self.poison, self.on_batch = 0, poison, on_batch

    def __next__(self):
        self.on_batch(self.number)
        values = np.random.default_rng(self.number).normal(size=8).astype(np.float32)
        if self.number == self.poison:
            values[3] = np.nan
        self.number += 1
        return Batch(values, tuple(f"item{i}" for i in range(8)))

    def get_state(self):
        return {"number": self.number}

    def set_state(self, state):
        self.number = state["number"]


@jax.jit
def step(state, batch):
    weight = 0.9 * state["weight"] + batch.mean()
    return {"weight": weight, "key": state["key"] + 1}, {"loss": weight**2}


def fresh():
    return devices.replicate({"weight": jnp.float32(1), "key": jnp.arange(2, dtype=jnp.uint32)})


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_resumed_run_is_bitwise_the_undisturbed_one(number, status, tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "_begun", True)  # as in a command, where Ctrl-C saves, too
    asked = number
    whole = fit(step, fresh(), Numbers(), steps=7, put=devices.shard)
    losses = {}

    def log(number, metrics):
        losses[number] = float(metrics["loss"])

    def terminate(number):
        if number == 3:
            os.kill(os.getpid(), asked)

    with pytest.raises(Stopped) as stopped:
        fit(
            step,
            fresh(),
            Numbers(on_batch=terminate),
            steps=7,
            put=devices.shard,
            checkpointer=Checkpointer(tmp_path / "place"),
            log=log,
        )
    assert stopped.value.code == status
    assert sorted(losses) == [0, 1, 2, 3]
    checkpointer = Checkpointer(tmp_path / "place")
    resumed = fit(
        step, fresh(), Numbers(), steps=7, put=devices.shard, checkpointer=checkpointer, log=log
    )
    assert sorted(losses) == [0, 1, 2, 3, 4, 5, 6]
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value)
        assert resumed[name].dtype == value.dtype
        assert resumed[name].sharding == value.sharding
    checkpointer.delete()
    assert not list(tmp_path.iterdir())


def test_the_last_checkpoint_stays(tmp_path):
    checkpointer = Checkpointer(tmp_path, every_seconds=0)
    fit(step, fresh(), Numbers(), steps=3, put=devices.shard, checkpointer=checkpointer)
    checkpointer.wait()
    number, _, place = Checkpointer(tmp_path).restore(fresh())
    assert (number, place) == (3, {"number": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


def test_what_a_killed_process_did_not_remove_is_removed(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("jaxpart.io.checkpoints.remove_folder", lambda folder: None)
        two = Checkpointer(tmp_path)
        for number in (1, 2):
            two.save(number, fresh(), {})
        two.wait()
    assert Checkpointer(tmp_path).restore(fresh())[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_a_checkpoint_goes_to_whatever_devices_there_are(tmp_path):
    values = np.arange(8, dtype=np.float32)
    many = devices.shard_whole(values), devices.replicate(values[:3])
    one = jax.device_put((values, values[:3]), jax.local_devices()[1])
    for name, written, read in (("fewer", many, one), ("more", one, many)):
        checkpointer = Checkpointer(tmp_path / name)
        checkpointer.save(5, written, {})
        checkpointer.wait()
        like = jax.tree.map(lambda x: x + 1, read)
        step, found, _ = Checkpointer(tmp_path / name).restore(like)
        assert step == 5
        for ours, theirs in zip(found, read, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.sharding == theirs.sharding


def test_what_is_not_finite_stops_the_run():
    with pytest.raises(JaxpartError, match=r"nan at step 2, on the items item0, item1.*rate"):
        fit(step, fresh(), Numbers(poison=2), steps=5, put=devices.shard)


def test_checkpoint_of_another_structure_is_refused(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, fresh(), {})
    checkpointer.wait()
    with pytest.raises(JaxpartError, match=r"cannot be read .*delete it to start over"):
        Checkpointer(tmp_path).restore({"weight": devices.replicate(jnp.zeros(5))})


def test_unwritable_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JaxpartError, match="cannot be written"):
        Checkpointer(tmp_path / "file" / "place").save(1, fresh(), {})


def test_killed_while_its_checkpoints_were_removed(tmp_path, monkeypatch):
    folder = tmp_path / "head"
    finished = Checkpointer(folder)
    finished.save(3, fresh(), {})
    finished.wait()

    def killed(path, **options):
        (path / "3" / "place.json").unlink()
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(SystemExit):
            finished.delete()
    assert Checkpointer(folder).restore(fresh()) is None
    assert not list(tmp_path.iterdir())
