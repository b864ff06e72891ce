"""Finding code by the file it stands in, so that it can be named to another process. Standard library only."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import HarnessError


def symbol_of(function: Callable[..., Any]) -> dict[str, str]:
    """What `load_symbol` needs to find a module-level function again, in any interpreter that can import it."""
    if not inspect.isfunction(function) or "<" in function.__qualname__:
        name = getattr(function, "__qualname__", function)
        raise HarnessError(f"{name}: a backend's functions must stand at module level, so that a worker finds them")
    file = Path(inspect.getfile(function)).resolve()
    return {"file": str(file), "module": function.__module__, "qualname": function.__qualname__}


def is_built_in(function: Callable[..., Any]) -> bool:
    """Whether it stands in this harness, and not in a file of somebody's own."""
    return Path(inspect.getfile(function)).resolve().is_relative_to(Path(__file__).parent)


def python_path() -> str:
    """PYTHONPATH of a process that is to find this very harness, wherever it runs."""
    found = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(path for path in found if path)


def load_symbol(file: str, qualname: str, module: str = "") -> Any:
    """The object `qualname` of `file`: by module name where that name leads to this very file, else by path."""
    path = Path(file)
    loaded = importlib.import_module(module) if _leads_to(module, path) else _load_file(path)
    found: Any = loaded
    for part in qualname.split("."):
        if not hasattr(found, part):
            raise HarnessError(f"{file}: there is no {qualname}")
        found = getattr(found, part)
    return found


def _leads_to(module: str, path: Path) -> bool:
    try:
        spec = importlib.util.find_spec(module) if module else None
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path


def _load_file(path: Path) -> Any:
    # As pytest's prepend mode does: a file may import its neighbours; packages of another environment are none.
    sys.path.insert(len(sys.path) if path.parent.name in ("site-packages", "dist-packages") else 0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module
