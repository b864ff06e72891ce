"""Python environments beside the one that pytest runs in: what a backend asks for, and what is installed there.

ALSO: Environments built from requirements: once, with pip as its user has configured it, and kept in the store."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import sysconfig
from dataclasses import replace
from functools import cache
from pathlib import Path

from harness.contracts.backend import Backend, Python
from harness.environments import installed
from harness.errors import HarnessError
from harness.util.console import Progress
from harness.util.fingerprints import fingerprint
from harness.util.store import Store

OLDEST = (3, 11)
"""What the harness itself is written for."""

FOREIGN = ("PYTHONHOME", "__PYVENV_LAUNCHER__")
"""Variables that bind an interpreter to the environment of another one."""


def describe_interpreter(python: Python) -> dict[str, str]:
    """What `installed` says in it; HarnessError unless a worker could run there."""
    return _described(python.executable)


@cache
def _described(executable: str) -> dict[str, str]:
    command = [executable, "-P", installed.__file__]
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=True)
        found: dict[str, str] = json.loads(done.stdout)
        version = tuple(map(int, re.findall(r"\d+", found["python"])[:2]))
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["nothing"])[0]
        raise HarnessError(f"{executable} is no Python from {_told(OLDEST)} on: it says {said!r}") from error
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        raise HarnessError(f"{executable} is no Python that runs: {error}; name an environment's bin/python") from error
    if version < OLDEST:
        raise HarnessError(f"{executable} is Python {found['python']}; workers need {_told(OLDEST)} or later")
    if not re.search(r"(^|, )numpy ", found["packages"]):
        raise HarnessError(f"{executable} has no numpy, which every worker needs; install it there: pip install numpy")
    return found


def harness_file(name: str) -> str:
    """Path of a file of this harness, named from its folder, that any interpreter can run."""
    return str(Path(__file__).parents[1] / name)


def _told(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


SHOWN_LINES = 5
"""Lines of what pip says is wrong."""


def resolve_environments(backend: Backend, store: Store, progress: Progress) -> Backend:
    """The backend with interpreters in place of requirements; HarnessError for one that cannot be had or used."""
    found = {}
    for python in filter(None, (backend.builds_in, backend.runs_in)):
        if python not in found:
            found[python] = _interpreter(python, store, progress)
            describe_interpreter(found[python])
    if not found:
        return backend
    builds, runs = (python and found[python] for python in (backend.builds_in, backend.runs_in))
    return replace(backend, builds_in=builds, runs_in=runs)


def _interpreter(python: Python, store: Store, progress: Progress) -> Python:
    if python.interpreter is not None:
        return python
    wanted = sorted(python.requirements)
    name, key = "environments/python", environment_key(python)

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


def environment_key(python: Python) -> str:
    """Fingerprint of an environment that is built."""
    base = platform.python_version(), sysconfig.get_platform(), sys.base_prefix
    return fingerprint(sorted(python.requirements), base)


def _run(interpreter: str, words: list[str], python: Python) -> None:
    """A module that ends with this process, in its environment: pip finds its configuration and its index there."""
    # What is on PYTHONPATH would count as installed.
    environment = {n: value for n, value in os.environ.items() if n not in (*FOREIGN, "PYTHONPATH", "VIRTUAL_ENV")}
    with subprocess.Popen(
        [interpreter, "-P", harness_file("measure/lifeline.py"), *words],
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
        told = "".join(f"\n  | {line}" for line in wrong[-SHOWN_LINES:])
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
