"""Laws of the look for leaks: what grows with every call is refused, what settles or goes up and down is not."""

import re
import runpy
import tempfile
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.backend import Backend, Target
from harness.errors import WorkerError
from harness.measure.checks import (
    ANSWERING_S,
    FEWEST_CALLS_A_PART,
    LEAK_BYTES,
    LEAK_PARTS,
    LONGEST_S,
    MOST_CALLS_A_PART,
    leaked,
    planned,
)
from harness.measure.client import Worker
from harness.measure.rounds import measure
from harness.measure.samples import Arm, Settings, WorkloadInputs
from harness.measure.worker import held_bytes
from harness.util.console import Progress

LAW = settings(max_examples=200)
MB = 1_000_000
calls = st.integers(FEWEST_CALLS_A_PART, MOST_CALLS_A_PART)
readings = st.lists(st.integers(0, 10**10), min_size=LEAK_PARTS + 1, max_size=LEAK_PARTS + 1)
pytestmark = pytest.mark.timeout(60)
needs_status = pytest.mark.skipif(held_bytes() is None, reason="this system does not tell what memory a process holds")


# The decision


@LAW
@given(calls, st.integers(LEAK_BYTES, 10**9), st.integers(0, 10**10))
def test_what_grows_by_as_much_with_every_call_leaks_just_that(calls, each, base):
    held = [base + part * calls * each for part in range(LEAK_PARTS + 1)]
    assert each == pytest.approx(leaked(held, calls))


@LAW
@given(readings, calls, st.integers(LEAK_PARTS // 2 + 1, LEAK_PARTS))
def test_what_once_rose_too_little_in_the_later_half_has_settled(held, calls, at):
    held[at] = min(held[at], max(held[:at]) + LEAK_BYTES * calls - 1)
    assert 0 == leaked(held, calls)


@LAW
@given(readings, calls)
def test_what_only_made_room_at_first_does_not_leak(held, calls):
    half = LEAK_PARTS // 2 + 1
    assert 0 == leaked([*sorted(held[:half]), *[max(held)] * (LEAK_PARTS + 1 - half)], calls)


@LAW
@given(readings, calls)
def test_a_leak_is_told_as_no_less_than_it_takes(held, calls):
    assert leaked(held, calls) == 0 or leaked(held, calls) >= LEAK_BYTES


def test_what_goes_up_and_down_does_not_leak():
    # PyTorch on an LSTM, as it was measured: every other reading is 2.3 MB higher.
    assert 0 == leaked([160 * MB, 162_300_000] * 4 + [160 * MB], 8)


def test_without_readings_nothing_leaks():
    assert 0 == leaked([], 8)


@LAW
@given(st.floats(1, 1e12), st.floats(0.1, LONGEST_S))
def test_calls_are_many_enough_and_bounded_in_time(call_ns, longest_s):
    found = planned(call_ns, longest_s)
    spent_s = LEAK_PARTS * found * call_ns / 1e9
    assert found == 0 or FEWEST_CALLS_A_PART <= found <= MOST_CALLS_A_PART
    assert spent_s <= max(ANSWERING_S, longest_s)
    assert (found == 0) == (LEAK_PARTS * FEWEST_CALLS_A_PART * call_ns / 1e9 > longest_s)


# Workers

TOYS = """
import time

import numpy as np

from harness.contracts import (Session)

KEPT = []


def honest(artifact, target):
    return Session(lambda arrays: {"echo": arrays["x"]}, "cpu", {})


def hoarding(artifact, target):
    def run(arrays):
        KEPT.append(np.ones(50_000))
        return {"echo": arrays["x"]}
    return Session(run, "cpu", {})


def littering(artifact, target):
    def run(arrays):
        knot = [np.ones(50_000)]
        knot.append(knot)
        return {"echo": arrays["x"]}
    return Session(run, "cpu", {})


def growing(artifact, target):
    def run(arrays):
        if len(KEPT) < 20:
            KEPT.append(np.ones(50_000))
        return {"echo": arrays["x"]}
    return Session(run, "cpu", {})


def slow(artifact, target):
    def run(arrays):
        time.sleep(0.05)
        return {"echo": arrays["x"]}
    return Session(run, "cpu", {})
"""


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    path = tmp_path_factory.mktemp("toys") / "toy_leaks.py"
    path.write_text(TOYS)
    with pytest.MonkeyPatch.context() as patch:  # a machine-wide lock of this module's own
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("machine")))
        yield runpy.run_path(str(path))


def measured(toys, folder, *names):
    return measure(
        [Arm(name, Backend(name=name, load=toys[name]), folder) for name in names],
        [WorkloadInputs(1, 0, lambda number: [number], lambda rows: {"x": np.array(rows)})],
        Settings(Target("cpu", 1), launches=1, looks=(2,), timeout_s=60.0),
        lambda name, rows, outputs: None,
        lambda samples: True,
        Progress(),
    )


@needs_status
def test_an_arm_that_keeps_every_answer_leaves_and_the_others_stay(toys, tmp_path):
    found = measured(toys, tmp_path, "honest", "hoarding", "littering", "growing")
    assert ["hoarding"] == list(found.failed)
    said = (
        r"hoarding: it leaks memory: asked the same rows 64 times, its worker grew from \d+ to \d+ MB, at last by "
        r"0\.4 MB a call"
    )
    assert re.fullmatch(said, str(found.failed["hoarding"]))
    assert all(found.samples[0].has(name) for name in ("honest", "littering", "growing"))
    assert [] == [note for note in found.unprobed if "leak" in note]


@needs_status
def test_a_reference_that_leaks_ends_the_measurement(toys, tmp_path):
    with pytest.raises(WorkerError, match="hoarding: it leaks memory"):
        measured(toys, tmp_path, "hoarding", "honest")


@needs_status
def test_who_is_too_slow_to_be_looked_at_is_named_and_stays(toys, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.measure.checks.LONGEST_S", 0.5)
    found = measured(toys, tmp_path, "honest", "slow")
    assert {} == found.failed
    assert "slow: not checked for a leak: 16 calls would take 1 s, more than 0.5" in found.notes()


@needs_status
def test_a_worker_tells_what_it_held_and_then_answers_as_before(toys, tmp_path):
    with Worker(Backend(name="hoarding", load=toys["hoarding"]), tmp_path, Target("cpu", 1), 60) as worker:
        worker.put({"x": np.array([3])})
        held = worker.repeat(4, 10)
        assert all(0.9 < (after - before) / 4_000_000 < 1.3 for before, after in pairwise(held))
        worker.put({"x": np.array([4])})
        assert [4] == worker.run(2).outputs["echo"].tolist()
