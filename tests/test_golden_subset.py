"""The golden arrays that come with the tests are what was checked against."""

import hashlib
import pathlib

SUBSET = pathlib.Path(__file__).resolve().parent / "golden"


def _listed() -> list[str]:
    return (SUBSET / "SHA256SUMS").read_text().splitlines()


def test_the_files_are_those_that_were_made():
    expected = {name.removeprefix("./"): digest for digest, name in map(str.split, _listed())}
    found = {
        path.relative_to(SUBSET).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in SUBSET.rglob("*.*")
        if path.is_file() and path.name != "README.md"
    }
    assert found == expected


def test_the_subset_is_one_of_the_shared_goldens(shared):
    assert set(_listed()) <= set((shared / "golden" / "SHA256SUMS").read_text().splitlines())
