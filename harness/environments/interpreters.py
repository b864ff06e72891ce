"""Other Python environments: check the interpreters that backends name, install the ones that they require.

An environment is installed once, by pip with the user's configuration, and kept in the store, or in the folder that
the environment variable SHIPBENCH_ENVIRONMENTS names. An overlay is a folder of packages that this environment's own
interpreter imports first: it takes a tenth of the space, and no second torch.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
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

PIP_INSTALL = ("pip", "install", "--no-input", "--disable-pip-version-check")

ENVIRONMENT_ADVICE = (
    "correct the requirements or pip's index (python -m pip config list), or name the interpreter of an existing "
    "environment"
)
OVERLAY_ADVICE = (
    "where pip reaches an index (python -m pip config list names it), run once: shipbench setup. It keeps the packages "
    "in .artifacts/environments, or in the folder that SHIPBENCH_ENVIRONMENTS names, which other machines can copy"
)

FOLDER = "SHIPBENCH_ENVIRONMENTS"
"""Environment variable with the folder in which several stores share their environments."""


def resolve_environments(backend: Backend, store: Store, progress: Progress) -> Backend:
    """Return the backend with interpreters in place of requirements; HarnessError for one that cannot be used."""

    def resolve(python: Python | None) -> Python | None:
        return python and resolve_environment(python, store, progress)

    if backend.builds_in is None and backend.runs_in is None:
        return backend
    return replace(backend, builds_in=resolve(backend.builds_in), runs_in=resolve(backend.runs_in))


def resolve_environment(python: Python, store: Store, progress: Progress) -> Python:
    """Return a working interpreter for an environment, installed if need be; HarnessError if it cannot be used."""
    resolved = python if python.interpreter else _install(python, store, progress)
    describe_interpreter(resolved)
    return resolved


def interpreter_environment(python: Python, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of a process that runs in `python`; PYTHONPATH is the caller's own."""
    kept = {name: value for name, value in variables.items() if name not in INTERPRETER_VARIABLES}
    path = os.environ.get("PYTHONPATH", "")
    if python.packages is not None:
        path = os.pathsep.join(filter(None, (python.packages, path)))
        kept[bootstrap.OVERLAY] = python.packages
    return {**kept, "PYTHONPATH": path}


@cache
def describe_interpreter(python: Python) -> dict[str, str]:
    """Return the interpreter's version and packages; HarnessError unless a worker could run in it."""
    executable, oldest = python.executable, ".".join(map(str, OLDEST))
    command = [executable, "-P", bootstrap.__file__]
    environment = interpreter_environment(python, os.environ)
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
    if python.packages is None and not re.search(r"(^|, )numpy ", description["packages"]):
        raise HarnessError(f"{executable} has no numpy, which every worker needs; install it there: pip install numpy")
    return description


def environment_key(python: Python) -> str:
    """Return the fingerprint of an environment that is built from requirements.

    An overlay holds only these: whichever environment with the same Python lies under it, it is the same folder.
    """
    base = platform.python_version(), sysconfig.get_platform()
    return fingerprint(sorted(python.requirements), base, "overlay" if python.overlay else sys.base_prefix)


def _install(python: Python, store: Store, progress: Progress) -> Python:
    """Return the interpreter of an environment with these requirements; build it if the store has none."""
    name, key = "overlay" if python.overlay else "python", environment_key(python)
    store = replace(store, root=Path(os.environ.get(FOLDER) or store.root / "environments").absolute())

    def build(out: Path) -> dict[str, str]:
        with progress.bar(f"install {', '.join(python.requirements)}"):
            (_fill_overlay if python.overlay else _fill_environment)(out, python)
        if not python.overlay:
            _relocate_scripts(out, store.folder(name, key))
        return {"requirements": ", ".join(sorted(python.requirements))}

    # By size, because hashing tens of thousands of files would take longer than measuring.
    path = store.get(name, key, build, by_size=True).path
    if python.overlay:
        return Python(interpreter=sys.executable, packages=str(path))
    return Python(interpreter=str(path / "bin/python"))


def _fill_environment(out: Path, python: Python) -> None:
    """Create a virtual environment and install the requirements and what they depend on."""
    _run_module(sys.executable, ["venv", str(out)], python)
    _run_module(str(out / "bin/python"), [*PIP_INSTALL, *sorted(python.requirements)], python)


def _fill_overlay(out: Path, python: Python) -> None:
    """Install the requirements alone into a folder, by this environment's pip or, where it has none, by a new one."""
    # Byte code of all of Transformers would take longer, and as much space, as that of what is imported.
    words = [*PIP_INSTALL, "--no-deps", "--no-compile", "--target", str(out), *sorted(python.requirements)]
    if importlib.util.find_spec("pip"):
        _run_module(sys.executable, words, python)
        return
    with tempfile.TemporaryDirectory() as scratch:
        _run_module(sys.executable, ["venv", scratch], python)
        _run_module(f"{scratch}/bin/python", words, python)


def _run_module(interpreter: str, arguments: list[str], python: Python) -> None:
    """Run a module that ends when this process ends; it inherits the variables that configure pip."""
    # pip would take packages on PYTHONPATH for installed ones, and refuses --target beside a default of --user.
    excluded = (*INTERPRETER_VARIABLES, "PYTHONPATH", "PIP_USER")
    with subprocess.Popen(
        [interpreter, "-P", str(PACKAGE / "measure/lifeline.py"), *arguments],
        stdin=subprocess.PIPE,  # never written to: it closes when this process ends
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={name: value for name, value in os.environ.items() if name not in excluded} | {"PIP_USER": "0"},
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
        advice = OVERLAY_ADVICE if python.overlay else ENVIRONMENT_ADVICE
        advice += "".join(f"\n  | {line}" for line in errors[-5:])
        raise HarnessError(f"cannot install {', '.join(python.requirements)}: {advice}")


def _relocate_scripts(built: Path, kept: Path) -> None:
    """Replace the path of the environment in its scripts: the store moves what it has built."""
    for path in (built / "bin").iterdir():
        content = b"" if path.is_symlink() else path.read_bytes()
        if os.fsencode(built) in content:
            path.write_bytes(content.replace(os.fsencode(built), os.fsencode(kept)))
