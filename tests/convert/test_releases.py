"""Releases by name: the table is sound, and what is fetched is whole, or nothing is."""

import hashlib
import json
import socket
import threading

import pytest

from convert import releases
from convert.__main__ import main
from convert.families import FAMILIES
from convert.releases import RELEASES, Release
from jaxpart.errors import JaxpartError
from jaxpart.io.download import RemoteFile, fetch

DATA = bytes(range(256)) * 40
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_the_table_is_sound():
    assert {release.family for release in RELEASES.values()} == set(FAMILIES) - {"vit"}
    urls = [release.url for release in RELEASES.values() if release.url]
    assert len(set(urls)) == len(urls)
    for name, release in RELEASES.items():
        assert name == release.name
        assert release.layout in FAMILIES[release.family].layouts, name
        assert bool(release.url) != bool(release.by_hand), name
        assert release.url.startswith("https://") or not release.url
        assert release.licence, name
        assert release.citation.startswith("arXiv "), name
        stem = release.url.rpartition("/")[2].partition(".")[0]
        in_its_name, whole = stem.endswith(f"-{release.sha256}"), len(release.sha256) == 64
        assert release.sha256 == "" or in_its_name or whole, name
        assert set(release.sha256) <= set("0123456789abcdef"), name
        networks = FAMILIES[release.family].layout(release.layout).networks
        assert release.checkpoint_key in {None, *networks}, name


def test_the_list_names_all(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--list"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"@{name} " in printed for name in RELEASES)
    assert "SHA-256 b5f2ef4d…" in printed
    assert "no checksum published" in printed
    assert "ask its authors" in printed
    assert "Google Drive" in printed


@pytest.fixture
def offered(server, monkeypatch, tmp_path, golden):
    """`@small`, a DINO checkpoint that a server on this machine offers."""
    path = golden / "encoders/dino_full/dino_vitbase16_pretrain_full_checkpoint.pth"
    server.data = path.read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def offer(**changes):
        sha256 = hashlib.sha256(server.data).hexdigest()
        fields = {"sha256": sha256[:8], "checkpoint_key": "student"}
        fields["url"] = f"{server.address}/small-{sha256[:8]}.pth"
        fields |= {"name": "small", "family": "dino", "licence": "Apache-2.0", "epochs": "400"}
        fields |= {"citation": "arXiv 2104.14294", "data": "ImageNet-1k"}
        release = Release(**fields | changes)
        monkeypatch.setattr(releases, "RELEASES", {"small": release})

    offer()
    server.offer = offer
    return server


def convert_small(tmp_path, *options):
    return main(["dino", "@small", str(tmp_path / "out"), "--num-heads", "3", *options])


def test_a_release_is_fetched_once_and_converted(offered, tmp_path):
    assert convert_small(tmp_path) == 0
    source = json.loads((tmp_path / "out/encoder.json").read_text())["source"]
    assert source["checkpoint_key"] == "student"
    assert source["sha256"] == hashlib.sha256(offered.data).hexdigest()
    assert convert_small(tmp_path, "--overwrite", "--checkpoint-key", "teacher") == 0
    assert offered.asked == [None]


def test_what_goes_wrong_is_told_and_leaves_nothing(offered, tmp_path, capsys):
    def told():
        assert convert_small(tmp_path) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err.splitlines()[-1]

    offered.offer(sha256="0badc0de")
    assert "instead of 0badc0de; it was removed, try again" in told()
    assert not list((tmp_path / "cache").rglob("*.pth*"))
    offered.offer(url="", by_hand="ask the author")
    assert (
        "@small cannot be downloaded automatically: ask the author; then pass the file itself"
        in told()
    )
    assert main(["ibot", "@small", str(tmp_path / "out")]) == 2
    assert (
        "of the family dino, not ibot: python -m convert dino @small OUT" in capsys.readouterr().err
    )
    assert main(["dino", "@large", str(tmp_path / "out")]) == 2
    assert "there is no release @large; choose from @small" in capsys.readouterr().err


def test_no_network_is_told(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.pth"
    with pytest.raises(JaxpartError, match=r"cannot be downloaded \(.*refused.*check the network"):
        fetch(RemoteFile(url), tmp_path)
    with pytest.raises(JaxpartError, match=r"cannot be downloaded \(.*check the network"):
        fetch(RemoteFile("http://no-such-host.invalid/file.pth"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def remote(server):
    server.data = DATA
    return RemoteFile(f"{server.address}/file.pth", DIGEST[:8])


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_is_gone_on_with(server, remote, tmp_path, ranges):
    server.limit, server.ranges = 3000, ranges
    with pytest.raises(
        JaxpartError, match=r"was cut off after 3000 of 10240 bytes; rerun the command"
    ):
        fetch(remote, tmp_path)
    server.limit = None
    assert fetch(remote, tmp_path).read_bytes() == DATA
    assert server.asked == [None, "bytes=3000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["file.pth"]


def test_a_part_of_another_version_is_not_gone_on_with(server, tmp_path):
    remote = RemoteFile(f"{server.address}/file.pth")  # no checksum would tell
    server.data, server.limit = b"old" * 1000, 2000
    with pytest.raises(JaxpartError, match="was cut off"):
        fetch(remote, tmp_path)
    server.data, server.limit = DATA, None
    assert fetch(remote, tmp_path).read_bytes() == DATA


def test_a_whole_part_and_a_spoilt_file(server, remote, tmp_path):
    (tmp_path / "file.pth.part").write_bytes(DATA)
    assert fetch(remote, tmp_path).read_bytes() == DATA
    assert server.asked == [f"bytes={len(DATA)}-"]
    (tmp_path / "file.pth").write_bytes(DATA[:-1] + b"x")
    assert fetch(remote, tmp_path).read_bytes() == DATA


def test_a_missing_file_is_told(server, tmp_path):
    with pytest.raises(JaxpartError, match=r"missing\.pth cannot be downloaded: 404 Not Found"):
        fetch(RemoteFile(f"{server.address}/missing.pth"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_others_that_fetch_the_same_wait(server, remote, tmp_path):
    server.delay = 0.2
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(remote, tmp_path).read_bytes()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [DATA] * 3
    assert server.asked == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["file.pth"]
