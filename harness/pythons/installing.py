"""Environments built from requirements: once, with pip as its user has configured it, and kept in the store."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

from harness.cache import Store
from harness.contracts import Backend
from harness.errors import HarnessError
from harness.fingerprints import fingerprint
from harness.progress import Progress
from harness.pythons.interpreter import FOREIGN, Python, described, script

SHOWN = 5
"""Lines of what pip says is wrong."""


def at_home(backend: Backend, store: Store, progress: Progress) -> Backend:
    """The backend with interpreters in place of requirements; HarnessError for one that cannot be had or used."""
    found = {}
    for python in filter(None, (backend.builds_in, backend.runs_in)):
        if python not in found:
            found[python] = _interpreter(python, store, progress)
            described(found[python])
    if not found:
        return backend
    builds, runs = (python and found[python] for python in (backend.builds_in, backend.runs_in))
    return replace(backend, builds_in=builds, runs_in=runs)


def _interpreter(python: Python, store: Store, progress: Progress) -> Python:
    if python.interpreter is not None:
        return python
    wanted = sorted(python.requirements)
    name, key = "environments/python", key_of(python)

    def build(out: Path) -> dict[str, str]:
        with progress.bar(f"install {', '.join(python.requirements)}", None):
            _run(sys.executable, ["venv", str(out)], python)
            pip = ["pip", "install", "--no-input", "--disable-pip-version-check"]
            _run(str(_executable(out)), [*pip, *wanted], python)
        _moved(out, store.folder(name, key))
        return {"requirements": ", ".join(wanted)}

    # Tens of thousands of files: to hash them would take longer than to measure.
    entry = store.get(name, key, build, by_size=True)
    return Python(interpreter=str(_executable(entry.path)))


def key_of(python: Python) -> str:
    """Fingerprint of an environment that is built."""
    base = platform.python_version(), sysconfig.get_platform(), sys.base_prefix
    return fingerprint(sorted(python.requirements), base)


def _run(interpreter: str, words: list[str], python: Python) -> None:
    """A module that ends with this process, in its environment: pip finds its configuration and its index there."""
    # What is on PYTHONPATH would count as installed.
    environment = {n: value for n, value in os.environ.items() if n not in (*FOREIGN, "PYTHONPATH", "VIRTUAL_ENV")}
    with subprocess.Popen(
        [interpreter, "-P", script("workers/lifeline.py"), *words],
        stdin=subprocess.PIPE,  # never written to: it ends when this process does
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.read().splitlines()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        wrong = [line for line in said if line.lower().startswith("error")] or said
        told = "".join(f"\n  | {line}" for line in wrong[-SHOWN:])
        raise HarnessError(
            f"no environment could be built from {', '.join(python.requirements)}: mend the requirements, or what pip "
            f"is told of its index (python -m pip config list), or name an interpreter that is there{told}"
        )


def _executable(folder: Path) -> Path:
    return folder / "bin" / "python"


def _moved(here: Path, there: Path) -> None:
    """Scripts name their interpreter by its path, and the store moves what it has built."""
    for path in (here / "bin").iterdir():
        content = b"" if path.is_symlink() else path.read_bytes()
        if os.fsencode(here) in content:
            path.write_bytes(content.replace(os.fsencode(here), os.fsencode(there)))
