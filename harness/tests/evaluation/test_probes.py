"""Workers that leak memory, remember answers or answer too early are refused; honest ones stay."""

import runpy
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.backend import Backend, Target
from harness.errors import WorkerError
from harness.evaluation.answers import check_timed
from harness.evaluation.predictions import Evaluation
from harness.evaluation.probes import (
    CALLING_S,
    LEAK_BYTES,
    LEAK_PARTS,
    MAX_CALLING_S,
    MAX_CALLS,
    MIN_CALLS,
    check_leaks,
    check_memoization,
    leaked_bytes,
    plan_calls,
)
from harness.measure.client import Worker
from harness.measure.rounds import measure
from harness.measure.samples import Arm, Settings, WorkloadInputs
from harness.measure.worker import held_bytes
from harness.util import locks
from harness.util.console import Progress

LAW = settings(max_examples=200)
MB = 1_000_000
ROWS = 40
calls = st.integers(MIN_CALLS, MAX_CALLS)
readings = st.lists(st.integers(0, 10**10), min_size=LEAK_PARTS + 1, max_size=LEAK_PARTS + 1)
pytestmark = pytest.mark.timeout(60)
needs_status = pytest.mark.skipif(held_bytes() is None, reason="this system does not report a process's own memory")


# The decision about leaks


@LAW
@given(calls, st.integers(LEAK_BYTES, 10**9), st.integers(0, 10**10))
def test_steady_growth_is_reported_as_it_is(calls, growth, base):
    held = [base + part * calls * growth for part in range(LEAK_PARTS + 1)]
    assert growth == pytest.approx(leaked_bytes(held, calls))


@LAW
@given(readings, calls, st.integers(LEAK_PARTS // 2 + 1, LEAK_PARTS))
def test_one_small_rise_in_the_later_half_is_no_leak(held, calls, at):
    held[at] = min(held[at], max(held[:at]) + LEAK_BYTES * calls - 1)
    assert 0 == leaked_bytes(held, calls)


@LAW
@given(readings, calls)
def test_growth_in_the_first_half_only_is_no_leak(held, calls):
    half = LEAK_PARTS // 2 + 1
    assert 0 == leaked_bytes([*sorted(held[:half]), *[max(held)] * (LEAK_PARTS + 1 - half)], calls)


@LAW
@given(readings, calls)
def test_reported_leak_reaches_the_limit(held, calls):
    assert leaked_bytes(held, calls) == 0 or leaked_bytes(held, calls) >= LEAK_BYTES


def test_memory_that_rises_and_falls_is_no_leak():
    # PyTorch on an LSTM, as measured: every other reading is 2.3 MB higher.
    assert 0 == leaked_bytes([160 * MB, 162_300_000] * 4 + [160 * MB], 8)
    assert 0 == leaked_bytes([], 8)


@LAW
@given(st.floats(1, 1e12), st.floats(0.1, MAX_CALLING_S))
def test_calls_are_bounded_in_number_and_time(call_ns, max_s):
    count = plan_calls(call_ns, max_s)
    assert count == 0 or MIN_CALLS <= count <= MAX_CALLS
    assert LEAK_PARTS * count * call_ns / 1e9 <= max(CALLING_S, max_s)
    assert (count == 0) == (LEAK_PARTS * MIN_CALLS * call_ns / 1e9 > max_s)


# Workers

TOYS = """
import threading
import time

import numpy as np

from harness.contracts.backend import Session

KEPT = []


def session(run):
    return Session(run, "cpu", {})


def echo(arrays):
    time.sleep(0.002)
    return {"echo": arrays["x"].copy()}


def honest(artifact, target):
    return session(echo)


def noisy(artifact, target):
    rng = np.random.default_rng(0)
    def run(arrays):
        time.sleep(0.002 * np.exp(rng.normal(0, 0.3)))
        return {"echo": arrays["x"].copy()}
    return session(run)


def slow(artifact, target):
    def run(arrays):
        time.sleep(0.05)
        return echo(arrays)
    return session(run)


def remembers(artifact, target):
    known = {}
    def run(arrays):
        key = arrays["x"].tobytes()
        if key not in known:
            known[key] = echo(arrays)
        return known[key]
    return session(run)


def stale(artifact, target):
    last = [np.full((1, 1), -1)]
    def run(arrays):
        last.append(echo(arrays)["echo"])
        return {"echo": last.pop(0)}
    return session(run)


def early(artifact, target):
    def run(arrays):
        out = np.full_like(arrays["x"], -1)
        def later():
            time.sleep(0.002)
            out[:] = arrays["x"]
        threading.Thread(target=later).start()
        return {"echo": out}
    return session(run)


def lazy(artifact, target):
    class Promised(np.ndarray):
        pass
    return session(lambda arrays: {"echo": arrays["x"].view(Promised)})


def hoarding(artifact, target):
    def run(arrays):
        KEPT.append(np.ones(50_000))
        return echo(arrays)
    return session(run)


def littering(artifact, target):
    def run(arrays):
        knot = [np.ones(50_000)]
        knot.append(knot)
        return echo(arrays)
    return session(run)


def growing(artifact, target):
    def run(arrays):
        if len(KEPT) < 20:
            KEPT.append(np.ones(50_000))
        return echo(arrays)
    return session(run)
"""


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    path = tmp_path_factory.mktemp("toys") / "toy_cheats.py"
    path.write_text(TOYS)
    with pytest.MonkeyPatch.context() as patch:  # a machine-wide lock of this module's own
        patch.setenv(locks.FOLDER, str(tmp_path_factory.mktemp("machine")))
        yield runpy.run_path(str(path))


def check_echo(name, rows, outputs):
    single = [{"echo": np.full((1, 1), row)} for row in range(ROWS)]
    check_timed(name, Evaluation(single=single, padded=[], predictions=[], score=1.0, other_scores={}), rows, outputs)


def test_arms_that_do_not_compute_their_answers_leave(toys, tmp_path):
    names = ("honest", "noisy", "stale", "early", "lazy")
    measurement = measure(
        [Arm(name, Backend(name=name, load=toys[name]), tmp_path) for name in names],
        [WorkloadInputs(1, 0, lambda number: [number], lambda rows: {"x": np.array(rows)[:, None]})],
        Settings(Target("cpu", 1), launches=1, looks=(2,), timeout_s=60.0),
        check_echo,
        lambda samples: True,
        Progress(),
    )
    assert {"stale", "early", "lazy"} == set(measurement.failed)
    for name in ("stale", "early"):
        assert str(measurement.failed[name]).startswith(f"{name}: ")
    assert "lazy: TypeError: output echo is Promised" in str(measurement.failed["lazy"])
    assert all(measurement.samples[0].has(name) for name in ("honest", "noisy"))


def worker(toys, folder, name):
    return Worker(Backend(name=name, load=toys[name]), folder, Target("cpu", 1), 60)


def remembered(toys, folder, name, rows=ROWS):
    """The probe's note on a toy."""
    with worker(toys, folder, name) as process:

        def time_ns(row):
            process.put({"x": np.array([[row]])})
            return process.run().elapsed_ns

        return check_memoization(name, [()] * rows, time_ns)


def leaks(toys, folder, name):
    """The probe's note on a toy."""
    with worker(toys, folder, name) as process:
        return check_leaks(process, {"x": np.array([[1]])})


def test_worker_that_remembers_answers_is_refused(toys, tmp_path):
    problem = r"remembers: answers rows that it has just seen \d[\d.]* times as fast as new rows of the same shape; "
    with pytest.raises(WorkerError, match=problem):
        remembered(toys, tmp_path, "remembers")


@pytest.mark.parametrize("name", ["honest", "noisy"])
def test_honest_workers_pass_both_probes(toys, tmp_path, name):
    assert "" == remembered(toys, tmp_path, name)
    assert "" == leaks(toys, tmp_path, name) or held_bytes() is None


def test_too_few_rows_of_one_shape_are_noted(toys, tmp_path):
    note = "not checked for remembered answers: only 15 rows share a shape; the check needs 16"
    assert note == remembered(toys, tmp_path, "remembers", rows=15)


@needs_status
def test_worker_that_keeps_every_answer_is_refused(toys, tmp_path):
    problem = (
        r"hoarding: leaks memory: over \d+ calls on the same rows its worker grew from \d+ to \d+ MB, in the end by "
        r"0\.4 MB per call"
    )
    with pytest.raises(WorkerError, match=problem):
        leaks(toys, tmp_path, "hoarding")


@needs_status
@pytest.mark.parametrize("name", ["littering", "growing"])
def test_memory_that_is_freed_or_settles_is_no_leak(toys, tmp_path, name):
    assert "" == leaks(toys, tmp_path, name)


@needs_status
def test_worker_too_slow_to_check_is_noted(toys, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.evaluation.probes.MAX_CALLING_S", 0.5)
    assert "slow: not checked for a leak: 16 calls would take 1 s, more than 0.5" == leaks(toys, tmp_path, "slow")


@needs_status
def test_worker_reports_held_memory_and_goes_on_answering(toys, tmp_path):
    with worker(toys, tmp_path, "hoarding") as process:
        process.put({"x": np.array([3])})
        held = process.repeat(4, 10)
        assert all(0.9 < (after - before) / 4_000_000 < 1.3 for before, after in pairwise(held))
        process.put({"x": np.array([4])})
        assert [4] == process.run(2).outputs["echo"].tolist()
