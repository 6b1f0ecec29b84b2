"""`python -m jaxpart.data list | prepare | check | download`: data sets on your disk."""

from __future__ import annotations

from jaxpart import terminal

terminal.begin(__name__)

import argparse
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

from jaxpart.data.archives import ARCHIVES, download
from jaxpart.data.checking import check_source
from jaxpart.data.critters import CRITTERS_VERSION, Critters
from jaxpart.data.palettes import PUBLISHED
from jaxpart.data.prepared import read_about
from jaxpart.data.preparing import prepare, prepare_own
from jaxpart.data.sets import (
    ALIASES,
    SETS,
    find_set,
    open_official,
    open_set,
    open_splits,
    open_whole,
)
from jaxpart.data.sets.tfds_features import Stated
from jaxpart.data.sets.tfds_folders import PREFIX
from jaxpart.data.source import DatasetInfo, Source
from jaxpart.data.splits import compare_splits, unseen_labels
from jaxpart.errors import JaxpartError
from jaxpart.runs.progress import Progress

_SHOWN_FAULTS = 200


def _list(args: argparse.Namespace) -> int:
    alias_of = {name: alias for alias, name in ALIASES.items()}
    for name, entry in SETS.items():
        hint = f" (or {alias_of[name]})" if name in alias_of else ""
        print(f"{name}{hint}: {entry.content}")
        print(f"    splits   {', '.join(entry.all_splits)}")
        if name in PUBLISHED:
            print("    colours  as published, for pictures of its classes")
        print(f"    licence  {entry.licence}")
        print(
            f"    source   {'`download` fetches it; or ' if name in ARCHIVES else ''}{entry.advice}"
        )
    return 0


def _prepare(args: argparse.Namespace) -> int:
    if ":" in args.name and not args.name.startswith(PREFIX):
        folder, opened_as = prepare_own(args.name, args.out)
        print(f"written to {folder}; open it as {opened_as}, with {args.out} as its root")
        return 0
    name, _ = find_set(args.name)
    if name.startswith(PREFIX):
        raise JaxpartError(f"{name} is already prepared by tensorflow-datasets; use it as is")
    sources = _open_requested(name, args, open_official)
    whole = open_whole(name, sources, args)
    folder, summaries = prepare(
        name, sources, args.out, whole=whole, skip=args.skip_bad, workers=args.workers
    )
    if not summaries:
        print(f"{folder} is already complete and up to date; nothing to do")
        return 0
    about = read_about(folder)
    for split, summary in summaries.items():
        print(f"{name} ({split}): {summary}{_count_names(sources[split].info)}")
        for remark in sources[split].info.remarks:
            print(f"  {remark}")
        skipped = about.splits[split].skipped
        if skipped:
            print(f"{name} ({split}): {len(skipped)} skipped; the first: {skipped[0][1]}")
    print(f"written to {folder}")
    return 0


def _check(args: argparse.Namespace) -> int:
    name, entry = find_set(args.name)
    if args.baselines and name != "critters":
        raise JaxpartError(
            f"--baselines is for critters, not {name}; for other sets, retrieval reports baselines"
        )
    if args.train and not args.baselines:
        raise JaxpartError("--train is for --baselines, which is missing; add it")
    stated = _stated(args)
    if any(stated.values()) and not name.startswith(PREFIX):
        flag = next(key for key, value in stated.items() if value).replace("_", "-")
        raise JaxpartError(f"--{flag} is for {PREFIX}NAME, not {name}; leave it out")
    faults: list[str] = []
    sources = _open_requested(name, args, open_set, faults)
    remarks, split_faults = compare_splits(entry, sources, args.root)
    for split, source in sources.items():
        with Progress().bar(f"{name} ({split}): checking", len(source)) as advance:
            summary, problems = check_source(source, workers=args.workers, progress=advance)
        print(f"{name} ({split}): {summary}{_count_names(source.info)}; {len(problems)} faults")
        for line in (*source.info.remarks, *unseen_labels(source.info, summary.labels)):
            print(f"  {line}")
        faults += problems
    for line in remarks:
        print(f"  {line}")
    faults += split_faults
    for fault in faults[:_SHOWN_FAULTS]:
        print(f"  {fault}")
    if len(faults) > _SHOWN_FAULTS:
        print(f"  and {len(faults) - _SHOWN_FAULTS} more")
    target_missed = _controls(args) if args.baselines else False
    return 1 if faults or target_missed else 0


def _controls(args: argparse.Namespace) -> bool:
    """Prints how well pixels and simple models do on critters; returns whether a target is missed."""
    from jaxpart.study import controls  # needs JAX, which is slow

    def critters(split: str, images: int) -> Critters:
        size, seed, version = args.image_size, args.seed, args.version
        return Critters(split, images, image_size=size, seed=seed, version=version)

    test = critters("test", args.num_images)
    scores = controls.untrained_controls(test, Progress())
    if args.train:
        trained = controls.kind_controls if args.labels == "kinds" else controls.part_controls
        scores += trained(critters("train", args.train), test, Progress())
    for control in scores:
        low, high = control.low, control.high
        target = "" if low is None else f"at least {100 * low:.1f}"
        target += "" if high is None else f"at most {100 * high:.1f}"
        verdict = "" if not target else "ok" if control.passed else "MISSED"
        print(f"  {control.name:48} {100 * control.value:5.1f}  {target:14} {verdict}".rstrip())
    return not all(control.passed for control in scores)


def _download(args: argparse.Namespace) -> int:
    name, entry = find_set(args.name)
    if name not in ARCHIVES:
        raise JaxpartError(
            f"{name} cannot be downloaded automatically ({entry.licence}); request it yourself: "
            f"{entry.advice}"
        )
    for folder in download(ARCHIVES[name], args.out):
        print(folder)
    return 0


def _open_requested(
    name: str,
    args: argparse.Namespace,
    opener: Callable[[str, str, argparse.Namespace], Source],
    faults: list[str] | None = None,
) -> dict[str, Source]:
    """The splits requested on the command line, see `open_splits`."""
    entry = find_set(name)[1]
    if not args.root and entry.open is not None and not name.startswith(PREFIX):
        raise JaxpartError(f"pass --root FOLDER, the folder that holds {name}; {entry.advice}")
    if name.startswith(PREFIX):
        args.tfds = _stated(args)
    splits = args.splits or ()
    return open_splits(name, args, splits, opener=opener, progress=Progress(), faults=faults)


def _stated(args: argparse.Namespace) -> dict[str, Any]:
    """The options that describe a tensorflow-datasets data set."""
    return {field.name: getattr(args, field.name) for field in dataclasses.fields(Stated)}


def _count_names(info: DatasetInfo) -> str:
    """The number of keypoints, classes and labels of a data set, as text."""
    counts = {
        "kinds of keypoint": len(info.part_names),
        "classes": len(info.class_names),
        **{f"labels of mask {kind!r}": len(names) - 1 for kind, names in info.mask_names.items()},
    }
    return "".join(f", {count} {noun}" for noun, count in counts.items() if count)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jaxpart.data", description="The data sets of the study on your disk."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="show all data sets")
    listing.set_defaults(run=_list)
    preparing = commands.add_parser(
        "prepare", help="write array_record shards, which are read much faster"
    )
    preparing.set_defaults(run=_prepare)
    checking = commands.add_parser("check", help="read everything once and list the problems")
    checking.set_defaults(run=_check)
    fetching = commands.add_parser("download", help="download and unpack, where allowed")
    fetching.set_defaults(run=_download)
    for command in (preparing, checking, fetching):
        own = "; or your own tensorflow-datasets builder, path.py:CLASS" * (command is preparing)
        command.add_argument("name", metavar="NAME", help=", ".join(SETS) + own)
    for command in (preparing, checking):
        command.add_argument("--root", default="", metavar="FOLDER", help="folder of the data set")
        command.add_argument("--splits", nargs="+", metavar="SPLIT", help="default: all")
        command.add_argument(
            "--workers", type=terminal.count(1), metavar="N", help="default: one per core"
        )
        command.add_argument(
            "--num-images",
            type=terminal.count(1),
            default=2000,
            metavar="N",
            help="critters: images per split",
        )
        command.add_argument(
            "--image-size",
            type=terminal.count(32),
            default=96,
            metavar="N",
            help="critters: side in pixels",
        )
        command.add_argument(
            "--seed", type=terminal.count(0), default=0, metavar="N", help="critters: seed"
        )
        command.add_argument(
            "--version",
            type=int,
            choices=(1, 2),
            default=CRITTERS_VERSION,
            help="critters: version",
        )
    checking.add_argument(
        "--baselines",
        action="store_true",
        help="critters: also score pixels and an untrained encoder",
    )
    checking.add_argument(
        "--train",
        type=terminal.count(0),
        default=0,
        metavar="N",
        help="critters, with --baselines: also train on the labels of N images",
    )
    checking.add_argument(
        "--labels", choices=("parts", "kinds"), default="parts", help="labels for --train"
    )
    tfds_options = checking.add_argument_group("how to read a tensorflow-datasets data set")
    tfds_options.add_argument(
        "--label-map", default="", metavar="FEATURE", help="feature with the label maps"
    )
    tfds_options.add_argument(
        "--classes", nargs="+", default=(), metavar="VALUE=NAME", help="classes of the label maps"
    )
    tfds_options.add_argument(
        "--ignored",
        nargs="+",
        type=terminal.count(0),
        default=(),
        metavar="VALUE",
        help="values to ignore",
    )
    tfds_options.add_argument(
        "--keypoints", default="", metavar="FEATURE", help="feature with the keypoints"
    )
    tfds_options.add_argument(
        "--parts", nargs="+", default=(), metavar="NAME", help="names of the keypoints, in order"
    )
    for command in (preparing, fetching):
        command.add_argument("--out", required=True, metavar="FOLDER", help="output folder")
    preparing.add_argument("--skip-bad", action="store_true", help="skip and list invalid records")
    return parser


@terminal.entry_point
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status: 1 if a check found faults, 2 for an error."""
    args = _parser().parse_args(arguments)
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
