"""The machine, the versions and the state of the tree that a number came from."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.errors import HarnessError


def load_average() -> float | None:
    """One-minute load average."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


PACKAGES = (
    "shipbench", "torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime", "onnxruntime-gpu",
    "datasets", "evaluate", "numpy", "openvino", "tensorrt", "torchao",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Recorded with every result; results whose `comparable()` differ never stand in one comparison."""

    machine: str
    """Name given by `--ship-machine`."""
    cpu: str
    flags: tuple[str, ...]
    """Those CPU flags that decide which kernels run."""
    cores: int
    """Usable ones: affinity and cgroup quota count."""
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
        """What must be equal for two timings to be compared."""
        return {
            name: getattr(self, name)
            for name in (
                "machine",
                "cpu",
                "flags",
                "cores",
                "accelerator",
                "system",
                "python",
                "packages",
                "threads",
                "wait_policy",
            )
        }


def describe(machine: str, threads: int, folder: Path, spinning: bool = False) -> Environment:
    """This machine, now; `folder` lies in the tree whose commit is recorded."""
    import psutil

    commit, dirty = commit_of(folder)
    return Environment(
        machine=machine,
        cpu=str(_cpu_info().get("brand_raw", platform.processor())),
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


def wait_policy(spinning: bool) -> str:
    """OpenMP's name for what idle threads do."""
    return "active" if spinning else "passive"


def versions(names: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Installed versions of everything that decides a number."""
    return {name: found for name in names if (found := _version(name))}


@cache
def _cpu_info() -> dict[str, Any]:
    import cpuinfo

    info: dict[str, Any] = cpuinfo.get_cpu_info()
    return info


def cpu_flags() -> frozenset[str]:
    """Names of the CPU's instruction sets, as the operating system spells them."""
    return frozenset(_cpu_info().get("flags", ()))


def usable_cores() -> int:
    """Cores this process may use: its affinity, cut to the cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, max(1, int(limit) // int(period)))
    return cores


@cache
def accelerator() -> str | None:
    """Name of the first CUDA device as the driver gives it, without importing torch; None where there is none."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return found.strip().splitlines()[0] if found.strip() else None


def no_cuda() -> str | None:
    """Why there is no CUDA device to run on, or None if there is one. Imports torch only where a driver answers."""
    if accelerator() is None:
        return "no CUDA device: nvidia-smi finds none"
    import torch

    return None if torch.cuda.is_available() else "no CUDA device: torch.cuda.is_available() is False"


def check_onnxruntime() -> None:
    """HarnessError if none or both of ONNX Runtime's distributions are installed: they overwrite each other."""
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if _version(name)]
    if len(found) == 2:
        raise HarnessError(
            "onnxruntime and onnxruntime-gpu are both installed and share one folder, so CUDA disappears silently; "
            "run: python -m pip uninstall -y onnxruntime onnxruntime-gpu, then install one extra, [cpu] or [gpu]"
        )
    if not found:
        raise HarnessError('onnxruntime is not installed; run: python -m pip install -e ".[cpu]" (or ".[gpu]")')


def commit_of(folder: Path) -> tuple[str | None, bool]:
    """The commit checked out at `folder`, and whether tracked or new files differ from it, `results/` aside."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        top = _git(folder, "rev-parse", "--show-toplevel")
        changes = _git(Path(top), "status", "--porcelain", "--", ".", ":(exclude,glob)**/results/**")
    except (OSError, subprocess.CalledProcessError):
        return None, False
    return commit, bool(changes)


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_installed(name: str, user: str) -> None:
    """Raise HarnessError on behalf of `user` if a tracker's package is not installed."""
    if importlib.util.find_spec(name) is None:
        raise HarnessError(f'{user}: {name} is not installed; run: python -m pip install -e ".[{name}]"')
