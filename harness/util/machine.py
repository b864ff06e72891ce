"""The environment of a measurement: machine, package versions and commit."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from harness.errors import HarnessError

LOCAL = "local"
"""Name of a machine that nobody named: git ignores its results, and nobody else relies on them."""
PACKAGES = (
    "shipbench", "torch", "transformers", "onnx", "onnxruntime", "onnxruntime-gpu", "datasets", "evaluate", "numpy",
    "openvino", "tensorrt", "torchao",
)  # fmt: skip

NOT_COMPARED = frozenset(("memory_gib", "commit", "dirty", "load_before"))
"""Fields of the environment in which comparable timings may differ."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The environment of a result. Results whose `comparable()` differ never stand in one comparison."""

    machine: str
    """The name from `--ship-machine`."""
    cpu: str
    flags: tuple[str, ...]
    """The CPU flags that decide which kernels run."""
    cores: int
    """Cores that this process may use, by affinity and cgroup quota."""
    memory_gib: float
    accelerator: str | None
    system: str
    python: str
    packages: dict[str, str]
    threads: int
    wait_policy: str
    commit: str | None
    dirty: bool
    load_before: float | None
    """One-minute load average when the measurement began."""

    def comparable(self) -> dict[str, Any]:
        """Return the fields that must be equal for two timings to be compared."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in NOT_COMPARED}


def describe(machine: str, threads: int, folder: Path, spinning: bool = False) -> Environment:
    """Return the present environment; the commit is that of the repository around `folder`."""
    import psutil

    commit, dirty = commit_of(folder)
    return Environment(
        machine=machine,
        cpu=processor_name("cpu"),
        flags=tuple(sorted(flag for flag in cpu_flags() if flag.startswith(("avx", "amx", "sve", "asimd", "f16c")))),
        cores=usable_cores(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        accelerator=accelerator(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages=versions(),
        threads=threads,
        wait_policy=wait_policy(spinning),
        commit=commit,
        dirty=dirty,
        load_before=load_average(),
    )


def processor_name(device: str) -> str:
    """Return the name of the CPU, or of the GPU for "cuda"; empty if there is none."""
    if device == "cuda":
        return accelerator() or ""
    return str(_cpu_info().get("brand_raw", platform.processor()))


def wait_policy(spinning: bool) -> str:
    """Return how idle threads wait: by each runtime's default, or asleep, which OpenMP calls passive."""
    return "default" if spinning else "passive"


def versions(names: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the installed versions of these packages, by default of all that influence a result."""
    installed = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def cpu_flags() -> frozenset[str]:
    """Return the names of the CPU's instruction sets, as the operating system spells them."""
    return frozenset(_cpu_info().get("flags", ()))


def usable_cores() -> int:
    """Return the number of cores that this process may use: its affinity, limited by the cgroups' quota."""
    return max(1, int(min(_affinity(), cpu_quota())))


def quota_notes() -> list[str]:
    """Return a sentence for the record if a quota allows less CPU time than the cores that this process may run on."""
    quota, cores = cpu_quota(), _affinity()
    if quota >= cores:
        return []
    return [f"a cgroup's CPU quota of {quota:g} cores limits this process, which may run on {cores}"]


def cpu_quota(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the smallest quota, in cores, of the groups in the list `own` and of those around them; inf without one.

    Groups of both versions count. A container may see its own group at the root, under its host's name.
    """
    try:
        groups = own.read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    quotas = [math.inf]
    for _, controllers, group in (line.split(":", 2) for line in groups):
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = (root / controllers, root / "cpu") if controllers else (root, root / "unified")
        levels = (PurePosixPath(group), *PurePosixPath(group).parents)
        quotas += [_quota(mount / level.relative_to("/")) for mount in mounts for level in levels]
    return min(quotas)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota(group: Path) -> float:
    """Return the quota of one group, in cores; inf without one."""
    with suppress(OSError, ValueError, ZeroDivisionError):  # version 2, where "max" is no limit
        limit, period = map(int, (group / "cpu.max").read_text().split())
        return limit / period
    with suppress(OSError, ValueError, ZeroDivisionError):  # version 1, where -1 is no limit
        limit = int((group / "cpu.cfs_quota_us").read_text())
        return limit / int((group / "cpu.cfs_period_us").read_text()) if limit > 0 else math.inf
    return math.inf


def load_average() -> float | None:
    """Return the one-minute load average, if the system has one."""
    with suppress(OSError):
        return round(os.getloadavg()[0], 2)
    return None


@cache
def accelerator() -> str | None:
    """Return the name and driver of the first CUDA device, without importing torch; None without a device."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        devices = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
        return devices.splitlines()[0] if devices else None
    return None


def no_cuda() -> str | None:
    """Return why CUDA cannot be used, or None if it can. Imports torch only where a driver answers."""
    if accelerator() is None:
        return "no CUDA device: nvidia-smi finds none"
    import torch

    return None if torch.cuda.is_available() else "no CUDA device: torch.cuda.is_available() is False"


def check_onnxruntime() -> None:
    """Raise HarnessError unless exactly one of ONNX Runtime's distributions is installed."""
    installed = versions(("onnxruntime", "onnxruntime-gpu"))
    if len(installed) == 2:
        raise HarnessError(
            "onnxruntime and onnxruntime-gpu are both installed and share one folder, so CUDA disappears silently; "
            "run: python -m pip uninstall -y onnxruntime onnxruntime-gpu, then install one extra, [cpu] or [gpu]"
        )
    if not installed:
        raise HarnessError('onnxruntime is not installed; run: python -m pip install -e ".[cpu]" (or ".[gpu]")')


def check_installed(name: str, user: str) -> None:
    """Raise HarnessError on behalf of `user` if the package of the extra `name` is not installed."""
    if reason := missing_module(name, f'-e ".[{name}]"'):
        raise HarnessError(f"{user}: {reason}")


def missing_module(name: str, requirement: str) -> str | None:
    """Return how to install a module from a requirement for pip; None if it is installed."""
    if importlib.util.find_spec(name):
        return None
    return f"{name} is not installed; run: python -m pip install {requirement}"


def commit_of(folder: Path) -> tuple[str | None, bool]:
    """Return the commit checked out at `folder`, and whether any file but those of `results/` differs from it."""
    with suppress(OSError, subprocess.CalledProcessError):
        changes = _git(folder, "status", "--porcelain", "--", ":(top)", ":(top,exclude,glob)**/results/**")
        return _git(folder, "rev-parse", "HEAD"), bool(changes)
    return None, False


@cache
def _cpu_info() -> dict[str, Any]:
    import cpuinfo

    return dict(cpuinfo.get_cpu_info())


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout.strip()
