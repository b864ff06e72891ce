"""The work of a node: describe itself, and run a plain pytest session for the tests that it is given."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from harness.results import store
from harness.util.identity import PACKAGE, python_path
from harness.util.machine import Environment, describe
from harness.util.store import users_folder

POLL_S = 0.2
"""Time between two looks for new results."""
TAIL = 4000
"""Characters of a session's output that are sent back."""
ENDS = {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}
"""Exit statuses of sessions that came to their end, and wrote JUnit's XML."""
DROPPED = ("OMP_NUM_THREADS", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "GITHUB_STEP_SUMMARY")
"""Environment variables that a node's session does without; Ray sets the first to the CPUs that a task asked for."""
SAME = ("cpu", "flags", "cores", "accelerator", "system", "python", "packages")
"""Fields of the environment in which all nodes must be alike, because their results stand under one machine's name."""


class Work(NamedTuple):
    """The tests that a node runs, and the environment that it needs."""

    tests: Sequence[str]
    """Their ids from the folder of suites."""
    options: Sequence[str]
    there: Environment
    """The environment that the node must have: it may have joined the cluster after the others were checked."""


class Measured(NamedTuple):
    """One result as it lies on the node."""

    node: str
    """Name of the node in its network."""
    result: bytes
    answers: bytes | None
    log: bytes | None


class Ended(NamedTuple):
    """The end of a node's session."""

    why: str
    """The reason to try elsewhere what is missing: something ended it on its way; empty if it came to its end."""
    status: int
    node_id: str
    skipped: dict[str, str]
    """Name of a test → the reason why it cannot run there."""
    finals: list[bytes]
    output: str
    """The end of what it printed."""


def node_id() -> str:
    """Return Ray's name of this node."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def environment() -> Environment:
    """Return this node's environment; its threads are not yet chosen."""
    return describe("node", 0, Path.cwd())


def differences(expected: Environment, actual: Environment, fields: Sequence[str] = SAME) -> list[str]:
    """Name every field, and every package, in which a node's environment is another."""
    return [text for name in fields for text in _differences(name, getattr(expected, name), getattr(actual, name))]


def _differences(field: str, expected: Any, actual: Any) -> Iterator[str]:
    if isinstance(expected, dict):
        for key in sorted(expected.keys() | actual.keys()):
            yield from _differences(f"{field} {key}", expected.get(key), actual.get(key))
    elif expected != actual:
        yield f"{field} {actual}, not {expected}"


def run(work: Work) -> Iterator[Measured | Ended]:
    """Run the tests, whose files lie in the present folder; yield results as they are written, and the end."""
    with tempfile.TemporaryDirectory(prefix="shipbench-") as scratch:
        # Ray removes its copies when it likes: when another node of the same host takes the same files, say.
        suites, package = _link(Path.cwd(), Path(scratch, "suites")), _link(PACKAGE, Path(scratch, PACKAGE.name))
        if unequal := differences(work.there, environment()):
            why = f"{platform.node()} differs from the nodes that were checked: {'; '.join(unequal)}"
            ended = Ended(why, pytest.ExitCode.USAGE_ERROR, node_id(), {}, [], "")
        else:
            ended = yield from _session(work, suites, package, Path(scratch))
    yield ended  # when nothing is left to be cleaned up: the session may leave the cluster at once


def _session(work: Work, suites: Path, package: Path, scratch: Path) -> Generator[Measured, None, Ended]:
    """Run a plain pytest session; yield results as they are written, and return the end."""
    results, junit, log = (scratch / name for name in ("results", "junit.xml", "log"))
    artifacts = [] if any(o.startswith("--ship-artifacts") for o in work.options) else [users_folder()]
    words = [
        *(sys.executable, package / "measure" / "lifeline.py", "pytest", *work.tests, "-q"),
        *("-p", "no:cacheprovider", "--ship-no-page", f"--ship-results={results}", f"--junitxml={junit}"),
        *(f"--ship-artifacts={folder}" for folder in artifacts),
        *work.options,
    ]
    environ = {name: value for name, value in os.environ.items() if name not in DROPPED}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, words)],
            cwd=suites,
            env=environ | {"PYTHONPATH": python_path(package.parent)},
            stdin=subprocess.PIPE,  # its lifeline: it ends with this process
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        with process:
            yield from _results(process, results)
    finals = [path.read_bytes() for path in sorted(results.rglob("*.json")) if store.is_finals(path)]
    status, text = process.returncode, log.read_text(errors="replace")[-TAIL:]
    is_whole = status == pytest.ExitCode.USAGE_ERROR or (status in ENDS and junit.exists())
    why = "" if is_whole else f"the session on {platform.node()} ended with status {status}"
    return Ended(why, status, node_id(), _skipped(junit), finals, text)


def _link(source: Path, target: Path) -> Path:
    """Copy a folder, by links to its files where the file system can, and return the copy."""

    def link(file: str, copy: str) -> None:
        try:
            os.link(file, copy)
        except OSError:
            shutil.copy2(file, copy)

    return Path(shutil.copytree(source, target, copy_function=link))


def _results(process: subprocess.Popen[bytes], folder: Path) -> Iterator[Measured]:
    """Yield every result once it is written, until the process has ended."""
    sent = set[Path]()
    ended = False
    while not ended:
        ended = process.poll() is not None  # before the last look
        for path in sorted(set(folder.rglob("*.json")) - sent):
            sent.add(path)
            if not store.is_finals(path):
                beside = store.answers_path(path), path.with_suffix(".log")
                yield Measured(platform.node(), path.read_bytes(), *map(_bytes, beside))
        if not ended:
            time.sleep(POLL_S)


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _skipped(junit: Path) -> dict[str, str]:
    """Return the names of a session's skipped tests and the reasons."""
    if not junit.exists():
        return {}
    document = ElementTree.parse(junit)  # noqa: S314  # pytest wrote it
    tests = ((test.get("name", ""), test.find("skipped")) for test in document.iter("testcase"))
    return {name: skipped.get("message", "") for name, skipped in tests if skipped is not None}
