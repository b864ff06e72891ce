"""What the machine counts while rounds run: its CPU time and whose it was, pressure, throttling, frequency.

Every reader gives None where this system does not tell; nothing is guessed.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

CPUS = Path("/sys/devices/system/cpu")
CGROUPS = Path("/sys/fs/cgroup")


class Usage(NamedTuple):
    """Seconds of the usable CPUs since boot, added up over them."""

    busy_s: float
    steal_s: float
    """Wanted by this machine, given to another one on the same host."""
    total_s: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Counters at one moment. `take` makes one."""

    load: float | None
    """One-minute average."""
    usage: Usage | None
    own_s: float
    """CPU seconds of this process, of those workers and all they started, and of every child that has ended."""
    parent_s: float
    """CPU seconds of this process."""
    pressure_us: int | None
    """How long somebody waited for a CPU."""
    throttled: int | None
    """How often the CPU was slowed because of heat, or this cgroup was stopped because of its quota."""
    mhz: float | None
    """Mean over the usable CPUs."""


def take(pids: Iterable[int]) -> Snapshot:
    """The counters now; `pids` are the workers that live."""
    parent = resource.getrusage(resource.RUSAGE_SELF)
    # A worker that ended meanwhile is found here, so that its time is nobody else's.
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    parent_s = parent.ru_utime + parent.ru_stime
    return Snapshot(
        load=load_average(),
        usage=parse_stat(text_of(Path("/proc/stat")), usable_cpus(), os.sysconf("SC_CLK_TCK")),
        own_s=parent_s + ended.ru_utime + ended.ru_stime + sum(map(cpu_s, pids)),
        parent_s=parent_s,
        pressure_us=parse_pressure(text_of(Path("/proc/pressure/cpu"))),
        throttled=throttled(),
        mhz=mhz(usable_cpus()),
    )


def load_average() -> float | None:
    """One-minute load average."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def usable_cpus() -> frozenset[int]:
    """Numbers of the CPUs that this process may run on."""
    known = hasattr(os, "sched_getaffinity")
    return frozenset(os.sched_getaffinity(0) if known else range(os.cpu_count() or 1))


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and of all it started; 0 for one that has ended."""
    import psutil

    spent = 0.0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for member in family:
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue  # ended since; its parent has been given its time
        spent += times.user + times.system + times.children_user + times.children_system
    return spent


def parse_stat(text: str, cpus: Collection[int], hertz: int) -> Usage | None:
    """Of /proc/stat, which counts in ticks of 1 / `hertz` s: the lines of these CPUs; None unless all are there."""
    busy = steal = total = 0
    lines = {
        int(number): rest for number, rest in re.findall(r"^cpu(\d{1,9}) ([\d ]{,400})$", text, re.MULTILINE | re.ASCII)
    }
    for cpu in cpus:
        found = re.findall(r"\d{1,20}", lines.get(cpu, ""), re.ASCII)
        if len(found) < 8:
            return None
        # The two columns after these, of guests, are a part of the first two.
        user, nice, system, idle, iowait, irq, softirq, stolen = map(int, found[:8])
        own = user + nice + system + irq + softirq
        busy, steal, total = busy + own, steal + stolen, total + own + idle + iowait + stolen
    return Usage(busy / hertz, steal / hertz, total / hertz) if total else None


def parse_pressure(text: str) -> int | None:
    """Of /proc/pressure/cpu: microseconds in which some task waited."""
    found = re.search(r"^some .*\btotal=(\d{1,20})$", text, re.MULTILINE | re.ASCII)
    return int(found[1]) if found else None


def parse_throttled(text: str) -> int | None:
    """Of a cgroup's cpu.stat: periods in which its quota was used up."""
    found = re.search(r"^nr_throttled (\d{1,20})$", text, re.MULTILINE | re.ASCII)
    return int(found[1]) if found else None


def parse_cgroups(text: str) -> list[Path]:
    """Of /proc/self/cgroup: the cpu.stat of our group and of those around it, in either version's layout."""
    found = []
    for controllers, name in re.findall(r"^\d+:([^:\n]*):/(.*)$", text, re.MULTILINE | re.ASCII):
        if not controllers or "cpu" in controllers.split(","):
            group = Path(name)
            found += [CGROUPS / controllers / part / "cpu.stat" for part in (group, *group.parents)]
    return list(dict.fromkeys(found))


def throttled() -> int | None:
    """Slow-downs because of heat, over all CPUs, and stops because of a quota; None where neither is counted."""
    heat = [number_of(path) for path in sorted(CPUS.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))]
    quota = [parse_throttled(text_of(path)) for path in parse_cgroups(text_of(Path("/proc/self/cgroup")))]
    counts = [count for count in heat + quota if count is not None]
    return sum(counts) if counts else None


def mhz(cpus: Collection[int]) -> float | None:
    """Mean frequency of these CPUs now; None unless all tell."""
    found = [number_of(CPUS / f"cpu{cpu}" / "cpufreq" / "scaling_cur_freq") for cpu in cpus]
    known = [khz for khz in found if khz]
    return sum(known) / len(known) / 1000 if known and len(known) == len(found) else None


def number_of(path: Path) -> int | None:
    """The whole number that a file holds."""
    text = text_of(path).strip()
    return int(text) if re.fullmatch(r"\d{1,20}", text, re.ASCII) else None


def text_of(path: Path) -> str:
    """What a file holds; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except (OSError, ValueError):
        return ""
