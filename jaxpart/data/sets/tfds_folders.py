"""Finds folders prepared by tensorflow-datasets, and checks that they are safe to open."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Sequence

from jaxpart.data.folders import read_file
from jaxpart.errors import JaxpartError, first_line
from jaxpart.io.files import parse_json

PREFIX = "tfds:"
ADVICE = "prepare it with tensorflow-datasets, with file_format='array_record'"
_NAME = re.compile(r"tfds:([a-zA-Z]\w*)(?:/(\w[\w.=+-]*))?(?::(\d+\.\d+\.\d+))?", re.ASCII)
_VERSION = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
_FEATURES = "tensorflow_datasets.core.features."


def damaged(folder: pathlib.Path, error: object) -> JaxpartError:
    """The error for a folder that cannot be read."""
    reason = first_line(error) if isinstance(error, Exception) else error
    return JaxpartError(f"{folder} is damaged or incomplete ({reason}); prepare it again")


def find_folder(name: str, root: str) -> pathlib.Path:
    """The folder of a version. Raises `JaxpartError` if it is missing or the configuration is ambiguous."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise JaxpartError(f"{name!r} is not a data set; write tfds:NAME/CONFIG:VERSION")
    base = pathlib.Path(root or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    base = base.expanduser()
    folder, config, version = base / match[1], match[2], match[3]
    if config is None and folder.is_dir() and not _versions(folder):
        configs = sorted(path.name for path in folder.iterdir() if _versions(path))
        if len(configs) > 1:
            raise JaxpartError(
                f"{folder} has several configurations; choose {name} with one of {', '.join(configs)}: "
                f"tfds:{match[1]}/{configs[0]}"
            )
        config = configs[0] if configs else None
    folder = folder / config if config else folder
    versions = _versions(folder)
    if version is None and versions:
        version = versions[-1]
    if version not in versions:
        available = f"; it has {', '.join(versions)}" if versions else ""
        raise JaxpartError(
            f"{folder} holds no prepared data set{f' of version {version}' if version else ''}{available}; "
            f"{ADVICE}, or pass its data directory as --config.data.root or TFDS_DATA_DIR"
        )
    return folder / version


def _versions(folder: pathlib.Path) -> list[str]:
    """Names of the version folders, oldest first."""
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if _VERSION.fullmatch(path.name)]
    return sorted(names, key=lambda name: [int(number) for number in name.split(".")])


def check_features(folder: pathlib.Path) -> None:
    """Raises `JaxpartError` if a feature would import a module outside tensorflow-datasets."""
    path = folder / "features.json"
    try:
        pending = [parse_json(read_file(path))]
    except ValueError as error:
        raise damaged(path, error) from error
    while pending:
        tree = pending.pop()
        if isinstance(tree, dict):
            # protobuf JSON has both spellings; older files have "type"
            for key in ("pythonClassName", "python_class_name", "type"):
                kind = tree.get(key)
                if isinstance(kind, str) and not kind.startswith(_FEATURES):
                    raise JaxpartError(
                        f"{path} names a feature {kind!r}, which is not part of tensorflow-datasets; "
                        "prepare the data set with its own features only"
                    )
            pending += tree.values()
        elif isinstance(tree, list):
            pending += tree


def check_shards(folder: pathlib.Path, files: Sequence[str], lengths: Sequence[int]) -> None:
    """Raises `JaxpartError` if a shard cannot be opened, or does not hold the stated number of records."""
    from array_record.python import array_record_module

    for file, length in zip(files, lengths, strict=True):
        try:
            records = array_record_module.ArrayRecordReader(str(file)).num_records()
        except Exception as error:
            raise damaged(folder, error) from error
        if records != length:
            name = pathlib.Path(file).name
            raise damaged(folder, f"{name} has {records} of {length} records")
