"""The verdicts on the paper's claims in the studies of a report."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from jaxpart.io.files import parse_json, path_of
from jaxpart.study.claims import CLAIMS
from jaxpart.study.entries import read_study
from jaxpart.study.verdicts import Judged, judge


def claims_of(folders: Sequence[str | pathlib.Path]) -> list[tuple[str, list[Judged]]]:
    """The verdicts of each study among the work directories; a run of a single encoder has none.

    Returns:
      Each study's folder and its verdicts.

    Raises:
      JaxpartError: The results of a study are damaged.
    """
    verdicts = []
    for folder in map(path_of, folders):
        if "entries" in parse_json((folder / "results.json").read_bytes()):
            verdicts.append((str(folder), judge(read_study(folder).entries, CLAIMS)))
    return verdicts
