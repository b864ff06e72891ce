"""Name functions by the file they stand in, and load them in other processes. Imports the standard library only."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

PACKAGE = Path(__file__).resolve().parents[1]


def symbol_of(function: Callable[..., Any]) -> dict[str, str]:
    """Return the arguments by which `load_symbol` finds a module-level function in another interpreter."""
    if not inspect.isfunction(function) or "<" in function.__qualname__:
        name = getattr(function, "__qualname__", function)
        raise HarnessError(f"{name}: define functions of backends and kinds at module level, so that workers find them")
    file = Path(inspect.getfile(function)).resolve()
    return {"file": str(file), "module": function.__module__, "qualname": function.__qualname__}


def is_built_in(function: Callable[..., Any]) -> bool:
    """Return whether a function stands in this package."""
    return Path(inspect.getfile(function)).resolve().is_relative_to(PACKAGE)


def python_path() -> str:
    """Return the PYTHONPATH of a process that is to import this very package."""
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, paths))


def load_symbol(file: str, qualname: str, module: str = "") -> Any:
    """Return the object `qualname` of `file`, imported as `module` if that name leads to this very file."""
    path = Path(file)
    loaded: Any = importlib.import_module(module) if _leads_to(module, path) else _load_file(path)
    for part in qualname.split("."):
        if not hasattr(loaded, part):
            raise HarnessError(f"{file} has no {qualname}")
        loaded = getattr(loaded, part)
    return loaded


def _leads_to(module: str, path: Path) -> bool:
    try:
        spec = importlib.util.find_spec(module) if module else None
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path


def _load_file(path: Path) -> Any:
    # As in pytest's prepend mode, a file may import its neighbours; packages of another environment come last.
    sys.path.insert(len(sys.path) if path.parent.name in ("site-packages", "dist-packages") else 0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module
