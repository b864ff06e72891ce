"""Errors of a suite that cannot be imported, each as one message with its file and line."""

from __future__ import annotations

import pkgutil
import re
import traceback
from importlib import import_module
from pathlib import Path

from harness.contracts.declarations import unknown
from harness.errors import HarnessError

HARNESS = Path(__file__).parents[1]
MISSING_NAME = re.compile(r"cannot import name '(\w+)' from '(harness[\w.]*)'")


def import_problem(error: BaseException, root: Path) -> str | None:
    """Return the message, with the suite's own line, for an error of a declaration or a misspelt name of the harness.

    None for any other error, whose traceback the author needs.
    """
    while not isinstance(error, HarnessError | ImportError) and error.__cause__ is not None:
        error = error.__cause__  # pytest wraps errors of imports
    problem = str(error) if isinstance(error, HarnessError) else _import_problem(error)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if HARNESS not in Path(f.filename).parents]
    own = [frame for frame in frames if root in Path(frame.filename).parents]
    if problem is None or not frames:
        return None
    place = (own or frames)[-1]
    path = Path(place.filename)
    return f"{path.relative_to(root) if path.is_relative_to(root) else path}:{place.lineno}: {problem}"


def _import_problem(error: BaseException) -> str | None:
    """Return the message for a name or a module that the harness lacks."""
    if match := MISSING_NAME.match(str(error)):
        name, module = match.groups()
        names = [public for public in dir(import_module(module)) if not public.startswith("_")]
        return f"{module}: {unknown('name', name, getattr(import_module(module), '__all__', names))}"
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("harness."):
        modules = [f"harness.{module.name}" for module in pkgutil.iter_modules([str(HARNESS)])]
        return unknown("module", error.name, modules)
    return None
