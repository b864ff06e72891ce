"""pytest sessions of the toy suite, in processes of their own that may be killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from harness.selftest.real import SUITES
from harness.util.identity import python_path

SUITE = Path(__file__).with_name("toy_suite.py")
SESSION_LIMIT_S = 300.0
"""Time in which a session must end."""


def copy_suite(file: Path) -> None:
    """Copy the suite to `file`, whose name selects the variant, with its rows and its model beside it."""
    shutil.copy(SUITE, file)
    for name in ("bbc.py", "models/embedding_bag.py"):
        shutil.copy(SUITES / name, file.parent)


def log_of(folder: Path) -> str:
    """Return the end of what pytest printed in a folder."""
    return (folder / "log.txt").read_text()[-1500:]


def run_pytest(folder: Path, *options: str, **variables: str) -> subprocess.Popen[bytes]:
    """Run pytest in a folder, one launch a comparison; its output goes to `log.txt`."""
    plugins = ("-p", "no:randomly", "-p", "no:cacheprovider")
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", *plugins, "--ship-launches=1", "--ship-device=cpu", *options],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": python_path()} | variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """Return the living workers that a process launched, oldest first."""
    workers = []
    for child in process.children():
        with suppress(psutil.NoSuchProcess):  # it has ended, perhaps as a zombie
            if "harness.measure.worker" in child.cmdline():
                workers.append(child)
    return sorted(workers, key=psutil.Process.create_time)
