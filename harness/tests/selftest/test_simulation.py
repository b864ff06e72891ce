"""The simulated machine of the self-test."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.selftest.simulation import (
    BACKEND,
    HANDOVER_NS,
    LOUD,
    MS,
    TENDED,
    Core,
    Profile,
    Scenario,
    Simulation,
    compare,
    run_rounds,
    simulation,
)

LAW = settings(max_examples=100)
QUIET = Profile(name="quiet", block_ms=8, jitter=0, drift=0)
STEPS = st.lists(st.tuples(st.booleans(), st.floats(0, 50 * MS)), max_size=30)


@LAW
@given(st.integers(0, 1000), st.sampled_from([0, 2 * MS, 300 * MS]), st.floats(1, 100 * MS), STEPS)
def test_core_time_adds_up(seed, busy_ns, idle_ns, steps):
    core, work_ns = Core(Random(seed), busy_ns, idle_ns), 0.0
    for works, ns in steps:
        before = core.now_ns
        if works:
            core.work(ns)
            work_ns += ns
        else:
            core.wait(before + ns)
            assert pytest.approx(before + ns, abs=1e-3) == core.now_ns
    assert pytest.approx(work_ns, abs=1e-3) == core.own_ns
    assert core.own_ns + core.hog_ns <= core.now_ns + 1e-3


@LAW
@given(st.integers(0, 1000), st.floats(MS, 500 * MS))
def test_a_busy_neighbour_takes_half_the_core(seed, work_ns):
    core = Core(Random(seed), 1e15, 1)
    core.wait(MS)
    before, own = core.hog_ns, core.own_ns
    core.work(work_ns)
    assert core.own_ns - own == pytest.approx(work_ns)
    slices = 5 * MS + 3 * MS * (work_ns / MS) ** 0.5  # one of them, and what chance makes of many
    assert abs(core.hog_ns - before - work_ns) < slices


@pytest.mark.parametrize("work", [0.5, 1.0, 3.0])
def test_quiet_calls_take_exactly_their_work(work):
    machine = Simulation(QUIET, 0.0, "any")
    with machine.start_worker(BACKEND, Path(str(work))) as worker:
        before = machine.now_ns
        answer = worker.run(loops=5)
    assert pytest.approx(5 * work * 8 * MS, abs=1) == answer.ended_ns - answer.began_ns
    assert pytest.approx(before + HANDOVER_NS, abs=1) == answer.began_ns


def test_jitter_is_bounded():
    machine = Simulation(replace(QUIET, jitter=1e6), 0.0, "any")
    for _ in range(20):
        before = machine.now_ns
        machine.work(MS)
        assert 0.1 * MS <= machine.now_ns - before <= 10.001 * MS


def test_workers_keep_the_speed_they_drew():
    machine = Simulation(QUIET, 0.01, "any")
    workers = [machine.start_worker(BACKEND, Path("1")) for _ in range(3)]
    times = [worker.run() for worker in workers for _ in range(2)]
    taken = [round((t.ended_ns - t.began_ns) / MS, 4) for t in times]
    assert taken[::2] == taken[1::2]
    assert len(set(taken)) == 3


@pytest.mark.parametrize("profile", [TENDED[0], TENDED[2], LOUD[1]], ids=lambda profile: profile.name)
def test_comparison_number_fixes_all_samples(profile):
    scenario = Scenario(profile=profile, start_sd=0.005, own=1.05)
    first, same, other = (run_rounds(simulation(scenario, n), scenario.works).samples[0].ns for n in (1, 1, 2))
    assert same == first
    assert other != first


def test_large_differences_are_detected_under_load():
    for work, pace in ((3.0, "slower"), (1 / 3, "faster")):
        assert pace == compare(Scenario(profile=LOUD[2], start_sd=0.01, own=work), 0).pace
