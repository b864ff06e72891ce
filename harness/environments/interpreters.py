"""Other Python environments: check the interpreters that backends name, install the ones that they require.

An environment is installed once, by pip with the user's configuration, and kept in the store.
"""

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
from typing import TYPE_CHECKING

from harness.contracts.backend import Python
from harness.environments import bootstrap
from harness.errors import HarnessError
from harness.util.identity import PACKAGE, fingerprint

if TYPE_CHECKING:
    from harness.contracts.backend import Backend
    from harness.util.console import Progress
    from harness.util.store import Store

OLDEST = (3, 11)
"""The Python version that the harness is written for."""

INTERPRETER_VARIABLES = ("PYTHONHOME", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV")
"""Environment variables that bind an interpreter to another one's environment."""


def resolve_environments(backend: Backend, store: Store, progress: Progress) -> Backend:
    """Return the backend with interpreters in place of requirements; HarnessError for one that cannot be used."""

    def resolve(python: Python | None) -> Python | None:
        if python is None:
            return None
        resolved = python if python.interpreter else _install(python, store, progress)
        describe_interpreter(resolved)
        return resolved

    if backend.builds_in is None and backend.runs_in is None:
        return backend
    return replace(backend, builds_in=resolve(backend.builds_in), runs_in=resolve(backend.runs_in))


@cache
def describe_interpreter(python: Python) -> dict[str, str]:
    """Return the interpreter's version and packages; HarnessError unless a worker could run in it."""
    executable, oldest = python.executable, ".".join(map(str, OLDEST))
    command = [executable, "-P", bootstrap.__file__]
    environment = {name: value for name, value in os.environ.items() if name not in INTERPRETER_VARIABLES}
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=True)
        description: dict[str, str] = json.loads(process.stdout)
        version = tuple(map(int, re.findall(r"\d+", description["python"])[:2]))
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        reason = ((getattr(error, "stderr", None) or "").strip() or str(error)).splitlines()[0]
        raise HarnessError(
            f"{executable} is not a working Python ≥ {oldest}: {reason}; name the bin/python of an environment"
        ) from error
    if version < OLDEST:
        raise HarnessError(f"{executable} is Python {description['python']}; workers need {oldest} or later")
    if not re.search(r"(^|, )numpy ", description["packages"]):
        raise HarnessError(f"{executable} has no numpy, which every worker needs; install it there: pip install numpy")
    return description


def environment_key(python: Python) -> str:
    """Return the fingerprint of an environment that is built from requirements."""
    base = platform.python_version(), sysconfig.get_platform(), sys.base_prefix
    return fingerprint(sorted(python.requirements), base)


def _install(python: Python, store: Store, progress: Progress) -> Python:
    """Return the interpreter of an environment with these requirements; build it if the store has none."""
    requirements = sorted(python.requirements)
    name, key = "environments/python", environment_key(python)

    def build(out: Path) -> dict[str, str]:
        with progress.bar(f"install {', '.join(python.requirements)}"):
            _run_module(sys.executable, ["venv", str(out)], python)
            pip = ["pip", "install", "--no-input", "--disable-pip-version-check"]
            _run_module(str(out / "bin/python"), [*pip, *requirements], python)
        _relocate_scripts(out, store.folder(name, key))
        return {"requirements": ", ".join(requirements)}

    # By size, because hashing tens of thousands of files would take longer than measuring.
    entry = store.get(name, key, build, by_size=True)
    return Python(interpreter=str(entry.path / "bin/python"))


def _run_module(interpreter: str, arguments: list[str], python: Python) -> None:
    """Run a module that ends when this process ends; it inherits the variables that configure pip."""
    # pip would take packages on PYTHONPATH for installed ones.
    excluded = (*INTERPRETER_VARIABLES, "PYTHONPATH")
    with subprocess.Popen(
        [interpreter, "-P", str(PACKAGE / "measure/lifeline.py"), *arguments],
        stdin=subprocess.PIPE,  # never written to: it closes when this process ends
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={name: value for name, value in os.environ.items() if name not in excluded},
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            output = process.stdout.read().splitlines()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        errors = [line for line in output if line.lower().startswith("error")] or output
        raise HarnessError(
            f"cannot install {', '.join(python.requirements)}: correct the requirements or pip's index (python -m pip "
            "config list), or name the interpreter of an existing environment"
            + "".join(f"\n  | {line}" for line in errors[-5:])
        )


def _relocate_scripts(built: Path, kept: Path) -> None:
    """Replace the path of the environment in its scripts: the store moves what it has built."""
    for path in (built / "bin").iterdir():
        content = b"" if path.is_symlink() else path.read_bytes()
        if os.fsencode(built) in content:
            path.write_bytes(content.replace(os.fsencode(built), os.fsencode(kept)))
