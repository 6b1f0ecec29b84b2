"""Python modules: files that users name on a command line, and optional libraries."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pathlib
import sys
from types import ModuleType
from typing import Any

from jaxpart.errors import JaxpartError


def run_file(path: pathlib.Path) -> ModuleType:
    """Runs a Python file as a module.

    Raises:
      FileNotFoundError: The file does not exist.
      Exception: Whatever the file raises.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def module_of(name: str) -> ModuleType:
    """Imports a module by name, as `python -m` does, or runs a file "path.py".

    Raises:
      FileNotFoundError: The file does not exist.
      Exception: Whatever its code raises.
    """
    if not name.endswith(".py"):
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        return importlib.import_module(name)
    path = pathlib.Path(name)
    sys.path.insert(0, str(path.parent.resolve()))  # so that it can import neighbouring files
    try:
        return run_file(path)
    finally:
        sys.path.pop(0)


def library(name: str, what: str) -> Any:
    """Imports a library that is not a dependency of jaxpart.

    Raises:
      JaxpartError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise JaxpartError(
            f"{what} needs {name}, which is not part of jaxpart: pip install {name} ({error})"
        ) from error
