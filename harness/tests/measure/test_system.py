"""The machine's counters and the disturbances derived from them; counters that are missing are None."""

import hashlib
import os
import re
import subprocess
import sys
from collections import namedtuple
from dataclasses import fields, replace
from pathlib import Path

import msgspec
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.measure import system
from harness.measure.system import (
    DRIFT,
    FOREIGN_SHARE,
    HEAVY_LOAD,
    MIN_CPU_S,
    PARENT_SHARE,
    PRESSURE,
    STEAL_SHARE,
    THROTTLED,
    Disturbance,
    Snapshot,
    Span,
    Usage,
    cpu_s,
    cpu_usage,
    parse_cgroups,
    read_counters,
    read_number,
    read_text,
    summarize,
)

LAW = settings(max_examples=100)
linux = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="there is no /proc")


# Counters

CpuTimes = namedtuple("CpuTimes", "user nice system idle iowait irq softirq steal guest guest_nice")
TIMES = [
    CpuTimes(10, 0.2, 3, 40, 0.4, 0.05, 0.06, 0.07, 9, 0.9),
    CpuTimes(1, 0.02, 0.3, 4, 0.1, 0.01, 0.01, 0.01, 0, 0),
]


@pytest.fixture
def cpu_times(monkeypatch):
    """Have the system report these times, and so many configured CPUs."""

    def report(times, configured=2):
        monkeypatch.setattr(psutil, "cpu_times", lambda percpu: times)
        monkeypatch.setattr(os, "sysconf", lambda name: configured)

    return report


def test_cpu_time_is_summed_over_our_cpus(cpu_times):
    cpu_times(TIMES)
    assert pytest.approx(Usage(13.31, 0.07, 53.78)) == cpu_usage({0})
    assert pytest.approx(Usage(13.31 + 1.34, 0.08, 53.78 + 5.45)) == cpu_usage({0, 1})


@pytest.mark.parametrize(
    ("times", "configured", "cpus"),
    [
        (TIMES, 2, {2}),
        (TIMES, 3, {0}),
        ([], 0, {0}),
        ([namedtuple("NoSteal", "user nice system idle")(1, 2, 3, 4)], 1, {0}),
    ],
    ids=["unknown CPU", "one offline", "empty", "no steal"],
)
def test_incomplete_cpu_times_are_none(cpu_times, times, configured, cpus):
    cpu_times(times, configured)
    assert cpu_usage(cpus) is None


@pytest.mark.parametrize(
    ("text", "pattern", "number"),
    [
        ("some avg10=0.00 avg300=2.12 total=1174468142\nfull avg10=0.00 total=5\n", PRESSURE, 1174468142),
        ("full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n", PRESSURE, None),
        ("some total=" + "9" * 5000, PRESSURE, None),
        ("some total=٣", PRESSURE, None),
        ("nr_periods 100\nnr_throttled 12\nthrottled_usec 9000\n", THROTTLED, 12),
        ("nr_throttled -1\n", THROTTLED, None),
    ],
)
def test_counters_are_read_from_their_lines(tmp_path, text, pattern, number):
    (tmp_path / "file").write_text(text)
    assert number == read_number(tmp_path / "file", pattern)


@LAW
@given(st.text() | st.text(max_size=9).map(lambda rest: f"0::/{rest}"))
@example("0::/\0")
@example("1:cpu:/" + "a/" * 50)
def test_any_cgroup_gives_paths_that_can_be_tried(text):
    assert all(isinstance(read_text(path), str) for path in parse_cgroups(text))


def test_cgroups_are_found_in_both_versions_layout():
    expected = [
        "cpu,cpuacct/docker/71fa/cpu.stat",
        "cpu,cpuacct/docker/cpu.stat",
        "cpu,cpuacct/cpu.stat",
        "user.slice/a:b/cpu.stat",
        "user.slice/cpu.stat",
        "cpu.stat",
    ]
    text = "12:cpuset:/\n4:cpu,cpuacct:/docker/71fa\n3:cpuacct:/x\n0::/user.slice/a:b\n"
    assert [Path("/sys/fs/cgroup") / name for name in expected] == parse_cgroups(text)


@pytest.fixture
def cpus(tmp_path, monkeypatch):
    """Write a file of a CPU in a folder that stands for the system's."""
    monkeypatch.setattr(system, "CPUS", tmp_path)
    monkeypatch.setattr(system, "CGROUPS", tmp_path / "none")

    def write(cpu, name, text):
        path = tmp_path / f"cpu{cpu}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def test_frequency_is_the_mean_of_our_cpus(cpus):
    for cpu, khz in enumerate(("2000000\n", "3000000\n", "9000000\n")):
        cpus(cpu, "cpufreq/scaling_cur_freq", khz)
    assert 2500 == system.mhz({0, 1})


@pytest.mark.parametrize("text", ["", "<unknown>", "0", "-1"])
def test_frequency_is_none_unless_every_cpu_reports_it(cpus, text):
    cpus(0, "cpufreq/scaling_cur_freq", "2000000\n")
    cpus(1, "cpufreq/scaling_cur_freq", text)
    assert [None] * 3 == [system.mhz(numbers) for numbers in ({0, 1}, {0, 7}, set())]


def test_heat_is_counted_over_all_cpus(cpus):
    assert system.throttled() is None
    cpus(0, "thermal_throttle/core_throttle_count", "3\n")
    cpus(1, "thermal_throttle/core_throttle_count", "4\n")
    assert 7 == system.throttled()


def test_silent_machine_gives_none_and_no_error(monkeypatch):
    def fail(*_, **__):
        raise OSError("not on this machine")

    monkeypatch.setattr(system, "read_text", lambda path: "")
    monkeypatch.setattr(psutil, "cpu_times", fail)
    monkeypatch.setattr(os, "getloadavg", fail)
    counters = read_counters([])
    assert [None] * 5 == [counters.load, counters.usage, counters.pressure_us, counters.throttled, counters.mhz]
    assert 0 < counters.parent_s <= counters.own_s


@linux
def test_worker_time_is_ours_also_after_its_end():
    program = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()"
    before = read_counters([])
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        alive = read_counters([process.pid])
        process.communicate("\n")
    ended = read_counters([process.pid])
    for after in (alive, ended):
        assert after.own_s - before.own_s >= 0.25
        assert after.parent_s - before.parent_s < 0.2
    assert 0.0 == cpu_s(process.pid)


@linux
def test_time_of_a_workers_child_is_ours():
    inner = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        assert cpu_s(process.pid) >= 0.25
        process.communicate("\n")


# Disturbance

ZERO = Snapshot(load=0.5, usage=Usage(0, 0, 0), own_s=0, parent_s=0, pressure_us=0, throttled=0, mhz=2000)
SILENT = Snapshot(load=None, usage=None, own_s=1, parent_s=1, pressure_us=None, throttled=None, mhz=None)
QUIET = Disturbance(
    load_before=0.5, load_after=2.0, foreign_share=0.01, steal_share=0.001, pressure_share=0.1, throttled=0,
    mhz_before=2000, mhz_after=2010, parent_cpu_share=0.002, switches={"pytorch": 3},
)  # fmt: skip
UNKNOWN = replace(QUIET, **{field.name: None for field in fields(QUIET) if field.name != "switches"})


def span(elapsed_s=10, before=ZERO, switches=None, **after):
    """Return rounds during which two CPUs were busy for 12 of 20 s, 9 of them ours."""
    counters = {"load": 2.0, "usage": Usage(12, 1, 20), "own_s": 9, "parent_s": 0.1, "pressure_us": 2_000_000}
    ended = Snapshot(**counters | {"throttled": 3, "mhz": 1900} | after)
    return Span(before=before, after=ended, elapsed_ns=int(elapsed_s * 1e9), switches=switches or {})


def test_shares_refer_to_the_time_of_the_rounds():
    expected = Disturbance(
        load_before=0.5, load_after=2.0, foreign_share=0.15, steal_share=0.05, pressure_share=0.2, throttled=3,
        mhz_before=2000, mhz_after=1900, parent_cpu_share=0.01, switches={"pytorch": 2, "int8": 0},
    )  # fmt: skip
    assert expected == summarize([span(switches={"pytorch": 2, "int8": 0})])


def test_launches_add_up():
    quiet = span(30, usage=Usage(30, 0, 60), own_s=30, parent_s=0.7, pressure_us=0, throttled=0)
    last = replace(quiet, before=replace(ZERO, load=7.0, mhz=1), switches={"pytorch": 5})
    total = summarize([span(switches={"pytorch": 2, "int8": 1}), last])
    assert (3 / 80, 1 / 80, 2 / 40, 3) == (
        total.foreign_share, total.steal_share, total.pressure_share, total.throttled,
    )  # fmt: skip
    assert 0.8 / 40 == pytest.approx(total.parent_cpu_share)
    assert {"pytorch": 7, "int8": 1} == total.switches
    assert (0.5, 2000) == (total.load_before, total.mhz_before)


@pytest.mark.parametrize("spans", [[(SILENT, SILENT)], [(ZERO, SILENT)], [(ZERO, ZERO), (SILENT, ZERO)]], ids=len)
def test_counter_missing_in_one_launch_is_none(spans):
    total = summarize([Span(before=before, after=after, elapsed_ns=10**10, switches={}) for before, after in spans])
    assert [None] * 4 == [total.foreign_share, total.steal_share, total.pressure_share, total.throttled]


def test_counter_that_went_backwards_is_none():
    total = summarize([span(before=replace(ZERO, throttled=4, pressure_us=3_000_000))])
    assert (None, None) == (total.throttled, total.pressure_share)


def test_rounds_shorter_than_ticks_allow_give_no_share():
    brief = span(usage=Usage(0.5, 0, MIN_CPU_S * 0.9), own_s=0)
    assert (None, None) == (summarize([brief]).foreign_share, summarize([brief]).steal_share)
    assert summarize([brief, brief]).foreign_share is not None
    momentary = summarize([span(0)])
    assert (None, None) == (momentary.pressure_share, momentary.parent_cpu_share)


def test_disturbance_needs_rounds():
    with pytest.raises(ValueError, match="no rounds were run"):
        summarize([])


positive = st.floats(0, 1e6)


@LAW
@given(st.lists(st.tuples(positive, positive, positive, positive, st.integers(0, 10**9)), min_size=1, max_size=5))
def test_shares_lie_between_zero_and_one(launches):
    spans = [
        span(1, usage=Usage(busy, steal, busy + steal + idle), own_s=own, pressure_us=waited)
        for busy, steal, idle, own, waited in launches
    ]
    total = summarize(spans)
    for share in (total.foreign_share, total.steal_share, total.pressure_share):
        assert share is None or 0 <= share <= 1.000001


@pytest.mark.parametrize(
    ("loud", "sentence"),
    [
        ({"foreign_share": 0.34}, "other processes used 34% of the CPU"),
        ({"steal_share": 0.05}, "the hypervisor took 5% of the CPU"),
        ({"throttled": 1}, "the CPU was throttled once"),
        ({"throttled": 3}, "the CPU was throttled 3 times"),
        ({"mhz_after": 1500.4}, "the CPU went from 2000 to 1500 MHz"),
        ({"parent_cpu_share": 0.98}, "the measuring process itself used 98% of a CPU"),
        ({"foreign_share": None, "load_before": 2.13}, "the load was 2.1 before the rounds began"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_notable_disturbance_is_described(loud, sentence):
    assert [sentence] == replace(QUIET, **loud).sentences()


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("foreign_share", FOREIGN_SHARE),
        ("steal_share", STEAL_SHARE),
        ("parent_cpu_share", PARENT_SHARE),
        ("throttled", 0),
    ],
)
def test_limit_itself_is_not_notable(name, limit):
    assert [] == replace(QUIET, **{name: limit}).sentences()
    assert 1 == len(replace(QUIET, **{name: limit + 1}).sentences())


def test_frequency_drift_counts_in_both_directions():
    for factor in (1 + 2 * DRIFT, 1 - 2 * DRIFT):
        assert 1 == len(replace(QUIET, mhz_after=2000 * factor).sentences())


def test_quiet_or_unknown_machine_gives_no_sentence():
    assert [] == QUIET.sentences() == UNKNOWN.sentences()
    assert [] == replace(QUIET, load_before=HEAVY_LOAD + 5).sentences()  # the foreign share is known to be small


@pytest.mark.parametrize("disturbance", [QUIET, UNKNOWN], ids=["known", "unknown"])
def test_disturbance_survives_a_file(disturbance):
    assert disturbance == msgspec.json.decode(msgspec.json.encode(disturbance), type=Disturbance)


def test_host_is_named_without_its_name(monkeypatch):
    system.host.cache_clear()
    own = system.host()
    assert re.fullmatch("[0-9a-f]{12}", own)
    monkeypatch.setattr(system, "read_text", lambda path: "")  # not Linux
    monkeypatch.setattr(system.platform, "node", lambda: "abacus")
    system.host.cache_clear()
    assert hashlib.sha256(b"abacus").hexdigest()[:12] == system.host() != own
    system.host.cache_clear()
