"""The stored results that are still valid: those of a comparison that would be measured again from the same things."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts.cache import TRAINING_PACKAGES
from harness.contracts.backend import Device
from harness.environments.interpreters import describe_interpreter
from harness.errors import HarnessError
from harness.results import store
from harness.spec import Case
from harness.util.identity import canonical, code_digest, file_sha256, fingerprint, module_file
from harness.util.machine import Environment, versions

if TYPE_CHECKING:
    from harness.pipeline.state import Options
    from harness.results.schema import Finals, Result

PLACES = ("artifacts", "machine", "remote")
"""Options that only name a place; the machine is part of the environment."""
MEASURING = ("pipeline.compare", "pipeline.finals", "measure.worker", "measure.lifeline", "environments.bootstrap")
"""Modules that measure and record; the modules they import count as well."""


def comparison_fingerprint(cases: Sequence[Case], folder: Path, options: Options) -> str:
    """Return the fingerprint of what a comparison is made of; empty if it cannot be computed, which is never valid.

    It covers the declarations of its cases, every option that shapes the measurement, the code of the harness and of
    the suite in `folder`, and the versions of packages that decide what a model learns and scores. A commit would tell
    less and more: it does not cover uncommitted changes, and a new one need not change anything.
    """
    shaping = {name: value for name, value in canonical(options).items() if name not in PLACES}
    try:
        declared = [canonical(case) for case in sorted(cases, key=str)]
        contents = [(case.task.dataset.content(folder), case.model.source.content(folder)) for case in cases]
        backends = [case.backend for case in cases]
        for backend in backends:  # the sources, and theirs
            backends += [backend.source] if backend.source else []
        pythons = {python for backend in backends for python in (backend.builds_in, backend.runs_in) if python}
        interpreters = sorted((python for python in pythons if python.interpreter), key=str)
        packages = (*TRAINING_PACKAGES, *(name for backend in backends for name in backend.packages))
        return fingerprint(
            declared,
            contents,
            [describe_interpreter(python) for python in interpreters],
            shaping,
            versions(packages),
            code_digest(*(module_file(f"harness.{name}") for name in MEASURING)),
            _suite_digest(folder.resolve(), options.artifacts.resolve()),
        )
    except (HarnessError, OSError):
        return ""


def valid_results(cases: Sequence[Case], folder: Path, fingerprint: str, environment: Environment) -> list[Result]:
    """Return the results of `cases` under a machine's `folder`; HarnessError unless all are valid.

    The environment is compared field by field.
    """
    results = [_valid_result(case, folder / f"{case}.json", fingerprint, environment) for case in cases]
    if len({result.measurement for result in results}) > 1:
        raise HarnessError("its results are from different measurements")
    return results


def finals_fingerprint(results: Iterable[Result], task: str, device: Device) -> str:
    """Return the fingerprint of the task's comparisons on the device: finals are valid as long as all of these are."""
    own = (result for result in results if (result.task, result.device) == (task, device))
    return fingerprint(sorted([result.name, result.fingerprint, result.measurement] for result in own))


def valid_finals(folder: Path, task: str, device: Device, fingerprint: str) -> Finals | None:
    """Return the stored finals under a machine's `folder`, if they are valid and no entry failed."""
    with suppress(HarnessError):
        for finals in store.load_finals(folder / task):
            failed = any(entry.error is not None for entry in finals.entries)
            if (finals.device, finals.fingerprint, failed) == (device, fingerprint, False):
                return finals
    return None


def _valid_result(case: Case, path: Path, fingerprint: str, environment: Environment) -> Result:
    if not path.exists():
        raise HarnessError(f"{case} has no result")
    result = store.load(path)
    if result.status == "failed":
        raise HarnessError(f"{case} failed")
    if result.name != str(case):
        raise HarnessError(f"{path} is a result of {result.name}")
    then, now = result.environment.comparable(), environment.comparable()
    changed = [f"{name} was {then[name]}, is {now[name]}" for name in then if then[name] != now[name]]
    if changed:
        raise HarnessError(f"the environment of {case} changed: {'; '.join(changed)}")
    if not fingerprint or result.fingerprint != fingerprint:
        raise HarnessError(f"the code, declarations or options of {case} changed")
    if result.answers is not None and not store.answers_path(path).exists():
        raise HarnessError(f"the answers of {case} are missing beside its result")
    return result


@cache
def _suite_digest(folder: Path, artifacts: Path) -> str:
    """Return a digest of the files a suite may consist of, beyond those its declarations name.

    In a git repository: every file that git tracks, committed or not, and every new Python file, except results.
    Elsewhere: the Python files in the suite's folder and below, except hidden folders and virtual environments.
    """

    def git(place: Path, *words: str) -> str:
        return subprocess.run(["git", "-C", str(place), *words], capture_output=True, text=True, check=True).stdout

    try:
        top = Path(git(folder, "rev-parse", "--show-toplevel").rstrip("\n"))
        no_results = ":(exclude,glob)**/results/**"
        tracked = git(top, "ls-files", "-z", "--cached", "--", ".", no_results)
        new = git(top, "ls-files", "-z", "--others", "--exclude-standard", "--", "*.py", no_results)
        names = (tracked + new).split("\0")
    except (OSError, subprocess.CalledProcessError):
        top, names = folder, list(_python_files(folder, artifacts))
    return fingerprint({name: file_sha256(top / name) for name in names if (top / name).is_file()})


def _python_files(folder: Path, artifacts: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        # Artifacts hold copies of native models, and every session adds some.
        folders[:] = [name for name in folders if not name.startswith(".") and Path(parent, name) != artifacts]
        folders[:] = [name for name in folders if not Path(parent, name, "pyvenv.cfg").exists()]
        yield from (Path(parent, name).relative_to(folder).as_posix() for name in names if name.endswith(".py"))
