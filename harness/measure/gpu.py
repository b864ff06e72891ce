"""The state of the GPU as its driver (NVML) reports it; None without a GPU, its driver or `nvidia-ml-py`."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from harness.contracts.backend import Device
from harness.errors import HarnessError

REASONS = {
    0x2: "clocks set by hand", 0x4: "power cap", 0x8: "hardware slowdown", 0x10: "synchronised boost", 0x20: "heat",
    0x40: "heat", 0x80: "power brake",
}  # fmt: skip
"""Bits of nvml.h's clock event reasons, without idleness and display clocks."""
STEADY = 0.02
"""Clock rates this close count as equal: the tolerance of a ratio, if a change fell on one arm."""
STEADY_READINGS = 3
"""Successive readings that must be that close."""
CONTEXT_MB = 300
"""Memory that CUDA and its libraries take in every process, at least, before any weight."""


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """The GPU at one moment; fields that the driver does not report are None."""

    sm_mhz: int | None
    memory_mhz: int | None
    held_down: tuple[str, ...] | None
    """Reasons why clocks are lower than they could be."""
    free_bytes: int
    total_bytes: int
    foreign: int | None
    """Processes on it other than ours; None if the driver numbers processes differently, as in a container."""
    foreign_bytes: int | None


class GpuSnapshot(NamedTuple):
    """A reading, and the bytes of GPU memory that each of our workers holds, by process id."""

    reading: GpuReading
    held_bytes: dict[int, int]


def read_gpu(pids: Iterable[int]) -> GpuSnapshot | None:
    """Read the first visible GPU, `pids` being the workers; None if this machine has none."""
    nvml = driver()
    return None if nvml is None else snapshot(nvml, list(pids), os.environ.get("CUDA_VISIBLE_DEVICES"))


@cache
def driver() -> Any | None:
    """Return NVML's module, initialised; None without the module or a driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        return None
    except pynvml.NVMLError:
        return None
    return pynvml


def snapshot(nvml: Any, pids: Sequence[int], visible: str | None) -> GpuSnapshot | None:
    """Read the first device of `visible` (CUDA_VISIBLE_DEVICES); None if that names no device."""

    def ask(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except nvml.NVMLError:  # not every device, driver and container reports everything
            return None

    device = _first_visible(nvml, visible)
    memory = None if device is None else ask(lambda: nvml.nvmlDeviceGetMemoryInfo(device))
    if memory is None:
        return None
    bits = ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device))
    processes = ask(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(device))
    held = {int(process.pid): int(process.usedGpuMemory or 0) for process in processes or ()}
    # If the driver lists none of the workers, it numbers processes differently.
    same_numbers = processes is not None and (not pids or any(pid in held for pid in pids))
    others = {pid: size for pid, size in held.items() if pid not in (*pids, os.getpid())}
    return GpuSnapshot(
        GpuReading(
            sm_mhz=ask(lambda: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM)),
            memory_mhz=ask(lambda: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_MEM)),
            held_down=None if bits is None else tuple(dict.fromkeys(why for bit, why in REASONS.items() if bits & bit)),
            free_bytes=int(memory.free),
            total_bytes=int(memory.total),
            foreign=len(others) if same_numbers else None,
            foreign_bytes=sum(others.values()) if same_numbers else None,
        ),
        {pid: size for pid, size in held.items() if pid in pids and size},
    )


def _first_visible(nvml: Any, visible: str | None) -> Any | None:
    """Return the handle of the first device of CUDA_VISIBLE_DEVICES; None if that names no device."""
    name = "0" if visible is None else visible.split(",")[0].strip()
    try:
        if name.isdigit():
            return nvml.nvmlDeviceGetHandleByIndex(int(name))
        return nvml.nvmlDeviceGetHandleByUUID(name) if name else None
    except nvml.NVMLError:
        return None


def device_name() -> str | None:
    """Return the name that the driver gives the first visible GPU, on the whole machine; None without one."""
    nvml = driver()
    device = None if nvml is None else _first_visible(nvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if nvml is None or device is None:
        return None
    try:
        name = nvml.nvmlDeviceGetUUID(device)
    except nvml.NVMLError:
        return None
    return name.decode() if isinstance(name, bytes) else str(name)


def is_steady(mhz: Sequence[int]) -> bool:
    """Return True if the last readings show one clock rate."""
    last = mhz[-STEADY_READINGS:]
    return len(last) == STEADY_READINGS and max(last) <= min(last) * (1 + STEADY)


def gpu_sentences(readings: Sequence[GpuReading]) -> list[str]:
    """Describe what was notable during a measurement."""
    sentences = []
    rates = [reading.sm_mhz for reading in readings if reading.sm_mhz]
    if rates and max(rates) > min(rates) * (1 + STEADY):
        sentences.append(f"the GPU's clock went between {min(rates)} and {max(rates)} MHz")
    if reasons := list(dict.fromkeys(why for reading in readings for why in reading.held_down or ())):
        sentences.append(f"the GPU's clock was held down by {', '.join(reasons)}")
    if foreign := max((reading.foreign or 0 for reading in readings), default=0):
        held = max(reading.foreign_bytes or 0 for reading in readings)
        users = "another process" if foreign == 1 else f"{foreign} other processes"
        sentences.append(f"{users} used the GPU, with {held / 1e6:.0f} MB of its memory")
    return sentences


def check_memory(device: Device, sizes: Sequence[int]) -> None:
    """Raise HarnessError if workers with weights of these sizes, in bytes, cannot all be on the GPU."""
    state = read_gpu([]) if device == "cuda" else None
    needed_mb = sum(sizes) / 1e6 + CONTEXT_MB * len(sizes)
    if state is None or state.reading.free_bytes / 1e6 >= needed_mb:
        return
    reading, holders = state.reading, ""
    if reading.foreign:
        holders = f", {reading.foreign} other processes hold {reading.foreign_bytes or 0:,} bytes"
    raise HarnessError(
        f"the GPU has {reading.free_bytes / 1e6:.0f} MB free of {reading.total_bytes / 1e6:.0f}{holders}; {len(sizes)} "
        f"workers need at least {needed_mb:.0f} MB; end the processes that hold its memory, name another GPU by "
        "CUDA_VISIBLE_DEVICES, or measure fewer backends (--ship-backends)"
    )


def release_memory() -> None:
    """Free the GPU memory that fine-tuning left in this process: workers need it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
