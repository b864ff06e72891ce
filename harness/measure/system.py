"""The machine's counters while rounds run, and what disturbed them. Counters that it does not report are None."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import resource
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from harness.util.machine import load_average

CPUS = Path("/sys/devices/system/cpu")
CGROUPS = Path("/sys/fs/cgroup")
PRESSURE = r"^some .*\btotal=(\d{1,20})$"
"""In /proc/pressure/cpu: microseconds in which some task waited."""
THROTTLED = r"^nr_throttled (\d{1,20})$"
"""In a cgroup's cpu.stat: periods in which its quota was used up."""
FOREIGN_SHARE = 0.05
"""Notable share of the usable CPUs; an idle system takes 1 to 2 % of two, one busy process takes 50 %."""
STEAL_SHARE = 0.01
"""Notable share of the usable CPUs; less is a hypervisor's own housekeeping."""
HEAVY_LOAD = 1.0
"""Notable load average, mentioned only if the share of other processes is missing."""
PARENT_SHARE = 0.1
"""Notable share of one CPU; handing over batches takes 2 to 4 %, a parent that busy-waits takes all of one."""
DRIFT = 0.05
"""Notable change of the CPU's frequency: more than the tolerance of a ratio allows, if it fell on one arm."""
MIN_CPU_S = 1.0
"""CPU seconds, summed over CPUs, below which ticks of 10 ms give no meaningful share."""


class Usage(NamedTuple):
    """Seconds since boot, over the usable CPUs; stolen ones were given to another machine on the same host."""

    busy_s: float
    steal_s: float
    total_s: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Counters at one moment."""

    load: float | None
    """One-minute average."""
    usage: Usage | None
    own_s: float
    """CPU seconds of this process, the parent, of the workers and all they started, and of children that have ended."""
    parent_s: float
    pressure_us: int | None
    """Time in which some task waited for a CPU."""
    throttled: int | None
    """Times that the CPU was slowed by heat, or this cgroup stopped by its quota."""
    mhz: float | None
    """Mean over the usable CPUs."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """The rounds of one launch: counters before and after them, and what its windows counted."""

    before: Snapshot
    after: Snapshot
    elapsed_ns: int
    """From the first window's beginning to the last one's end."""
    switches: Mapping[str, int]
    """Arm → involuntary context switches in its windows."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """The time of one launch, from before its workers start until they have ended."""

    host: str
    """Digest of the running system: windows of one host never overlap, unless they are of different GPUs."""
    began: str
    """UTC, ISO 8601."""
    ended: str


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """Disturbances over all rounds of one comparison; "before" is the first round, "after" the last one."""

    load_before: float | None
    load_after: float | None
    foreign_share: float | None
    """Share of the usable CPUs' time used by other processes than the parent and its workers."""
    steal_share: float | None
    """Share of the usable CPUs' time given to another machine on the same host."""
    pressure_share: float | None
    """Share of the elapsed time in which some task, perhaps one of ours, waited for a CPU."""
    throttled: int | None
    mhz_before: float | None
    mhz_after: float | None
    parent_cpu_share: float | None
    """CPU time of the parent per elapsed time. It sleeps while workers are timed and works in between."""
    switches: dict[str, int]

    def sentences(self) -> list[str]:
        """Describe what was notable; an undisturbed run gives no sentences."""
        sentences = []
        if self.foreign_share is None and (self.load_before or 0) > HEAVY_LOAD:
            sentences.append(f"the load was {self.load_before:.1f} before the rounds began")
        if (self.foreign_share or 0) > FOREIGN_SHARE:
            sentences.append(f"other processes used {self.foreign_share:.0%} of the CPU")
        if (self.steal_share or 0) > STEAL_SHARE:
            sentences.append(f"the hypervisor took {self.steal_share:.0%} of the CPU")
        if self.throttled:
            sentences.append(f"the CPU was throttled {'once' if self.throttled == 1 else f'{self.throttled} times'}")
        if self.mhz_before and self.mhz_after and abs(self.mhz_after / self.mhz_before - 1) > DRIFT:
            sentences.append(f"the CPU went from {self.mhz_before:.0f} to {self.mhz_after:.0f} MHz")
        if (self.parent_cpu_share or 0) > PARENT_SHARE:
            sentences.append(f"the measuring process itself used {self.parent_cpu_share:.0%} of a CPU")
        return sentences


@cache
def host() -> str:
    """Return a digest that names the running system but does not disclose its name; its containers share it."""
    name = read_text(Path("/proc/sys/kernel/random/boot_id")) or platform.node()
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def summarize(spans: Sequence[Span]) -> Disturbance:
    """Add up all launches, in the order they were measured; ValueError without any."""
    if not spans:
        raise ValueError("no rounds were run, so nothing disturbed them")
    first, last = spans[0].before, spans[-1].after
    elapsed_s = sum(span.elapsed_ns for span in spans) / 1e9
    foreign, steal = _shares(spans)
    pressure_us = _growth(spans, "pressure_us")
    parent_s = sum(span.after.parent_s - span.before.parent_s for span in spans)
    switches: Counter[str] = Counter()
    for span in spans:
        switches.update(span.switches)
    return Disturbance(
        load_before=first.load,
        load_after=last.load,
        foreign_share=foreign,
        steal_share=steal,
        # Waits just before and after the rounds count, too, so the sum may exceed the elapsed time.
        pressure_share=None if pressure_us is None or not elapsed_s else min(1.0, pressure_us / 1e6 / elapsed_s),
        throttled=_growth(spans, "throttled"),
        mhz_before=first.mhz,
        mhz_after=last.mhz,
        parent_cpu_share=parent_s / elapsed_s if elapsed_s else None,
        switches=dict(switches),
    )


def _shares(spans: Sequence[Span]) -> tuple[float | None, float | None]:
    """Return the shares of the usable CPUs' time that foreign processes used, and that was stolen."""
    foreign_s = steal_s = total_s = 0.0
    for span in spans:
        before, after = span.before.usage, span.after.usage
        if before is None or after is None:
            return None, None
        own_s = span.after.own_s - span.before.own_s
        foreign_s += after.busy_s - before.busy_s - own_s
        steal_s += after.steal_s - before.steal_s
        total_s += after.total_s - before.total_s
    if total_s < MIN_CPU_S:
        return None, None
    # Own time is counted more finely than the machine's, so that their difference may fall below zero.
    return max(0.0, foreign_s / total_s), max(0.0, steal_s / total_s)


def _growth(spans: Sequence[Span], counter: str) -> int | None:
    """Sum a counter's growth; None if it is missing or went backwards anywhere."""
    counts = [(getattr(span.before, counter), getattr(span.after, counter)) for span in spans]
    missing = any(before is None or after is None or after < before for before, after in counts)
    return None if missing else sum(after - before for before, after in counts)


def read_counters(pids: Iterable[int]) -> Snapshot:
    """Read the counters now; `pids` are the workers."""
    parent, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    parent_s = parent.ru_utime + parent.ru_stime
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return Snapshot(
        load=load_average(),
        usage=cpu_usage(cpus),
        own_s=parent_s + ended.ru_utime + ended.ru_stime + sum(map(cpu_s, pids)),
        parent_s=parent_s,
        pressure_us=read_number(Path("/proc/pressure/cpu"), PRESSURE),
        throttled=throttled(),
        mhz=mhz(cpus),
    )


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and of all it started; 0 for one that has ended."""
    import psutil

    spent = 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # it has just ended; its parent has been given its time
                spent += sum(member.cpu_times()[:4])  # user, system and those of children that ended
    return spent


def cpu_usage(cpus: Collection[int]) -> Usage | None:
    """Add up the times of these CPUs; None unless the system reports every CPU and the time stolen from it."""
    import psutil

    try:
        times = psutil.cpu_times(percpu=True)
    except (OSError, RuntimeError, ValueError, IndexError, TypeError):  # whatever stands in this system's /proc/stat
        return None
    # With a CPU offline, positions in the list are not numbers of CPUs.
    complete = len(times) == os.sysconf("SC_NPROCESSORS_CONF") and all(cpu < len(times) for cpu in cpus)
    if not complete or not hasattr(times[0], "steal"):
        return None
    usage = [times[cpu] for cpu in cpus]
    busy_s = sum(cpu.user + cpu.nice + cpu.system + cpu.irq + cpu.softirq for cpu in usage)
    steal_s = sum(cpu.steal for cpu in usage)
    return Usage(busy_s, steal_s, busy_s + steal_s + sum(cpu.idle + cpu.iowait for cpu in usage))


def throttled() -> int | None:
    """Count slow-downs because of heat, over all CPUs, and stops because of a quota; None if neither is counted."""
    heat = [read_number(path) for path in sorted(CPUS.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))]
    quota = [read_number(path, THROTTLED) for path in parse_cgroups(read_text(Path("/proc/self/cgroup")))]
    counts = [count for count in heat + quota if count is not None]
    return sum(counts) if counts else None


def parse_cgroups(text: str) -> list[Path]:
    """Return the cpu.stat of our cgroup and of those around it, from /proc/self/cgroup, in either version's layout."""
    paths = []
    for controllers, name in re.findall(r"^\d+:([^:\n]*):/(.*)$", text, re.MULTILINE | re.ASCII):
        if not controllers or "cpu" in controllers.split(","):
            group = Path(name)
            paths += [CGROUPS / controllers / parent / "cpu.stat" for parent in (group, *group.parents)]
    return list(dict.fromkeys(paths))


def mhz(cpus: Collection[int]) -> float | None:
    """Return the mean frequency of these CPUs now; None unless all report one."""
    khz = [read_number(CPUS / f"cpu{cpu}" / "cpufreq" / "scaling_cur_freq") or 0 for cpu in cpus]
    return sum(khz) / len(khz) / 1000 if khz and all(khz) else None


def read_number(path: Path, pattern: str = r"\A(\d{1,20})\s*\Z") -> int | None:
    """Return the whole number that `pattern` captures in a file; None if it matches nothing."""
    match = re.search(pattern, read_text(path), re.MULTILINE | re.ASCII)
    return int(match[1]) if match else None


def read_text(path: Path) -> str:
    """Return a file's text; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except (OSError, ValueError):
        return ""
