"""Files and folders that are there whole or not at all."""

import contextlib
import os
import pathlib

import pytest

from jaxpart.errors import JaxpartError
from jaxpart.io import files
from jaxpart.io.files import moved_into_place, replacing, write_folder


def test_a_folder_that_cannot_be_moved_into_place_leaves_the_old_one(tmp_path, monkeypatch):
    out = tmp_path / "encoder"
    write_folder(out, lambda folder: (folder / "weights").write_text("old"))
    replace = os.replace

    def fail(source, target):
        if ".writing-" in str(source):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(JaxpartError, match="No space left"):
        write_folder(out, lambda folder: (folder / "weights").write_text("new"))
    assert (out / "weights").read_text() == "old"
    assert os.listdir(tmp_path) == ["encoder"]


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "file"

    def write(text):
        with replacing(path) as temporary:
            temporary.write_text(text)
            if text == "bad":
                pathlib.Path(tmp_path / "none" / "none").write_text("")

    write("good")
    with pytest.raises(JaxpartError, match="cannot be written: No such file"):
        write("bad")
    assert path.read_text() == "good"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("when", ["before the lock", "before the path is looked at"])
def test_a_temporary_file_that_another_process_removes_is_made_again(tmp_path, monkeypatch, when):
    lock, removed = files._lock, []

    @contextlib.contextmanager
    def late(path):
        if not removed and when == "before the lock":
            removed.append(path.unlink())
        with lock(path) as descriptor:
            if not removed:
                removed.append(path.unlink())
            yield descriptor

    monkeypatch.setattr(files, "_lock", late)
    with moved_into_place(tmp_path / "file") as temporary:
        temporary.write_text("whole")
    assert removed == [None]
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "whole"
