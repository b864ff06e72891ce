"""Laws of what a GPU's driver tells, by a library that is a toy: what is whose, what is steady, what is too little."""

import os
import runpy
import tempfile
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from factory import process, result
from hypothesis import given
from hypothesis import strategies as st

from harness import report
from harness.contracts.backend import Backend, Target
from harness.measure import gpu
from harness.measure.client import Machine
from harness.measure.gpu import GpuReading, GpuSnapshot, gpu_sentences, is_steady, memory_shortage, snapshot
from harness.measure.rounds import MOST_CALLS, measure
from harness.measure.samples import Arm, Settings, WorkloadInputs
from harness.measure.system import Disturbance
from harness.results.schema import Result
from harness.util.console import Progress
from harness.verdicts.table import tidy

LOOK = GpuReading(
    sm_mhz=1980, memory_mhz=2619, held_down=(), free_bytes=70_000_000_000, total_bytes=80_000_000_000, foreign=0,
    foreign_bytes=0,
)  # fmt: skip
OWN, FOREIGN = 11, 99


class ToyError(Exception):
    """What the toy library raises."""


def library(running=((OWN, 500), (FOREIGN, 300)), bits=0, silent=(), devices=("GPU-a", "GPU-b")):
    """A driver's library with two devices, which tells nothing of what is named in `silent`."""

    def told(name, value):
        def call(*_):
            if name in silent:
                raise ToyError
            return value

        return call

    def find(number):
        if number not in range(len(devices)):
            raise ToyError
        return devices[number]

    def find_by_name(name):
        if name not in devices:
            raise ToyError
        return name

    return SimpleNamespace(
        NVMLError=ToyError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        nvmlDeviceGetHandleByIndex=find,
        nvmlDeviceGetHandleByUUID=find_by_name,
        nvmlDeviceGetClockInfo=lambda device, kind: told("clock", {1: 1980, 2: 2619}[kind])(),
        nvmlDeviceGetCurrentClocksThrottleReasons=told("reasons", bits),
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(free=10 if device == "GPU-a" else 20, total=100),
        nvmlDeviceGetComputeRunningProcesses=told(
            "running", [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in running]
        ),
    )


# What is seen


def test_a_glance_tells_clocks_memory_and_whose_it_is():
    found = snapshot(library(), [OWN], None)
    expected = GpuReading(
        sm_mhz=1980, memory_mhz=2619, held_down=(), free_bytes=10, total_bytes=100, foreign=1, foreign_bytes=300
    )
    assert (expected, {OWN: 500}) == found


def test_this_process_is_nobody_else():
    assert 0 == snapshot(library(running=[(os.getpid(), 700)]), [], None).look.foreign


@pytest.mark.parametrize("running", [[], [(FOREIGN, 300)]])
def test_where_no_worker_has_the_number_it_should_nobody_is_called_foreign(running):
    found = snapshot(library(running=running), [OWN], None)
    assert (None, None, {}) == (found.look.foreign, found.look.foreign_bytes, found.held_bytes)


@pytest.mark.parametrize(
    ("visible", "free"), [(None, 10), ("0", 10), ("1,0", 20), ("GPU-b", 20), ("", None), ("7", None), ("-1", None)]
)
def test_the_device_is_the_first_visible_one(visible, free):
    found = snapshot(library(), [OWN], visible)
    assert free == (found and found.look.free_bytes)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [(0, ()), (1, ()), (0x4, ("power cap",)), (0x60, ("heat",)), (0x84, ("power cap", "power brake"))],
)
def test_what_holds_clocks_down_is_named_and_idleness_does_not(bits, expected):
    assert expected == snapshot(library(bits=bits), [OWN], None).look.held_down


def test_what_is_not_told_is_none():
    found = snapshot(library(silent=("clock", "reasons", "running")), [OWN], None).look
    assert [None] * 5 == [found.sm_mhz, found.memory_mhz, found.held_down, found.foreign, found.foreign_bytes]


def test_without_a_driver_there_is_nothing_to_see():
    if gpu.driver() is not None:
        pytest.skip("this machine has a driver")
    assert None is gpu.read_gpu([])
    gpu.check_room("cuda", [10**15])


# What follows


@given(st.lists(st.integers(200, 3000), max_size=10), st.integers(200, 3000))
def test_a_clock_is_steady_once_it_stays(before, rate):
    assert is_steady([*before, rate, rate, rate])
    assert not is_steady([*before, rate, rate, int(rate * 1.1)])
    assert not is_steady([rate, rate])


def test_room_is_for_every_workers_weights_and_what_cuda_itself_takes():
    free = replace(LOOK, free_bytes=1_000_000_000, foreign=2, foreign_bytes=5)
    assert None is memory_shortage(free, [200_000_000, 200_000_000])
    said = memory_shortage(free, [200_000_001, 200_000_000])
    assert said.startswith("the GPU has 1000 MB free of 80000, 2 other processes hold 5 bytes; 2 workers take 1000 MB")
    assert "--ship-backends" in said


def test_only_what_is_notable_is_said():
    assert [] == gpu_sentences([]) == gpu_sentences([LOOK, replace(LOOK, sm_mhz=1970), replace(LOOK, sm_mhz=None)])
    hot = replace(LOOK, sm_mhz=1200, held_down=("heat",), foreign=1, foreign_bytes=3_000_000)
    expected = [
        "the GPU's clock went between 1200 and 1980 MHz",
        "the GPU's clock was held down by heat",
        "another process used the GPU, with 3 MB of its memory",
    ]
    assert expected == gpu_sentences([LOOK, hot, replace(LOOK, held_down=None, foreign=None, foreign_bytes=None)])


def test_a_result_keeps_its_glances_and_tables_show_memory_where_there_is_any():
    own = process(peak_vram_bytes=(400_000_000, 600_000_000))
    quiet = Disturbance(
        load_before=0, load_after=0, foreign_share=0, steal_share=0, pressure_share=0, throttled=0, mhz_before=None,
        mhz_after=None, parent_cpu_share=0, switches={},
    )  # fmt: skip
    found = result("onnxruntime", 2.0, gpu=(LOOK, replace(LOOK, sm_mhz=990)), process=own, disturbance=quiet)
    assert found == msgspec.json.decode(msgspec.json.encode(found), type=Result)
    text = report.markdown([result(), found])
    assert "| peak VRAM, MB |" in text.replace("  ", " ").replace("  ", " ")
    assert "the GPU's clock went between 990 and 1980 MHz" in text
    assert "VRAM" not in report.markdown([result()])
    assert {500.0} == set(tidy([result(), found])["peak_vram_mb"].dropna())


# While rounds run

TOYS = """
from harness.contracts import (Session)


def load(artifact, target):
    return Session(lambda arrays: {"echo": arrays["x"]}, target.device, {})
"""


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Measures two toys on a device with these clock rates, one a glance, the last of which stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "toys.py").write_text(TOYS)
    load = runpy.run_path(str(tmp_path / "toys.py"))["load"]

    def go(device, rates, tells=True):
        glances = []

        def look(pids):
            glances.append(list(pids))
            rate = rates[min(len(glances), len(rates)) - 1]
            return (
                GpuSnapshot(replace(LOOK, sm_mhz=rate), {pid: 1000 * len(glances) for pid in pids}) if tells else None
            )

        found = measure(
            [Arm(name, Backend(name=name, load=load), tmp_path) for name in ("pytorch", "control")],
            [WorkloadInputs(1, 0, lambda number: [number % 40], lambda of: {"x": np.array(of)[:, None]})],
            Settings(Target(device, 1), launches=1, looks=(3,), timeout_s=60, machine=Machine(look=look)),
            lambda name, rows, outputs: None,
            lambda samples: True,
            Progress(),
        )
        return found, len(glances)

    return go


def test_rounds_begin_when_the_clock_is_steady_and_are_looked_at_before_and_after(measured):
    found, glances = measured("cuda", [300, 900, 1500, 1980])
    assert 6 + 2 == glances  # three that differ, three alike; before the rounds, and after
    assert [1980, 1980] == [look.sm_mhz for look in found.gpu]
    assert {name: [8000] for name in ("pytorch", "control")} == {
        name: lives.peak_vram_bytes for name, lives in found.lives.items()
    }
    assert [] == found.unsteady


def test_a_clock_that_never_rests_is_said(measured):
    found, _ = measured("cuda", [300, 900] * MOST_CALLS)
    (said,) = found.unsteady
    assert said.startswith(
        f"batch 1: the GPU's clock was not steady after {MOST_CALLS} blocks of warm-up calls: 300 to"
    )
    assert said in found.notes()


def test_the_cpu_asks_no_driver_and_a_driver_that_tells_nothing_stops_nobody(measured):
    found, glances = measured("cpu", [300])
    assert (0, []) == (glances, found.gpu)
    found, glances = measured("cuda", [300], tells=False)
    assert ([], []) == (found.gpu, found.lives["pytorch"].peak_vram_bytes)
    assert 3 == found.samples[0].rounds
