"""Shared by the command lines: flags, processes, and error messages."""

from __future__ import annotations

import difflib
import itertools
import os
import pathlib
import runpy
import signal
import sys
import textwrap
from collections.abc import Callable
from typing import Any

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from jaxpart import config as configs
from jaxpart import devices, terminal
from jaxpart.errors import JaxpartError, first_line
from jaxpart.io.files import path_of
from jaxpart.runs.config_rules import Field, fields_of
from jaxpart.runs.workdir import check_place, default_workdir

_FLAGS = {
    "--config NAME": "the configuration: a file of your own, or a bundled one",
    "--config.FIELD=VALUE": "changes a field of it",
    "--workdir FOLDER": "resumes the run in it; by default a new one in ./runs",
    "--dry-run": "estimates images, disk space and time, and exits",
    "--coordinator HOST:PORT": "address of process 0, if there are several",
    "--num-processes N": "number of processes",
    "--process-id I": "index of this process, from 0",
}

_HELP = {"-h", "-help", "--help", "--helpfull"}

_CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, _FLAGS["--workdir FOLDER"])
_DRY_RUN = flags.DEFINE_boolean("dry-run", False, _FLAGS["--dry-run"])
_COORDINATOR = flags.DEFINE_string("coordinator", None, _FLAGS["--coordinator HOST:PORT"])
_NUM_PROCESSES = flags.DEFINE_integer("num-processes", None, _FLAGS["--num-processes N"])
_PROCESS_ID = flags.DEFINE_integer("process-id", None, _FLAGS["--process-id I"])


def _start(name: str) -> pathlib.Path:
    """Connects the processes, if there are several; returns the work directory.

    Args:
      name: Name of the configuration, for a new work directory.

    Raises:
      JaxpartError: --workdir is no folder or cannot be written, or the processes cannot connect.
    """
    logging.set_verbosity(logging.WARNING)  # the libraries' own messages do not concern the user
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # training saves its state first: `fit`
    devices.start(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    if _WORKDIR.value is not None and (not _WORKDIR.value or "\0" in _WORKDIR.value):
        raise JaxpartError(f"--workdir cannot be {_WORKDIR.value!r}; name a folder")
    # One folder for all processes: each writes its part of a checkpoint.
    path = path_of(devices.from_main(str(_WORKDIR.value or default_workdir(name))))
    if devices.is_main():  # others may lack the disk, on which they do not write
        check_place(path)
    return path


def _command_line(arguments: list[str]) -> list[str]:
    """The command line, with paths of bundled configurations and of the home folder resolved."""
    resolved = list(arguments)
    for i, argument in enumerate(resolved):
        flag, equals, path = argument.partition("=")
        if path.startswith("~/"):  # which shells leave as it is behind an equals sign
            path = os.path.expanduser(path)
            resolved[i] = f"{flag}={path}"
        if flag in ("--config", "-config"):
            if equals:
                resolved[i] = f"{flag}={configs.locate(path)}"
            elif i + 1 < len(resolved):
                resolved[i + 1] = configs.locate(resolved[i + 1])
    return resolved


def _parse(arguments: list[str]) -> None:
    """Parses flags with absl, whose errors become one sentence."""
    try:
        _, *unparsed = flags.FLAGS(arguments)
    except flags.Error as error:
        message = str(error).strip().splitlines()[-1] if "Traceback" in str(error) else str(error)
        raise JaxpartError(f"{message}; --help lists the options") from error
    except (AttributeError, KeyError, TypeError):
        fields = [
            argument for argument in arguments if argument.startswith(("--config.", "-config."))
        ]
        sys.argv = [argument for argument in arguments if argument not in fields]
        flags.FLAGS(sys.argv)  # the configuration without them
        for field in fields:
            _check_field(field.partition("=")[0])
        raise
    if unparsed:
        raise JaxpartError(
            f"{unparsed[0]!r} is not an option: options begin with two dashes and have no space "
            "around =, as in --config.seed=1"
        )


def _print_help(file: pathlib.Path, field_of: Callable[[str], Field], *, dry_run: bool) -> None:
    """Prints flags, and the fields of the configuration with their meaning."""
    from jaxpart.runs.table import line_width

    main = sys.modules["__main__"]
    print((main.__doc__ or "").strip(), end="\n\n")
    for flag, effect in _FLAGS.items():
        if dry_run or flag != "--dry-run":
            print(f"  {flag:<28}{effect}")
    print()
    bundled = f"Bundled configurations: {', '.join(configs.bundled())}"
    print("\n".join(textwrap.wrap(bundled, line_width(), break_on_hyphens=False)))
    print(f"\nFields of {file}:")
    for path, value in fields_of(_CONFIG.value):
        print(f"  --config.{path}={value!r}")
        field, indent = field_of(path), " " * 6
        text = "; ".join(filter(None, [field.meaning, field.allowed]))
        wrapped = textwrap.wrap(text, line_width(), initial_indent=indent, subsequent_indent=indent)
        print(*wrapped, sep="\n", end="\n" * bool(wrapped))


def _config_file(arguments: list[str]) -> pathlib.Path | None:
    """The file of --config, checked; None if there is none.

    Raises:
      JaxpartError: It does not make a configuration.
    """
    for argument, following in itertools.pairwise([*arguments, ""]):
        flag, equals, path = argument.partition("=")
        if flag in ("--config", "-config"):
            path, colon, variant = (path if equals else following).partition(":")
            if path:
                _check_file(path, [variant] if colon else [])
                return pathlib.Path(path)
    return None


def _check_file(file: str, variant: list[str]) -> None:
    """Runs a configuration file, as ml_collections is about to, to report its errors."""
    try:
        get_config = runpy.run_path(file).get("get_config")
        config = get_config(*variant) if callable(get_config) else None
    except JaxpartError:
        raise
    except (Exception, SystemExit) as error:
        raise JaxpartError(
            f"the configuration {file} fails ({type(error).__name__}: {first_line(error)}); give a "
            f"Python file with a function get_config, such as configs/ibot_part.py"
        ) from error
    if not callable(get_config):
        raise JaxpartError(
            f"the configuration {file} has no function get_config; see configs/ibot_part.py"
        )
    if not isinstance(config, ConfigDict):
        raise JaxpartError(
            f"{file}: get_config returns {type(config).__name__}; return an "
            "ml_collections.ConfigDict, like configs/ibot_part.py"
        )


def _check_field(flag: str) -> None:
    fields: Any = _CONFIG.value
    names = flag.split(".")[1:]
    for i, name in enumerate(names):
        known = list(fields) if isinstance(fields, ConfigDict) else []
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
            raise JaxpartError(
                f"{flag}: {'.'.join(['config', *names[:i]])} has no field {name!r}; {hint}"
            )
        fields = fields[name]


def entry(
    main: Callable[[Any, pathlib.Path], None],
    example: str,
    field_of: Callable[[str], Field],
    *,
    dry_run: Callable[[Any], None] | None = None,
) -> int:
    """Runs a command with its configuration and work directory; returns the exit status.

    A user's mistake is reported in one sentence.

    Args:
      main: Takes the configuration and the work directory.
      example: A configuration to name if none is given, and whose fields --help lists.
      field_of: Returns the configuration's field with a dotted path, for --help.
      dry_run: Called with the configuration instead of `main` under --dry-run; None: not supported.
    """

    @terminal.entry_point
    def run() -> int:
        try:
            # ml_collections looks there for --config.field=value.
            sys.argv = _command_line(sys.argv)
            file, help_wanted = _config_file(sys.argv), not _HELP.isdisjoint(sys.argv)
            sys.argv = [argument for argument in sys.argv if argument not in _HELP]
            if help_wanted and file is None:
                file = pathlib.Path(configs.locate(example))
                sys.argv += ["--config", str(file)]
            _parse(sys.argv)
            if help_wanted and file is not None:
                _print_help(file, field_of, dry_run=dry_run is not None)
                return 0
            if file is None:
                raise JaxpartError(f"pass --config, as in --config {example}")
            path = _start(file.stem)
            if not _DRY_RUN.value:
                main(_CONFIG.value, path)
            elif dry_run is not None:
                dry_run(_CONFIG.value)
            else:
                raise JaxpartError(
                    "--dry-run is an option of `python -m jaxpart.main`; leave it out"
                )
        except JaxpartError as error:
            print(f"{devices.log_prefix()}error: {error}", file=sys.stderr)
            devices.hard_exit()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run()
