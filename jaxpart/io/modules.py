"""Python files that users name on a command line."""

from __future__ import annotations

import importlib.util
import pathlib
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
