"""GPU readings from a toy driver: clocks, memory and its holders, steadiness, shortage."""

import os
import runpy
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from factory import process, result
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.backend import Backend, Target
from harness.errors import HarnessError
from harness.measure import gpu
from harness.measure.client import Machine
from harness.measure.gpu import GpuReading, GpuSnapshot, gpu_sentences, is_steady, snapshot
from harness.measure.rounds import MAX_GPU_WARM_UP_BLOCKS, measure
from harness.measure.samples import Arm, Settings, WorkloadInputs
from harness.measure.system import Disturbance
from harness.report import documents
from harness.results.schema import Result
from harness.util import locks
from harness.util.console import Progress
from harness.verdicts.table import tidy

READING = GpuReading(
    sm_mhz=1980, memory_mhz=2619, held_down=(), free_bytes=70_000_000_000, total_bytes=80_000_000_000, foreign=0,
    foreign_bytes=0,
)  # fmt: skip
OWN, FOREIGN = 11, 99


class ToyError(Exception):
    """Raised by the toy library."""


def library(running=((OWN, 500), (FOREIGN, 300)), bits=0, silent=(), devices=("GPU-a", "GPU-b")):
    """Return a driver's library with two devices; the functions named in `silent` fail."""

    def answer(name, value):
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
        nvmlDeviceGetClockInfo=lambda device, kind: answer("clock", {1: 1980, 2: 2619}[kind])(),
        nvmlDeviceGetCurrentClocksThrottleReasons=answer("reasons", bits),
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(free=10 if device == "GPU-a" else 20, total=100),
        nvmlDeviceGetComputeRunningProcesses=answer(
            "running", [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in running]
        ),
    )


# Readings


def test_reading_has_clocks_memory_and_its_holders():
    state = snapshot(library(), [OWN], None)
    expected = GpuReading(
        sm_mhz=1980, memory_mhz=2619, held_down=(), free_bytes=10, total_bytes=100, foreign=1, foreign_bytes=300
    )
    assert (expected, {OWN: 500}) == state


def test_this_process_is_not_foreign():
    assert 0 == snapshot(library(running=[(os.getpid(), 700)]), [], None).reading.foreign


@pytest.mark.parametrize("running", [[], [(FOREIGN, 300)]])
def test_foreign_is_unknown_where_processes_have_other_numbers(running):
    state = snapshot(library(running=running), [OWN], None)
    assert (None, None, {}) == (state.reading.foreign, state.reading.foreign_bytes, state.held_bytes)


@pytest.mark.parametrize(
    ("visible", "free"), [(None, 10), ("0", 10), ("1,0", 20), ("GPU-b", 20), ("", None), ("7", None), ("-1", None)]
)
def test_device_is_the_first_visible_one(visible, free):
    state = snapshot(library(), [OWN], visible)
    assert free == (state and state.reading.free_bytes)


@pytest.mark.parametrize(
    ("visible", "name"),
    [(None, "uuid of GPU-a"), ("1,0", "uuid of GPU-b"), ("GPU-b", "uuid of GPU-b"), ("", None), ("7", None)],
)
def test_device_has_the_name_that_the_driver_gives_it(monkeypatch, visible, name):
    known = library()
    monkeypatch.setattr(gpu, "driver", lambda: known)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for uuid in (lambda device: f"uuid of {device}", lambda device: f"uuid of {device}".encode()):
        known.nvmlDeviceGetUUID = uuid
        assert name == gpu.device_name()


def test_device_without_a_driver_or_a_name_has_none(monkeypatch):
    known = library()

    def fail(device):
        raise ToyError

    known.nvmlDeviceGetUUID = fail
    for nvml in (None, known):
        monkeypatch.setattr(gpu, "driver", lambda nvml=nvml: nvml)
        assert gpu.device_name() is None


@pytest.mark.parametrize(
    ("bits", "expected"),
    [(0, ()), (1, ()), (0x4, ("power cap",)), (0x60, ("heat",)), (0x84, ("power cap", "power brake"))],
)
def test_clock_limits_are_named_without_idleness(bits, expected):
    assert expected == snapshot(library(bits=bits), [OWN], None).reading.held_down


def test_unreported_figures_are_none():
    reading = snapshot(library(silent=("clock", "reasons", "running")), [OWN], None).reading
    figures = (reading.sm_mhz, reading.memory_mhz, reading.held_down, reading.foreign, reading.foreign_bytes)
    assert (None,) * 5 == figures


def test_machine_without_a_driver_has_no_reading():
    if gpu.driver() is not None:
        pytest.skip("this machine has a driver")
    assert gpu.read_gpu([]) is None
    gpu.check_memory("cuda", [10**15])


# Judgements


@given(st.lists(st.integers(200, 3000), max_size=10), st.integers(200, 3000))
def test_clock_is_steady_after_three_equal_readings(before, rate):
    assert is_steady([*before, rate, rate, rate])
    assert not is_steady([*before, rate, rate, int(rate * 1.1)])
    assert not is_steady([rate, rate])


def test_memory_must_hold_all_weights_and_cudas_own_share(monkeypatch):
    free = replace(READING, free_bytes=1_000_000_000, foreign=2, foreign_bytes=5)
    monkeypatch.setattr(gpu, "read_gpu", lambda pids: GpuSnapshot(free, {}))
    gpu.check_memory("cuda", [200_000_000, 200_000_000])
    gpu.check_memory("cpu", [10**15])
    with pytest.raises(HarnessError) as caught:
        gpu.check_memory("cuda", [200_000_001, 200_000_000])
    assert str(caught.value) == (
        "the GPU has 1000 MB free of 80000, 2 other processes hold 5 bytes; 2 workers need at least 1000 MB; end the "
        "processes that hold its memory, name another GPU by CUDA_VISIBLE_DEVICES, or measure fewer backends "
        "(--ship-backends)"
    )


def test_only_notable_readings_are_described():
    assert (
        []
        == gpu_sentences([])
        == gpu_sentences([READING, replace(READING, sm_mhz=1970), replace(READING, sm_mhz=None)])
    )
    hot = replace(READING, sm_mhz=1200, held_down=("heat",), foreign=1, foreign_bytes=3_000_000)
    expected = [
        "the GPU's clock went between 1200 and 1980 MHz",
        "the GPU's clock was held down by heat",
        "another process used the GPU, with 3 MB of its memory",
    ]
    assert expected == gpu_sentences([READING, hot, replace(READING, held_down=None, foreign=None, foreign_bytes=None)])


def test_result_keeps_readings_and_tables_show_gpu_memory():
    own = process(peak_vram_bytes=(400_000_000, 600_000_000))
    quiet = Disturbance(
        load_before=0, load_after=0, foreign_share=0, steal_share=0, pressure_share=0, throttled=0, mhz_before=None,
        mhz_after=None, parent_cpu_share=0, switches={},
    )  # fmt: skip
    stored = result("onnxruntime", 2.0, gpu=(READING, replace(READING, sm_mhz=990)), process=own, disturbance=quiet)
    assert stored == msgspec.json.decode(msgspec.json.encode(stored), type=Result)
    text = documents.terminal_text([result(), stored])
    assert "VRAM" in text
    assert "the GPU's clock went between 990 and 1980 MHz" in text
    assert "VRAM" not in documents.terminal_text([result()])
    assert {500.0} == set(tidy([result(), stored])["peak_vram_mb"].dropna())


# While rounds run

TOYS = """
from harness.contracts.backend import Session


def load(artifact, target):
    return Session(lambda arrays: {"echo": arrays["x"]}, target.device, {})
"""


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Measure two toys on a device with these clock rates, one per reading, the last of which stays."""
    monkeypatch.setenv(locks.FOLDER, str(tmp_path))
    (tmp_path / "toys.py").write_text(TOYS)
    load = runpy.run_path(str(tmp_path / "toys.py"))["load"]

    def go(device, rates, silent=False):
        readings = []

        def read_gpu(pids):
            readings.append(list(pids))
            rate = rates[min(len(readings), len(rates)) - 1]
            held = {pid: 1000 * len(readings) for pid in pids}
            return None if silent else GpuSnapshot(replace(READING, sm_mhz=rate), held)

        measurement = measure(
            [Arm(name, Backend(name=name, load=load), tmp_path) for name in ("pytorch", "control")],
            [WorkloadInputs(1, 0, lambda number: [number % 40], lambda of: {"x": np.array(of)[:, None]})],
            Settings(Target(device, 1), launches=1, looks=(3,), timeout_s=60, machine=Machine(read_gpu=read_gpu)),
            lambda name, rows, outputs: None,
            lambda samples: True,
            Progress(),
        )
        return measurement, len(readings)

    return go


def test_rounds_begin_with_a_steady_clock_and_are_framed_by_readings(measured):
    measurement, readings = measured("cuda", [300, 900, 1500, 1980])
    assert 6 + 2 == readings  # three that differ, three alike; before the rounds, and after
    assert [1980, 1980] == [reading.sm_mhz for reading in measurement.gpu]
    held = {name: worker.peak_vram_bytes for name, worker in measurement.workers.items()}
    assert {"pytorch": [8000], "control": [8000]} == held
    assert [] == measurement.unsteady


def test_clock_that_never_settles_is_noted(measured):
    measurement, _ = measured("cuda", [300, 900] * MAX_GPU_WARM_UP_BLOCKS)
    note = (
        f"batch 1: the GPU's clock was not steady after {MAX_GPU_WARM_UP_BLOCKS} blocks of warm-up calls: 300 to 900 "
        "MHz"
    )
    assert [note] == measurement.unsteady
    assert note in measurement.notes()


def test_gpu_driver_is_unused_on_cpu_and_optional_on_cuda(measured):
    measurement, readings = measured("cpu", [300])
    assert (0, []) == (readings, measurement.gpu)
    measurement, _ = measured("cuda", [300], silent=True)
    assert ([], []) == (measurement.gpu, measurement.workers["pytorch"].peak_vram_bytes)
    assert 3 == measurement.samples[0].rounds
