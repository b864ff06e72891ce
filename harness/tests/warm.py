"""Runs commands of modules in a fork of a process that has imported what sessions import before they begin.

Half of the time of a toy's session would go into importing torch and what stands on it. The fork has nothing else of
the process that asked for it: neither its modules, nor its environment, nor its files. Workers are started as ever.
What libraries read from the environment when they are imported (`HF_HOME`) is that of the first test; for who changes
it there is `fresh`.
"""

import atexit
import multiprocessing.forkserver
import multiprocessing.popen_forkserver
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LIBRARIES = ["datasets", "scipy.stats", "transformers.models.auto", "transformers.trainer", "evaluate"]
"""No plug-in of pytest, which rewrites what it imports; and nothing of the harness, whose order is its own."""
FORKS = multiprocessing.get_context("forkserver")
# Its modules are imported above, or `pytester` would have each test forget them, and the process that they know of.


class TooLong(Exception):
    """It did not end in time, and was killed."""


Ended = tuple[int, list[str], list[str]]
"""Exit status, and the lines of the two outputs."""


def run(words: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float) -> Ended:
    """`python -m` with these words, from `folder`."""
    (ended,) = run_each([words], folder, environment, timeout_s)
    return ended


def run_each(
    commands: Sequence[Sequence[str]], folder: Path, environment: Mapping[str, str], timeout_s: float
) -> list[Ended]:
    """`python -m` with each of these words, one after the other in one process, which imports everything once."""
    FORKS.set_forkserver_preload(LIBRARIES)
    path = os.pathsep.join(filter(None, [str(folder), environment.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory() as scratch:
        said = [[Path(scratch) / f"{name}-{n}" for name in ("out", "err", "status")] for n in range(len(commands))]
        process = FORKS.Process(target=_run, args=(commands, folder, {**environment, "PYTHONPATH": path}, said))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_WAIT_POLICY", "passive")  # as a session has it; OpenMP reads it once, with torch's import
            process.start()
        process.join(timeout_s)
        late = process.exitcode is None
        if late:
            process.kill()
            process.join()
        ended = [_ended(paths, process.exitcode) for paths in said]
        if late:
            raise TooLong(f"{commands}: no end within {timeout_s:g} s", ended)
        return ended


def _ended(said: Sequence[Path], exitcode: int) -> Ended:
    """Return what a command printed and its status: the process's, if the command ended it or was never begun."""
    *texts, status = (path.read_text(errors="replace") if path.exists() else "" for path in said)
    out, err = (text.splitlines() for text in texts)
    return int(status or exitcode), out, err


def _run(
    commands: Sequence[Sequence[str]], folder: Path, environment: Mapping[str, str], said: Sequence[Sequence[Path]]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    tempfile.tempdir = None  # which was that of another environment
    installed = [entry for entry in sys.path if entry not in ("", str(HERE), str(HERE.parents[1]))]
    sys.path[:] = [*environment["PYTHONPATH"].split(os.pathsep), *installed]
    try:
        for words, (*outputs, status) in zip(commands, said, strict=True):
            for number, path in enumerate(outputs, start=1):
                with path.open("wb") as file:
                    os.dup2(file.fileno(), number)
            status.write_text(str(_module(*words)))
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()


def _module(module: str, *arguments: str) -> int:
    """Run a module's command; return its exit status."""
    sys.argv[1:] = arguments
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
