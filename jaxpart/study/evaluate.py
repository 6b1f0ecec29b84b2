"""Runs a study: measures every encoder in its own work directory, then makes one table."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from jaxpart import devices, tasks
from jaxpart.config import part_config
from jaxpart.data.folders import NotThere
from jaxpart.data.sets import find_set, open_set
from jaxpart.errors import JaxpartError
from jaxpart.evaluation import expected, measure
from jaxpart.io.files import parse_json
from jaxpart.runs.config_checks import check_config
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import read_rows
from jaxpart.runs.table import sections_text
from jaxpart.runs.workdir import WorkDir, config_changes
from jaxpart.study.claims import CLAIMS
from jaxpart.study.entries import STORED, Entry, Study, merge, options_of, read_study
from jaxpart.study.figures import baseline_figures, figures_of, interval_note, table_section
from jaxpart.study.members import Member, find_members
from jaxpart.study.verdicts import claims_section, judge
from jaxpart.tasks.estimate import Estimate
from jaxpart.tasks.segmentation.options import setting_name, setting_of


def run_study(config: Any, path: pathlib.Path, progress: Progress) -> Study:
    """Measures every encoder that a configuration names; writes results.json for each and for all.

    An interrupted study resumes: encoders that have results are not run again.

    Args:
      config: See `jaxpart.config.study_config`.
      path: The study's work directory; each encoder's is a folder in it.
      progress: Shows the progress.

    Returns:
      The results; with `config.seeds` above 1, including the stored results of the other seeds.

    Raises:
      JaxpartError: The configuration, an encoder or a work directory is wrong.
    """
    check_config(config)  # reports mistakes before anything is written
    tasks.chosen(config)
    members = find_members(config.encoders)
    for member in members:
        check_config(member_config(config, member))
    options = json.loads(config.to_json_best_effort())
    stored = _stored(config, options)
    workdir = WorkDir(path, options, writes=devices.is_main())
    workdir.belongs_to("the list of encoders", ", ".join(sorted(m.label for m in members)))
    for member in members:
        workdir.belongs_to(f"the encoder {member.label}", member.digest)
    _record_data(config, workdir)
    entries = []
    for number, member in enumerate(members, 1):
        progress.say(f"encoder {number} of {len(members)}: {member.label}")
        results = _measured(config, member, path / member.label, progress)
        encoder = results["encoder"]
        rows = read_rows(results, path / member.label)
        entries.append(Entry(member.row, member.seed, encoder, member.pretraining, rows))
    study = merge([Study(options_of(options), entries), *stored])
    figures = {
        row: [key._asdict() | dataclasses.asdict(figure) for key, figure in figures_of_row.items()]
        for row, figures_of_row in figures_of(study.entries).items()
    }
    judged = [dataclasses.asdict(claim) for claim in judge(study.entries, CLAIMS)]
    runs = [member.label for member in members]
    workdir.finish(study.document() | {"figures": figures, "claims": judged, "runs": runs})
    return study


def expected_of_study(config: Any, progress: Progress) -> Iterator[Estimate]:
    """The cost of each encoder's tasks: see `jaxpart.evaluation.expected`."""
    check_config(config)
    for member in find_members(config.encoders):
        for cost in expected(member_config(config, member), progress):
            yield cost._replace(what=f"{member.label}, {cost.what}")


def _record_data(config: Any, workdir: WorkDir) -> None:
    """Binds the folder to the data that a study reads, since existing results are not measured again."""
    names = list(config.data.sets) if set(config.tasks) != {"segmentation"} else []
    if "segmentation" in config.tasks:
        options = config.segmentation
        known = (name for name in options.sets if setting_name(name) in options.settings)
        names += [setting_of(options, name).data for name in known]
    for name in dict.fromkeys(names):
        for split in find_set(name)[1].all_splits:
            with contextlib.suppress(NotThere):
                workdir.reads(name, open_set(name, split, config.data))


def study_text(study: Study) -> str:
    """The table and the claims as text."""
    count = len(study.entries)
    title = f"{count} encoder{'s' if count > 1 else ''}; {interval_note(study.entries)}"
    if baseline_figures(study.entries):
        title += "; °: retrieves no better than chance or pixels"
    sections = [table_section(study.entries), claims_section(judge(study.entries, CLAIMS))]
    return sections_text(title, sections)


def _stored(config: Any, options: dict[str, Any]) -> list[Study]:
    """The stored results of the other seeds that a configuration requests."""
    if config.seeds == 1:
        return []
    study = read_study(STORED)
    seeds = {entry.seed for entry in study.entries}
    seeds_wanted = set(range(config.seeds))
    if not seeds_wanted <= seeds:
        raise JaxpartError(
            f"results of {config.seeds} pretrainings of each method are requested, but those of "
            f"{len(seeds)} are stored; train encoders with other seeds using `python -m "
            "jaxpart.pretraining.zoo --rebuild --seed N "
            f"--out FOLDER` and name their folders in --config.encoders"
        )
    current = options_of(options)
    differing = [
        k for k in sorted(current.keys() | study.options) if current.get(k) != study.options.get(k)
    ]
    if differing:
        raise JaxpartError(
            f"the stored results of several pretrainings were measured with other options of "
            f"{', '.join(differing)} than this study has; leave out config.seeds, or name folders of "
            f"encoders of all seeds in --config.encoders to measure them again"
        )
    chosen = [entry for entry in study.entries if entry.seed in seeds_wanted]
    return [dataclasses.replace(study, entries=chosen)]


def _measured(
    config: Any, member: Member, path: pathlib.Path, progress: Progress
) -> dict[str, Any]:
    """An encoder's results, measured now unless they exist."""
    run_config = member_config(config, member)
    file = path / "results.json"
    if not file.is_file():
        return measure(run_config, path, progress)
    try:
        results = parse_json(file.read_bytes())
        before = parse_json((path / "config.json").read_bytes())
        digest = results["encoder"]["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JaxpartError(f"{path} is damaged ({error!r}); delete it to measure again") from error
    if config_changes(before, json.loads(run_config.to_json_best_effort())):
        raise JaxpartError(f"{path} was measured with other options; name another --workdir")
    if digest != member.digest:
        raise JaxpartError(
            f"{path} belongs to an encoder with other weights than {member.folder} has now; name another "
            f"--workdir"
        )
    return results


def member_config(config: Any, member: Member) -> ConfigDict:
    """The configuration of one encoder of a study, without the representations that it lacks.

    The heads have the seed of the pretraining, and the images are the same for all seeds: an interval over
    seeds covers everything random except the images.
    """
    run_config = ConfigDict(config.to_dict())
    del run_config.encoders
    run_config.seeds = 1
    run_config.seed = config.seed if member.seed is None else member.seed
    run_config.method = member.method
    run_config.encoder = part_config("", "", projector=True).encoder
    run_config.encoder.checkpoint, run_config.encoder.small = str(member.folder), ""
    projector, prefix = member.architecture.projector, member.architecture.prefix
    missing = {"cls_token"} - {f"{name}_token" for name in prefix}
    if projector is None or projector.kind == "classifier":
        missing.add("projection")
    run_config.retrieval.representations = tuple(
        name for name in run_config.retrieval.representations if name not in missing
    )
    for task in ("classification", "object_classification"):
        heads = run_config[task]
        heads.linear.representations = tuple(
            name for name in heads.linear.representations if name not in missing
        )
        if not heads.linear.representations:
            heads.heads = tuple(name for name in heads.heads if name != "linear")
    return run_config
