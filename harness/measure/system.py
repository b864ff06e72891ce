"""What the machine counts while rounds run: its CPU time and whose it was, pressure, throttling, frequency.

Every reader gives None where this system does not tell; nothing is guessed.


ALSO: What disturbed the rounds: whose the CPU was meanwhile, and what a reader should be told of it."""

from __future__ import annotations

import os
import re
import resource
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from harness.util.machine import load_average

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


def read_counters(pids: Iterable[int]) -> Snapshot:
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


FOREIGN_SHARE = 0.05
"""Of the usable CPUs; a system that is left alone takes 1 to 2 % of two, one busy process takes 50 %."""

STEAL_SHARE = 0.01
"""Of the usable CPUs; below it, a hypervisor's own housekeeping."""

HEAVY_LOAD = 1.0
"""Processes that ran or waited on average; told only where nothing better is known of other processes."""

PARENT_SHARE = 0.1
"""Of one CPU; handing over batches between windows takes 2 to 4 %, a parent that does not sleep takes all of one."""

DRIFT = 0.05
"""Change of the frequency: more than the tolerance of a ratio allows, if it fell on one arm."""

LEAST_S = 1.0
"""Seconds of CPU time, added up over CPUs; of less, ticks of 10 ms give no share worth telling."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """The rounds of one launch: counters before and after them, and what its windows told."""

    before: Snapshot
    after: Snapshot
    elapsed_ns: int
    """From the first window's begin to the last one's end, by the workers' clock."""
    switches: Mapping[str, int]
    """Arm → involuntary context switches, summed over its windows."""


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """Of all rounds of one comparison. None is what this machine does not tell."""

    load_before: float | None
    load_after: float | None
    """One-minute averages before the first launch's rounds and after the last one's."""
    foreign_share: float | None
    """Of the usable CPUs' time: used by neither this session's parent nor its workers."""
    steal_share: float | None
    """Of the usable CPUs' time: given to another machine on the same host."""
    pressure_share: float | None
    """Of the elapsed time: some task, also one of ours, waited for a CPU."""
    throttled: int | None
    """How often the CPU was slowed because of heat, or our cgroup stopped because of its quota."""
    mhz_before: float | None
    mhz_after: float | None
    """Mean frequency of the usable CPUs; no more than two glances."""
    parent_cpu_share: float | None
    """Of the elapsed time: CPU time of the parent. It sleeps while others are timed and works between."""
    switches: dict[str, int]
    """Arm → involuntary context switches in its timed windows."""

    def sentences(self) -> list[str]:
        """What is notable, in words; none of an undisturbed run."""
        found = (self._others(), self._hypervisor(), self._heat(), self._frequency(), self._own())
        return [sentence for sentence in found if sentence]

    def unreadable(self) -> list[str]:
        """Names of the figures that this machine does not tell."""
        return [field.name for field in fields(self) if getattr(self, field.name) is None]

    def _others(self) -> str | None:
        if self.foreign_share is not None:
            return (
                f"other processes used {self.foreign_share:.0%} of the CPU"
                if self.foreign_share > FOREIGN_SHARE
                else None
            )
        if self.load_before is not None and self.load_before > HEAVY_LOAD:
            return f"the load was {self.load_before:.1f} before the rounds began"
        return None

    def _hypervisor(self) -> str | None:
        return (
            f"the hypervisor took {self.steal_share:.0%} of the CPU" if (self.steal_share or 0) > STEAL_SHARE else None
        )

    def _heat(self) -> str | None:
        times = "once" if self.throttled == 1 else f"{self.throttled} times"
        return f"the CPU was throttled {times}" if self.throttled else None

    def _frequency(self) -> str | None:
        if not self.mhz_before or not self.mhz_after or abs(self.mhz_after / self.mhz_before - 1) <= DRIFT:
            return None
        return f"the CPU went from {self.mhz_before:.0f} to {self.mhz_after:.0f} MHz"

    def _own(self) -> str | None:
        share = self.parent_cpu_share or 0
        return f"the measuring process itself used {share:.0%} of a CPU" if share > PARENT_SHARE else None


def summarize(spans: Sequence[Span]) -> Disturbance:
    """All launches together, in the order they were measured; ValueError for none."""
    if not spans:
        raise ValueError("no rounds were run, so nothing disturbed them")
    first, last = spans[0].before, spans[-1].after
    elapsed_s = sum(span.elapsed_ns for span in spans) / 1e9
    foreign, steal = _shares(spans)
    pressure_us = _added([_grown(span.before.pressure_us, span.after.pressure_us) for span in spans])
    parent_s = sum(span.after.parent_s - span.before.parent_s for span in spans)
    switches: Counter[str] = Counter()
    for span in spans:
        switches.update(span.switches)
    return Disturbance(
        load_before=first.load,
        load_after=last.load,
        foreign_share=foreign,
        steal_share=steal,
        # What waits at both ends of the rounds is counted beyond the time that is told.
        pressure_share=None if pressure_us is None or not elapsed_s else min(1.0, pressure_us / 1e6 / elapsed_s),
        throttled=_added([_grown(span.before.throttled, span.after.throttled) for span in spans]),
        mhz_before=first.mhz,
        mhz_after=last.mhz,
        parent_cpu_share=parent_s / elapsed_s if elapsed_s else None,
        switches=dict(switches),
    )


def _shares(spans: Sequence[Span]) -> tuple[float | None, float | None]:
    """(used by foreign processes, stolen), of the usable CPUs' time."""
    foreign_s = steal_s = total_s = 0.0
    for span in spans:
        before, after = span.before.usage, span.after.usage
        if before is None or after is None:
            return None, None
        own_s = span.after.own_s - span.before.own_s
        foreign_s += after.busy_s - before.busy_s - own_s
        steal_s += after.steal_s - before.steal_s
        total_s += after.total_s - before.total_s
    if total_s < LEAST_S:
        return None, None
    # Own time is counted more finely than the machine's, so that their difference may fall below nothing.
    return max(0.0, foreign_s / total_s), max(0.0, steal_s / total_s)


def _grown(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None or after < before else after - before


def _added(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
