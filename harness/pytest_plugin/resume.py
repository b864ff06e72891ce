"""Which stored results still stand: those of a comparison that would be measured again from the very same things."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts.cache import TRAINERS
from harness.contracts.backend import Backend, Device
from harness.data import reading
from harness.environments.interpreters import describe_interpreter
from harness.errors import HarnessError
from harness.results import store
from harness.spec import Case
from harness.util.fingerprints import canonical, code_digest, file_sha256, fingerprint, module_file
from harness.util.machine import Environment, versions

if TYPE_CHECKING:
    from harness.pipeline.plan import Options
    from harness.results.schema import Finals, Result

ELSEWHERE = ("artifacts", "machine")
"""Options that say where things lie; the machine is part of the environment."""

MEASURING = ("pipeline.compare", "pipeline.finals", "measure.worker", "measure.lifeline", "environments.launch")
"""Modules that measure and record; what they import counts as well."""


class Again(HarnessError):
    """Why a comparison has to be measured again."""


def inputs(cases: Sequence[Case], folder: Path, options: Options) -> str:
    """Fingerprint of what a comparison is made of; empty where that cannot be told, and then nothing ever stands.

    It holds the declarations of its cases, gates included, every option that shapes the measurement, the code of the
    harness, that of the suite in `folder`, and the versions of packages that decide what a model learns and scores.
    The environment is compared field by field instead, in `standing`.

    A commit would tell both less and more: there is none outside git, one says nothing of changed files, and a new
    one need not change any.
    """
    shaping = {name: value for name, value in canonical(options).items() if name not in ELSEWHERE}
    try:
        declared = [canonical(case) for case in sorted(cases, key=str)]
        own = [(reading.of_rows(c.task.dataset, folder), reading.of_model(c.model.source, folder)) for c in cases]
        backends = [backend for case in cases for backend in _lineage(case.backend)]
        homes = {one for b in backends for one in (b.builds_in, b.runs_in) if one and one.interpreter}
        return fingerprint(
            declared,
            own,
            [describe_interpreter(home) for home in sorted(homes, key=str)],
            shaping,
            versions((*TRAINERS, *(name for backend in backends for name in backend.packages))),
            code_digest(*(module_file(f"harness.{name}") for name in MEASURING)),
            _suite(folder.resolve(), options.artifacts.resolve()),
        )
    except (HarnessError, OSError):
        return ""


def _lineage(backend: Backend) -> Iterator[Backend]:
    """The backend, what it is built from, and so on."""
    found: Backend | None = backend
    while found is not None:
        yield found
        found = found.source


def standing(cases: Sequence[Case], folder: Path, inputs: str, environment: Environment) -> list[Result]:
    """The results of one comparison under a machine's `folder`, in the order of `cases`; Again if one does not stand.

    A comparison stands or falls as a whole, because its cases were measured in the same rounds.
    """
    found = [_standing(case, folder / f"{case}.json", inputs, environment) for case in cases]
    if len({result.measurement for result in found}) > 1:
        raise Again("its results are of different measurements")
    return found


def inputs_of_finals(found: Iterable[Result], task: str, device: Device) -> str:
    """Fingerprint of the measured comparisons of a task on a device: finals stand as long as all of these do."""
    return fingerprint(sorted([r.name, r.inputs, r.measurement] for r in found if (r.task, r.device) == (task, device)))


def finals(folder: Path, task: str, device: Device, inputs: str) -> Finals | None:
    """The stored finals under a machine's `folder`, if they stand and none of their entries failed."""
    try:
        stored = [one for one in store.load_finals(folder / task) if one.device == device]
    except HarnessError:
        return None
    whole = [one for one in stored if one.inputs == inputs and all(entry.error is None for entry in one.entries)]
    return whole[0] if whole else None


def _standing(case: Case, path: Path, inputs: str, environment: Environment) -> Result:
    if not path.exists():
        raise Again(f"there is no result of {case}")
    result = store.load(path)
    if result.status == "failed":
        raise Again(f"{case} failed")
    if result.name != str(case):
        raise Again(f"{path} is a result of {result.name}")
    unequal = _unequal(result.environment.comparable(), environment.comparable())
    if unequal:
        raise Again(f"the environment of {case} was another: {'; '.join(unequal)}")
    if not inputs or result.inputs != inputs:
        raise Again(f"{case} came of other code, declarations or options than there are now")
    if result.answers is not None and not store.answers_of(path).exists():
        raise Again(f"the answers of {case} are not beside its result")
    return result


def _unequal(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [f"{name} {then[name]}, now {now[name]}" for name in then if then[name] != now[name]]


@cache
def _suite(folder: Path, artifacts: Path) -> str:
    """Digest of what a suite may be made of, beyond what its declarations name.

    In a git repository: every file that git tracks, committed or not, and every new Python file; results aside.
    Elsewhere: the Python files in the suite's folder and below, but for hidden folders and installed packages.
    """
    try:
        top, names = _tracked(folder)
    except (OSError, subprocess.CalledProcessError):
        top, names = folder, list(_python_files(folder, artifacts))
    return fingerprint({name: file_sha256(top / name) for name in names if (top / name).is_file()})


def _tracked(folder: Path) -> tuple[Path, list[str]]:
    def git(where: Path, *words: str) -> str:
        return subprocess.run(["git", "-C", str(where), *words], capture_output=True, text=True, check=True).stdout

    top = Path(git(folder, "rev-parse", "--show-toplevel").rstrip("\n"))
    aside = ":(exclude,glob)**/results/**"
    known = git(top, "ls-files", "-z", "--cached", "--", ".", aside)
    new = git(top, "ls-files", "-z", "--others", "--exclude-standard", "--", "*.py", aside)
    return top, [name for name in (known + new).split("\0") if name]


def _python_files(folder: Path, artifacts: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        # Artifacts hold copies of native models, and there are more of them after every session.
        folders[:] = [name for name in folders if not name.startswith(".") and Path(parent, name) != artifacts]
        folders[:] = [name for name in folders if not Path(parent, name, "pyvenv.cfg").exists()]
        yield from (Path(parent, name).relative_to(folder).as_posix() for name in names if name.endswith(".py"))
