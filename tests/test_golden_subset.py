"""The golden arrays that come with the tests are what was checked against."""

import hashlib

from conftest import SHARED, SUBSET


def test_the_files_are_those_that_were_made():
    lines = (SUBSET / "SHA256SUMS").read_text().splitlines()
    expected = {name.removeprefix("./"): digest for digest, name in map(str.split, lines)}
    found = {
        path.relative_to(SUBSET).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in SUBSET.rglob("*.*")
        if path.is_file() and path.name != "README.md"
    }
    assert found == expected
    if (SHARED / "golden").is_dir():
        assert set(lines) <= set((SHARED / "golden" / "SHA256SUMS").read_text().splitlines())
