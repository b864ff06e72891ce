"""Laws of the machine's counters: what a system tells is read, whatever else it says is told as None."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.measure import system
from harness.measure.system import (
    Usage,
    cpu_s,
    parse_cgroups,
    parse_pressure,
    parse_stat,
    parse_throttled,
    read_counters,
)

LAW = settings(max_examples=150)
STAT = """\
cpu  1110 22 330 4400 50 6 7 8 900 90
cpu0 1000 20 300 4000 40 5 6 7 900 90
cpu1 110 2 30 400 10 1 1 1 0 0
intr 33917981 0 0
btime 1700000000
"""
PRESSURE = """\
some avg10=0.00 avg60=0.02 avg300=2.12 total=1174468142
full avg10=0.00 avg60=0.00 avg300=0.00 total=5
"""
CGROUPS_OF_BOTH = "12:cpuset:/\n4:cpu,cpuacct:/docker/71fa\n3:cpuacct:/x\n0::/user.slice/a:b\n"
linux = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="there is no /proc")
numbers = st.integers(0, 10**15)


# CPU time


def test_cpu_time_is_added_up_over_the_cpus_that_are_ours():
    assert Usage(13.31, 0.07, 53.78) == parse_stat(STAT, {0}, 100)
    assert Usage(13.31 + 1.44, 0.08, 53.78 + 5.55) == pytest.approx(parse_stat(STAT, {0, 1}, 100))


def test_ticks_are_as_long_as_the_system_says():
    assert Usage(133.1, 0.7, 537.8) == parse_stat(STAT, {0}, 10)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", {0}),
        (STAT, {2}),
        (STAT, {0, 2}),
        (STAT, set()),
        ("cpu0 1 2 3 4\n", {0}),
        ("cpu0 a b c d e f g h\n", {0}),
        ("cpu0 -1 2 3 4 5 6 7 8\n", {0}),
        ("cpu0 0 0 0 0 0 0 0 0 0 0\n", {0}),
        ("cpu0 ١ ٢ ٣ ٤ ٥ ٦ ٧ ٨\n", {0}),
    ],
    ids=["empty", "another", "one of two", "none", "old", "words", "negative", "nothing counted", "other digits"],
)
def test_cpu_time_that_is_not_there_is_none(text, cpus):
    assert parse_stat(text, cpus, 100) is None


@LAW
@given(st.lists(numbers, min_size=8, max_size=8).filter(any))
def test_a_share_of_the_time_is_never_more_than_all_of_it(columns):
    found = parse_stat(f"cpu0 {' '.join(map(str, columns))} 0 0\n", {0}, 1)
    assert sum(columns) == found.total_s
    assert 0 <= found.busy_s + found.steal_s <= found.total_s


# Any text


@LAW
@given(st.text() | st.lists(st.sampled_from([*STAT.split(), "\n", " ", "cpu0", "9" * 30])).map(" ".join))
@example("cpu0 " + "9" * 5000)
@example("cpu" + "9" * 5000 + " 1 2 3 4 5 6 7 8")
def test_any_text_is_a_count_or_none(text):
    found = parse_stat(text, {0}, 100)
    assert found is None or min(found) >= 0


@LAW
@given(st.text() | st.text(max_size=9).map(lambda rest: f"some avg10=0.00 total={rest}"))
@example("some total=" + "9" * 5000)
@example("some total=٣")
def test_any_pressure_is_a_count_or_none(text):
    found = parse_pressure(text)
    assert found is None or found >= 0


@LAW
@given(st.text() | st.text(max_size=9).map(lambda rest: f"nr_throttled {rest}"))
@example("nr_throttled " + "9" * 5000)
def test_any_cpu_stat_is_a_count_or_none(text):
    found = parse_throttled(text)
    assert found is None or found >= 0


@LAW
@given(st.text() | st.text(max_size=9).map(lambda rest: f"0::/{rest}"))
@example("0::/\0")
@example("1:cpu:/" + "a/" * 50)
def test_any_cgroup_is_a_path_that_can_be_tried(text):
    assert all(isinstance(system.text_of(path), str) for path in parse_cgroups(text))


def test_pressure_is_the_time_that_somebody_waited():
    assert 1174468142 == parse_pressure(PRESSURE)
    assert parse_pressure(PRESSURE.replace("some", "full")) is None


def test_throttling_is_the_number_of_periods():
    assert 12 == parse_throttled("nr_periods 100\nnr_throttled 12\nthrottled_usec 9000\n")


def test_our_cgroups_are_those_of_both_versions_and_all_around_them():
    expected = [
        "cpu,cpuacct/docker/71fa/cpu.stat",
        "cpu,cpuacct/docker/cpu.stat",
        "cpu,cpuacct/cpu.stat",
        "user.slice/a:b/cpu.stat",
        "user.slice/cpu.stat",
        "cpu.stat",
    ]
    assert [Path("/sys/fs/cgroup") / name for name in expected] == parse_cgroups(CGROUPS_OF_BOTH)


# Files


@pytest.fixture
def cpus(tmp_path, monkeypatch):
    """A machine's folder of CPUs, with nothing in it."""
    monkeypatch.setattr(system, "CPUS", tmp_path)

    def write(cpu, name, text):
        path = tmp_path / f"cpu{cpu}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def test_the_frequency_is_the_mean_of_our_cpus(cpus):
    for cpu, khz in enumerate(("2000000\n", "3000000\n", "9000000\n")):
        cpus(cpu, "cpufreq/scaling_cur_freq", khz)
    assert 2500 == system.mhz({0, 1})


@pytest.mark.parametrize("text", ["", "<unknown>", "0", "-1"])
def test_a_frequency_that_one_cpu_does_not_tell_is_none(cpus, text):
    cpus(0, "cpufreq/scaling_cur_freq", "2000000\n")
    cpus(1, "cpufreq/scaling_cur_freq", text)
    assert system.mhz({0, 1}) is None
    assert system.mhz({0, 7}) is None
    assert system.mhz(set()) is None


def test_heat_is_counted_over_all_cpus(cpus, monkeypatch, tmp_path):
    monkeypatch.setattr(system, "CGROUPS", tmp_path / "none")
    assert system.throttled() is None
    cpus(0, "thermal_throttle/core_throttle_count", "3\n")
    cpus(1, "thermal_throttle/core_throttle_count", "4\n")
    assert 7 == system.throttled()


# This machine


def test_a_machine_that_tells_nothing_gives_none_and_no_error(monkeypatch):
    def no_load():
        raise OSError("no load average")

    monkeypatch.setattr(system, "text_of", lambda path: "")
    monkeypatch.setattr(os, "getloadavg", no_load)
    found = read_counters([])
    assert [None] * 5 == [found.load, found.usage, found.pressure_us, found.throttled, found.mhz]
    assert 0 < found.parent_s <= found.own_s


@linux
def test_work_of_a_worker_is_ours_also_once_it_has_ended():
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
def test_what_a_worker_started_is_ours_too():
    inner = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        assert cpu_s(process.pid) >= 0.25
        process.communicate("\n")
