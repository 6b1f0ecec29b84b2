"""The `jaxpart` command: `jaxpart run` is `python -m jaxpart.main`, and so on."""

from __future__ import annotations

import importlib.metadata
import runpy
import sys
from collections.abc import Sequence

from jaxpart import terminal

COMMANDS = {
    "run": ("jaxpart.main", "measure an encoder, or all encoders of a study"),
    "convert": ("convert", "port a PyTorch checkpoint"),
    "verify": ("jaxpart.verify", "compare an encoder, features or results with the originals"),
    "report": ("jaxpart.report", "make a page of finished runs"),
    "compare": ("jaxpart.comparison", "test the difference between two runs"),
    "export": ("jaxpart.export", "export features, items or weights to other formats"),
    "data": ("jaxpart.data", "list, check, prepare and download data sets"),
    "pretrain": ("jaxpart.pretraining", "train an encoder of your own"),
    "study": ("jaxpart.study", "collect the runs of a study"),
}
"""Module and description of each subcommand."""

_SHELLS = ("bash", "zsh", "fish")
_STATUS_OF_MISUSE = 2

_BASH = """_jaxpart() {
    local word=${COMP_WORDS[COMP_CWORD]}
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "NAMES" -- "$word"))
    else
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}
complete -o filenames -F _jaxpart jaxpart"""


def main() -> int:
    """Runs the command line; returns its exit status."""
    terminal.begin("__main__")
    name, arguments = (sys.argv[1] if len(sys.argv) > 1 else "--help"), sys.argv[2:]
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0
    if name in ("-V", "--version"):
        print(f"jaxpart {importlib.metadata.version('jaxpart')}")
        return 0
    if name == "completion":
        return _completion(arguments)
    if name not in COMMANDS:
        print(
            f"error: jaxpart has no command {name!r}; choose from {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return _STATUS_OF_MISUSE
    module, _ = COMMANDS[name]
    sys.argv = [f"jaxpart {name}", *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


def _help() -> str:
    lines = [f"  {name:<12}{what}" for name, (_, what) in COMMANDS.items()]
    lines.append(f"  {'completion':<12}shell completion: {', '.join(_SHELLS)}")
    return "\n".join(
        [
            "usage: jaxpart COMMAND …",
            "",
            "How part-aware is a vision transformer?",
            "",
            *lines,
            "",
            "jaxpart COMMAND --help for details; jaxpart --version prints the version.",
        ]
    )


def _completion(arguments: Sequence[str]) -> int:
    """Prints a completion script for the shell to source: `source <(jaxpart completion bash)`."""
    if len(arguments) != 1 or arguments[0] not in _SHELLS:
        print(
            f"error: name a shell: jaxpart completion {'|'.join(_SHELLS)}, as in "
            f"source <(jaxpart completion bash)",
            file=sys.stderr,
        )
        return _STATUS_OF_MISUSE
    names = " ".join([*COMMANDS, "completion"])
    print(
        {
            "bash": _BASH.replace("NAMES", names),
            "zsh": f"autoload -U bashcompinit && bashcompinit\n{_BASH.replace('NAMES', names)}",
            "fish": f"complete -c jaxpart -n __fish_use_subcommand -f -a '{names}'",
        }[arguments[0]]
    )
    return 0
