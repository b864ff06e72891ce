"""The GPU as its driver (NVML) tells of it: clocks, what holds them down, memory, and whose that is.

Without a GPU, its driver or `nvidia-ml-py` there is nothing to tell, and no measurement on the CPU asks.
"""

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
"""Bits of nvml.h's clock event reasons, but for idleness and a display's clock."""

STEADY = 0.02
"""Clock rates this close are the same; the tolerance of a ratio, if a change fell on one arm."""

STEADY_READINGS = 3
"""So many glances in a row must be that close."""

CONTEXT_MB = 300
"""What CUDA and its libraries take in every process, at least, before any weight."""


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """A glance at the GPU. None is what it does not tell."""

    sm_mhz: int | None
    memory_mhz: int | None
    held_down: tuple[str, ...] | None
    """Why clocks are lower than they could be."""
    free_bytes: int
    total_bytes: int
    foreign: int | None
    """Processes on it that are neither this one nor its workers; None where the driver counts processes otherwise
    than we do, as in a container."""
    foreign_bytes: int | None


class GpuSnapshot(NamedTuple):
    """A glance, and what each of our workers holds of the GPU's memory."""

    look: GpuReading
    held_bytes: dict[int, int]
    """Number of a process → bytes."""


def read_gpu(pids: Iterable[int]) -> GpuSnapshot | None:
    """The first visible GPU now, `pids` being the workers; None where there is none to look at."""
    nvml = driver()
    return None if nvml is None else snapshot(nvml, list(pids), os.environ.get("CUDA_VISIBLE_DEVICES"))


@cache
def driver() -> Any | None:
    """NVML's module, initialised; None without it or without a driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def snapshot(nvml: Any, pids: Sequence[int], visible: str | None) -> GpuSnapshot | None:
    """What a driver tells of the first device of `visible` (CUDA_VISIBLE_DEVICES); None where that is none."""
    name = "0" if visible is None else visible.split(",")[0].strip()

    def ask(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except nvml.NVMLError:  # not every device, driver and container tells everything
            return None

    find = nvml.nvmlDeviceGetHandleByIndex if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID
    device = ask(lambda: find(int(name) if name.isdigit() else name)) if name else None
    memory = None if device is None else ask(lambda: nvml.nvmlDeviceGetMemoryInfo(device))
    if memory is None:
        return None
    bits = ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device))
    running = ask(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(device))
    held = None if running is None else {int(one.pid): int(one.usedGpuMemory or 0) for one in running}
    # A worker on the device that the driver does not know has another number there.
    known = held is not None and (not pids or any(pid in held for pid in pids))
    others = {pid: size for pid, size in (held or {}).items() if pid not in (*pids, os.getpid())}
    return GpuSnapshot(
        GpuReading(
            sm_mhz=ask(lambda: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM)),
            memory_mhz=ask(lambda: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_MEM)),
            held_down=None if bits is None else tuple(dict.fromkeys(why for bit, why in REASONS.items() if bits & bit)),
            free_bytes=int(memory.free),
            total_bytes=int(memory.total),
            foreign=len(others) if known else None,
            foreign_bytes=sum(others.values()) if known else None,
        ),
        {pid: size for pid, size in (held or {}).items() if pid in pids and size},
    )


def is_steady(mhz: Sequence[int]) -> bool:
    """Whether the last glances show one clock rate."""
    last = mhz[-STEADY_READINGS:]
    return len(last) == STEADY_READINGS and max(last) <= min(last) * (1 + STEADY)


def gpu_sentences(looks: Sequence[GpuReading]) -> list[str]:
    """What is notable of a measurement's glances, in words."""
    found = []
    rates = [one.sm_mhz for one in looks if one.sm_mhz]
    if rates and max(rates) > min(rates) * (1 + STEADY):
        found.append(f"the GPU's clock went between {min(rates)} and {max(rates)} MHz")
    reasons = list(dict.fromkeys(why for one in looks for why in one.held_down or ()))
    if reasons:
        found.append(f"the GPU's clock was held down by {', '.join(reasons)}")
    foreign = max((one.foreign or 0 for one in looks), default=0)
    if foreign:
        held = max(one.foreign_bytes or 0 for one in looks)
        who = "another process" if foreign == 1 else f"{foreign} other processes"
        found.append(f"{who} used the GPU, with {held / 1e6:.0f} MB of its memory")
    return found


def memory_shortage(found: GpuReading, sizes: Sequence[int]) -> str | None:
    """Why workers with weights of these sizes, in bytes, cannot all be on the GPU, if so."""
    needed_mb = sum(sizes) / 1e6 + CONTEXT_MB * len(sizes)
    if found.free_bytes / 1e6 >= needed_mb:
        return None
    others = "" if not found.foreign else f", {found.foreign} other processes hold {found.foreign_bytes or 0:,} bytes"
    return (
        f"the GPU has {found.free_bytes / 1e6:.0f} MB free of {found.total_bytes / 1e6:.0f}{others}; {len(sizes)} "
        f"workers take {needed_mb:.0f} MB at least; end what holds its memory, name another GPU by "
        "CUDA_VISIBLE_DEVICES, or measure fewer backends (--ship-backends)"
    )


def release() -> None:
    """Give back what fine-tuning in this process left of its GPU memory: workers need it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def check_room(device: Device, sizes: Sequence[int]) -> None:
    """HarnessError where `lack` knows one; nothing is asked for a measurement on the CPU."""
    found = read_gpu([]) if device == "cuda" else None
    if found is not None and (why := memory_shortage(found.look, sizes)) is not None:
        raise HarnessError(why)
