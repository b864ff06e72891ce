"""Identify files, code and declarations by digest, and functions by the file they stand in.

Workers of other environments import this module: it needs nothing but the standard library.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

PACKAGE = Path(__file__).resolve().parents[1]


@cache
def file_sha256(path: Path) -> str:
    """Return the digest of a file's bytes. It is remembered, so only for files that do not change in a session."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_sha256(path: Path) -> str:
    """Return the digest of a file, or of a folder's sorted `path sha256` lines without byte code."""
    if path.is_file():
        return file_sha256(path)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".pyc")
    lines = "".join(f"{p.relative_to(path).as_posix()} {file_sha256(p)}\n" for p in files)
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def code_digest(*files: Path) -> str:
    """Return a digest of these Python files and of all that they import at run time, at any depth, of the harness or of
    the files beside a suite's own.

    Formatting, comments, docstrings and imports for type checkers alone do not count. Packages (`__init__.py`) are not
    followed: they only gather names.
    """
    pending, seen = [file.resolve() for file in files], set[Path]()
    while pending:
        if (file := pending.pop()) not in seen:
            seen.add(file)
            pending += _code(file)[1]
    return hashlib.sha256("".join(sorted(_code(file)[0] for file in seen)).encode()).hexdigest()


def module_file(name: str) -> Path:
    """Return the file of a module of the harness, named as in an import: `harness.training.train`."""
    return PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")


@cache
def _code(file: Path) -> tuple[str, list[Path]]:
    """Return the digest of one file's code, and the files of the harness, or beside its own, that it imports."""
    tree = _RunTimeCode().visit(ast.parse(file.read_bytes()))
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level <= 1:
            parts = [node.module] if node.module else []
            names |= {*parts, *(".".join([*parts, alias.name]) for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    modules = [module_file(name) for name in sorted(names) if name.startswith("harness.")]
    if not file.is_relative_to(PACKAGE):
        modules += [file.parent.joinpath(*name.split(".")).with_suffix(".py") for name in sorted(names)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), [path for path in modules if path.is_file()]


class _RunTimeCode(ast.NodeTransformer):
    """Drop docstrings and code for type checkers alone."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:  # ast's name for it
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

    def visit_If(self, node: ast.If) -> ast.AST | None:  # same
        is_typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if is_typing else self.generic_visit(node)


def canonical(value: Any) -> Any:
    """Return `value` as JSON data: functions by name and code, dataclasses by the fields that are compared."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: canonical(getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((canonical(item) for item in value), key=json.dumps)
    if inspect.isfunction(value):
        return f"{value.__qualname__}@{code_digest(Path(inspect.getfile(value)))}"
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    # The text of anything else may hold an address, which changes with every session.
    raise HarnessError(f"{value!r} cannot be fingerprinted; use plain values and functions of a module")


def fingerprint(*parts: Any) -> str:
    """Return twelve hex digits that change whenever anything in `parts` does."""
    text = json.dumps(canonical(parts), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


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


def python_path(parent: Path = PACKAGE.parent) -> str:
    """Return the PYTHONPATH of a process that is to import this very package, or its copy in another folder."""
    return os.pathsep.join(filter(None, (str(parent), os.environ.get("PYTHONPATH"))))


def load_symbol(file: str, qualname: str, module: str = "") -> Any:
    """Return the object `qualname` of `file`, imported as `module` if that name leads to this very file."""
    is_importable = module and _leads_to(module, Path(file))
    loaded: Any = importlib.import_module(module) if is_importable else _load_file(Path(file))
    for part in qualname.split("."):
        if not hasattr(loaded, part):
            raise HarnessError(f"{file} has no {qualname}; define it there, at module level")
        loaded = getattr(loaded, part)
    return loaded


def _leads_to(module: str, path: Path) -> bool:
    try:
        spec = importlib.util.find_spec(module)
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
