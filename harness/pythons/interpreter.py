"""Python environments beside the one that pytest runs in: what a backend asks for, and what is installed there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.errors import HarnessError
from harness.pythons import installed

OLDEST = (3, 11)
"""What the harness itself is written for."""
FOREIGN = ("PYTHONHOME", "__PYVENV_LAUNCHER__")
"""Variables that bind an interpreter to the environment of another one."""


@dataclass(frozen=True, kw_only=True)
class Python:
    """Another environment: one that is there, or one that is built with pip."""

    interpreter: str | None = None
    """Its executable; a relative path starts where pytest does."""
    requirements: tuple[str, ...] = ()
    """What pip is asked for, numpy among it or brought by it. Built once, for this very version of Python."""

    def __post_init__(self) -> None:
        given = self.requirements
        if isinstance(given, str) or not all(isinstance(one, str) and one.strip() for one in given):
            raise HarnessError(f"Python(requirements={given!r}): a tuple of what pip is asked for: ('numpy>=2',)")
        if bool(given) == (self.interpreter is not None):
            raise HarnessError("Python(…): name an interpreter, or the requirements that one is built from")

    @property
    def executable(self) -> str:
        """The interpreter's path, absolute; links are kept, since a virtual environment is known by its own."""
        assert self.interpreter is not None, "built from requirements first, by harness.pythons.installing"
        return os.path.abspath(self.interpreter)  # noqa: PTH100  # Path.resolve would follow the link


def described(python: Python) -> dict[str, str]:
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


def script(name: str) -> str:
    """Path of a file of this harness, named from its folder, that any interpreter can run."""
    return str(Path(__file__).parents[1] / name)


def _told(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
