"""Fetching from a local server: resumed, checked, unpacked safely, or told in one sentence."""

import hashlib
import io
import os
import socket
import stat
import tarfile
import zipfile

import pytest

from jaxpart.data.archives import ARCHIVES, Archive, download
from jaxpart.data.locking import locked
from jaxpart.errors import JaxpartError

FILES = {"SET/a/1.txt": b"one" * 5000, "SET/2.txt": b"two", "other.txt": b"left out"}


def zipped(files=FILES, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return file.getvalue()


def tarred(files=FILES, link=None):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))
        if link:
            entry = tarfile.TarInfo("SET/link")
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            packed.addfile(entry)
    return file.getvalue()


def archive(server, data, path="set.zip?download=1", sha256=None):
    server.data = data
    known = hashlib.sha256(data).hexdigest() if sha256 is None else sha256
    return (Archive(f"{server.address}/{path}", known, ("SET",), "sub"),)


def unpacked(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".download.lock"
    }


EXPECTED = {f"sub/{name}": data for name, data in FILES.items() if name.startswith("SET")}


@pytest.mark.parametrize(("data", "path"), [(zipped(), "set.zip"), (tarred(), "set.tgz")])
def test_archives_are_fetched_and_unpacked_once(server, tmp_path, data, path):
    archives = archive(server, data, path)
    assert download(archives, tmp_path) == [tmp_path / "sub/SET"]
    assert unpacked(tmp_path) == EXPECTED
    assert download(archives, tmp_path) == [tmp_path / "sub/SET"]
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_is_told_and_gone_on_with(server, tmp_path, ranges):
    archives = archive(server, zipped())
    server.limit, server.ranges = 1000, ranges
    with pytest.raises(
        JaxpartError, match=r"was cut off after 1000 of \d+ bytes; rerun the command"
    ):
        download(archives, tmp_path)
    assert (tmp_path / "set.zip.part").stat().st_size == 1000
    assert not (tmp_path / "sub/SET").exists()
    server.limit = None
    download(archives, tmp_path)
    assert unpacked(tmp_path) == EXPECTED
    assert server.asked == [None, "bytes=1000-"]


def test_a_wrong_checksum_is_told_and_the_file_removed(server, tmp_path):
    archives = archive(server, zipped(), sha256="0" * 64)
    with pytest.raises(JaxpartError, match=r"instead of 0000.*it was removed, try again"):
        download(archives, tmp_path)
    assert unpacked(tmp_path) == {}


def test_too_long_a_part_is_removed(server, tmp_path):
    archives = archive(server, zipped())
    (tmp_path / "set.zip.part").write_bytes(b"x" * (len(server.data) + 5))
    with pytest.raises(
        JaxpartError, match=r"set\.zip\.part is longer than .*it was removed, try again"
    ):
        download(archives, tmp_path)
    download(archives, tmp_path)
    assert unpacked(tmp_path) == EXPECTED


def test_no_network_and_no_file_are_told(server, tmp_path):
    missing = (Archive(f"{server.address}/missing.zip", "", ("SET",)),)
    with pytest.raises(JaxpartError, match=r"missing\.zip cannot be downloaded: 404"):
        download(missing, tmp_path)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/set.zip"
    with pytest.raises(
        JaxpartError, match=r"set\.zip cannot be downloaded \(.*refused.*check the network"
    ):
        download((Archive(url, "", ("SET",)),), tmp_path)


def linked():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        entry = zipfile.ZipInfo("SET/link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(entry, "/etc/passwd")
    return file.getvalue()


def changed_zip(offset, byte):
    """The field of a member's headers at an offset of the local one, which the central one has 2 on."""
    data = bytearray(zipped({"SET/one": b"x"}))
    central = data.index(b"PK\x01\x02")
    data[offset : offset + 1] = data[central + offset + 2 : central + offset + 3] = byte
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped({"SET/../../evil": b"x"}), "'SET/../../evil' in it points outside its folder"),
        (zipped({"/SET/evil": b"x"}), "'/SET/evil' in it points outside"),
        (tarred({"SET/../../evil": b"x"}), "is damaged .* outside"),
        (tarred(link="/etc"), "is damaged .*absolute"),
        (linked(), "SET/link in it is not a regular file"),
        (zipped({"OTHER/a": b"x"}), "does not contain SET"),
        (zipped()[:-30], "is damaged"),
        (zipped().replace(b"two", b"owt", 1), "is damaged"),
        (tarred()[:-60], "is damaged"),
        (b"<html>sorry</html>", "is damaged"),
        (changed_zip(6, b"\x01"), "SET/one in it is encrypted"),
        (changed_zip(8, b"\x63"), "SET/one in it is compressed by method 99"),
        (zipped({"SET/" + "a" * 300: b"x"}), "is not a file name"),
        (zipped({"SET/a": b"x", "SET/a/b": b"x"}), "is damaged"),
        (tarred({"SET/a/b": b"x", "SET/a": b"x"}), "is damaged"),
        (
            zipped({"SET/one": bytes(80 << 20)}, zipfile.ZIP_DEFLATED),
            "more than 100 times its size",
        ),
    ],
)
def test_hostile_and_damaged_archives_leave_nothing(server, tmp_path, data, message):
    name = "set.tgz" if data.startswith(b"\x1f\x8b") else "set.zip"
    archives = archive(server, data, name, sha256="")
    with pytest.raises(JaxpartError, match=message) as told:
        download(archives, tmp_path / "out")
    assert len(str(told.value).splitlines()) == 1
    assert [left for left in unpacked(tmp_path) if left != name] == []
    assert not (tmp_path / "out/sub/SET").exists()


def test_a_full_disk_is_told(server, tmp_path, monkeypatch):
    archives = archive(server, zipped())
    (tmp_path / "set.zip.part").symlink_to("/dev/full")
    with pytest.raises(JaxpartError, match="cannot be written: No space left on device"):
        download(archives, tmp_path)
    os.unlink(tmp_path / "set.zip.part")
    (tmp_path / "file").write_text("")
    with pytest.raises(JaxpartError, match="file cannot be written: File exists"):
        download(archives, tmp_path / "file")


def test_two_at_once_are_told(server, tmp_path):
    archives = archive(server, zipped())
    with (
        locked(tmp_path / ".download.lock", "downloading"),
        pytest.raises(
            JaxpartError, match=r"another process is downloading to .*; wait until it is done"
        ),
    ):
        download(archives, tmp_path)


def test_what_is_offered():
    files = {
        name: [archive.file.name for archive in archives] for name, archives in ARCHIVES.items()
    }
    assert files == {
        "cub_parts": ["CUB_200_2011.tgz"],
        "coco_person_parts": ["annotations_trainval2017.zip", "val2017.zip", "train2017.zip"],
        "ade20k": ["ADEChallengeData2016.zip"],
        "ade20k_object": ["ADEChallengeData2016.zip"],
    }
