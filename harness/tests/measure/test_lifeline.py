"""A worker whose parent is killed ends, with every process it started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import harness

HERE = Path(harness.__file__).parents[1]
PARENT = """
import sys
from pathlib import Path
from harness.measure.client import Worker
from harness.contracts.backend import Backend, Target
sys.path.insert(0, {folder!r})
import loaders
import numpy as np

worker = Worker(Backend(name="toy", load=getattr(loaders, {name!r})), Path({folder!r}), Target("cpu", 1), 60)
worker.put({{"x": np.ones(1)}})
print(worker.pid, worker.loaded["settings"].get("child", 0), flush=True)
worker.run()
"""
LOADERS = """
import subprocess, sys, time
from harness.contracts.backend import Session


def busy(artifact, target):
    def run(arrays):
        time.sleep(60)
    return Session(run, "cpu", {})


def parent_of_another(artifact, target):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    return busy(artifact, target)._replace(settings={"child": str(child.pid)})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker ends after its call")
@pytest.mark.parametrize("name", ["busy", "parent_of_another"])
def test_worker_in_a_long_call_ends_with_its_parent(tmp_path, name):
    (tmp_path / "loaders.py").write_text(LOADERS)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(folder=str(tmp_path), name=name)],
        env=os.environ | {"PYTHONPATH": str(HERE)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        orphans = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split() if int(pid)]
        assert orphans
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 5
    while any(map(is_alive, orphans)) and time.monotonic() < until:
        time.sleep(0.05)
    assert [] == [process for process in orphans if is_alive(process)]


def is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
