"""Python files that users name on a command line."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pathlib
import sys
from types import ModuleType


def run_file(path: pathlib.Path) -> ModuleType:
    """A module of a Python file, which is run.

    Raises:
      FileNotFoundError: There is none.
      Exception: Whatever the file raises.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def module_of(name: str) -> ModuleType:
    """A module by its name, as under `python -m`, or that of a file "path.py", which is run.

    Raises:
      FileNotFoundError: There is no such file.
      Exception: Whatever its code raises.
    """
    if not name.endswith(".py"):
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        return importlib.import_module(name)
    path = pathlib.Path(name)
    sys.path.insert(0, str(path.parent.resolve()))  # for what it imports beside itself
    try:
        return run_file(path)
    finally:
        sys.path.pop(0)
