"""Runs a module's command in a fork of a process that has imported what sessions import before they begin.

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


def run(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float
) -> tuple[int, list[str], list[str]]:
    """`python -m` with these words, from `folder`: its exit status, and the lines of its two outputs."""
    FORKS.set_forkserver_preload(LIBRARIES)
    path = os.pathsep.join(filter(None, [str(folder), environment.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory() as scratch:
        said = [Path(scratch) / name for name in ("out", "err")]
        process = FORKS.Process(target=_run, args=(words, folder, {**environment, "PYTHONPATH": path}, said))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_WAIT_POLICY", "passive")  # as a session has it; OpenMP reads it once, with torch's import
            process.start()
        process.join(timeout_s)
        late = process.exitcode is None
        if late:
            process.kill()
            process.join()
        out, err = (path.read_text(errors="replace").splitlines() for path in said)
        if late:
            raise TooLong(f"{' '.join(words)}: no end within {timeout_s:g} s", out, err)
        return process.exitcode, out, err


def _run(words: Sequence[str], folder: Path, environment: Mapping[str, str], said: Sequence[Path]) -> None:
    for number, path in enumerate(said, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    tempfile.tempdir = None  # which was that of another environment
    installed = [entry for entry in sys.path if entry not in ("", str(HERE), str(HERE.parents[1]))]
    sys.path[:] = [*environment["PYTHONPATH"].split(os.pathsep), *installed]
    module, *sys.argv[1:] = words
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
