"""Rounds over real workers of toy backends: samples, order, arms that leave, looks, budget and memory."""

import re
import runpy
from collections import Counter, defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import psutil
import pytest
from filelock import FileLock, Timeout

from harness.contracts.backend import Backend, Target
from harness.errors import WorkerError
from harness.measure.client import machine_lock
from harness.measure.rounds import WARM_UP_BLOCKS, measure
from harness.measure.samples import Arm, Settings, WorkloadInputs
from harness.measure.system import host
from harness.pipeline.record import series_of
from harness.util import locks
from harness.util.console import Progress

pytestmark = pytest.mark.timeout(60)  # a worker that is not ended would be waited for
TOYS = '''
import os
import signal
import time

import numpy as np

from harness.contracts.backend import Session

FATAL_ROW = 7


def honest(arrays):
    time.sleep(0.003)
    return {"echo": arrays["x"]}


def session(run):
    return Session(run, "cpu", {"pid": str(os.getpid())})


def ok(artifact, target):
    return session(honest)


def slow(artifact, target):
    """Takes longer for a call than a block lasts."""
    def run(arrays):
        time.sleep(0.01)
        return honest(arrays)
    return session(run)


def hasty(artifact, target):
    """Answers sooner, and something else."""
    def run(arrays):
        time.sleep(0.0005)
        return {"echo": -arrays["x"]}
    return session(run)


def counted(artifact, target):
    """Answers with the number of calls so far."""
    calls = []
    def run(arrays):
        calls.append(1)
        return honest(arrays) | {"calls": np.array([len(calls)])}
    return session(run)


def fails_to_load(artifact, target):
    raise ValueError("no weights here")


def fails_to_load_again(artifact, target):
    """Loads once; leaves a trace for the next worker."""
    trace = artifact / "loaded.txt"
    if trace.exists():
        raise ValueError("no second time")
    trace.write_text("")
    return session(honest)


def dies(artifact, target):
    """Is killed by a certain row."""
    def run(arrays):
        if FATAL_ROW in arrays["x"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return honest(arrays)
    return session(run)


def raises(artifact, target):
    """Stumbles over a certain row."""
    def run(arrays):
        if FATAL_ROW in arrays["x"]:
            raise ArithmeticError("a kernel gave up")
        return honest(arrays)
    return session(run)


def limited(rows, error):
    """Return a session with memory for so many rows."""
    def run(arrays):
        if len(arrays["x"]) > rows:
            raise error
        return honest(arrays)
    return session(run)


def small(artifact, target):
    return limited(4, RuntimeError("CUDA failure 2: out of memory ; GPU=0"))


def smaller(artifact, target):
    return limited(1, MemoryError())


def no_memory(artifact, target):
    return limited(0, MemoryError("cannot hold a row"))


def launches_before(artifact):
    """Count this launch; return how many came before."""
    trace = artifact / "launches.txt"
    count = len(trace.read_text()) if trace.exists() else 0
    trace.write_text("x" * (count + 1))
    return count
'''
FATAL_ROW = 7
ROWS = 40


@dataclass
class Recorder:
    """A check that records what it is given, and refuses the answers for which `refuse` returns True."""

    refuse: object = lambda name, rows: False
    blocks: list = field(default_factory=list)

    def __call__(self, name, rows, outputs):
        self.blocks.append((name, tuple(rows), outputs["echo"].copy()))
        if self.refuse(name, rows):
            raise WorkerError(f"{name}: not what was scored")

    def orders(self, arms):
        """Return the arms' order in every round of a measurement of one launch and workload."""
        names = [name for name, _, _ in self.blocks][WARM_UP_BLOCKS * arms :]
        return [tuple(names[at : at + arms]) for at in range(0, len(names), arms)]


@pytest.fixture(scope="module")
def loaders(tmp_path_factory):
    path = tmp_path_factory.mktemp("toys") / "toy_backends.py"
    path.write_text(TOYS)
    return runpy.run_path(str(path))


@pytest.fixture(scope="module", autouse=True)
def _own_lock(tmp_path_factory):
    """Give this module a machine-wide lock of its own, so that it does not wait for a measurement elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(locks.FOLDER, str(tmp_path_factory.mktemp("machine")))
        yield


@pytest.fixture(autouse=True)
def _no_process_left():
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set() == set(psutil.Process().children(recursive=True)) - before


@pytest.fixture(scope="module")
def run(loaders, tmp_path_factory):
    """Measure toy backends by arm name, the first of which is the reference; `rounds` are those of a launch."""

    def go(
        check=None,
        workloads=None,
        launches=2,
        rounds=3,
        looks=None,
        decides=lambda samples: False,
        options=None,
        **arms,
    ):
        artifact = tmp_path_factory.mktemp("artifact")
        looks = looks or (launches * rounds,)
        return measure(
            [Arm(name, Backend(name=toy, load=loaders[toy]), artifact) for name, toy in arms.items()],
            workloads or [workload()],
            Settings(Target("cpu", 1), launches=launches, looks=looks, timeout_s=60, **(options or {})),
            check or Recorder(),
            decides,
            Progress(),
        )

    return go


@pytest.fixture(scope="module")
def quiet(run):
    """A measurement in which nothing goes wrong, and its recorder."""
    recorder = Recorder()
    workloads = [workload(), workload(batch=4)]
    return run(check=recorder, workloads=workloads, rounds=8, pytorch="ok", control="ok", toy="ok"), recorder


def workload(batch=1, first=0):
    """Return batches of consecutive rows, from row `first` on; a batch holds its rows' numbers."""

    def rows(number):
        return [(first + number * batch + at) % ROWS for at in range(batch)]

    def arrays(of):
        return {"x": np.repeat(np.array(of)[:, None], 1 + of[0] % 3, axis=1)}

    return WorkloadInputs(batch, 0, rows, arrays)


def counts(samples):
    """Return arm → samples in each launch."""
    return {name: [len(launch) for launch in launches] for name, launches in samples.ns.items()}


# Samples


def test_every_arm_has_a_sample_in_every_round(quiet):
    measurement, _ = quiet
    assert [1, 4] == [samples.batch for samples in measurement.samples]
    for samples in measurement.samples:
        assert {name: [8, 8] for name in ("pytorch", "control", "toy")} == counts(samples)
        assert not samples.cut_short
        assert {} == samples.tail_ns
    assert {} == measurement.failed
    assert {"pytorch", "control", "toy"} == set(measurement.disturbance.switches)


def test_a_sample_is_the_time_of_one_call(quiet):
    for samples in quiet[0].samples:
        assert 1 <= samples.loops <= 3  # as many calls of 3 ms or more as fill a block of 8
        assert {"pytorch", "control", "toy"} == set(samples.timed_ns)
        for name, launches in samples.ns.items():
            own = [ns for launch in launches for ns in launch]
            assert min(own) >= 3_000_000
            assert sum(own) * samples.loops <= samples.timed_ns[name] <= (sum(own) + len(own)) * samples.loops
        assert sum(samples.timed_ns.values()) <= samples.spent_ns


def test_every_launch_has_fresh_workers(quiet):
    workers = quiet[0].workers
    assert {"pytorch", "control", "toy"} == set(workers)
    for own in workers.values():
        assert 2 == len(own.peak_rss_bytes)
        # Workers of the second launch started together, which disturbs these times.
        assert [1] * 4 == list(map(len, (own.import_ns, own.load_ns, own.compile_ns, own.first_ns)))
        assert min(own.load_ns + own.first_ns + own.peak_rss_bytes) > 0
        assert [0] == own.compile_ns
    assert 3 == len({own.settings["pid"] for own in workers.values()})


def test_windows_are_those_of_the_launches(quiet):
    first, second = quiet[0].windows
    assert {host()} == {first.host, second.host}
    assert first.began < first.ended <= second.began < second.ended
    times = [datetime.fromisoformat(time) for time in (first.began, first.ended, second.began, second.ended)]
    assert {timedelta(0)} == {time.utcoffset() for time in times}
    inside = (times[1] - times[0] + times[3] - times[2]).total_seconds()
    assert inside > (sum(samples.spent_ns for samples in quiet[0].samples) + quiet[0].starting_ns) / 1e9


def test_every_arm_answers_the_same_rows_in_every_round(quiet):
    rows_of = defaultdict(list)
    for name, rows, outputs in quiet[1].blocks:
        rows_of[name].append(rows)
        assert rows == tuple(outputs[:, 0])
    assert rows_of["pytorch"] == rows_of["control"] == rows_of["toy"]
    assert 2 * 2 * (WARM_UP_BLOCKS + 8) == len(rows_of["pytorch"])


def test_launches_continue_with_the_next_rows(quiet):
    single, several = quiet[0].samples
    assert [list(range(8)), list(range(8, 16))] == single.rows
    assert [list(range(0, 32, 4)), [32, 36, *range(0, 24, 4)]] == several.rows
    for samples in (single, several):
        assert [[1 + row % 3 for row in launch] for launch in samples.rows] == samples.lengths


# Order


def test_order_of_arms_is_random_but_seeded(run):
    def orders(seed):
        recorder = Recorder()
        run(check=recorder, rounds=12, launches=1, options={"seed": seed}, a="ok", b="ok", c="ok")
        return recorder.orders(3)

    first, again, reseeded = orders(1), orders(1), orders(2)
    assert first == again
    assert first != reseeded
    assert {("a", "b", "c")} == {tuple(sorted(order)) for order in first}
    assert len(set(first)) >= 3
    assert {"a", "b", "c"} == {order[0] for order in first}


def test_every_launch_has_an_order_of_its_own(quiet):
    names = [name for name, _, _ in quiet[1].blocks]
    half = len(names) // 2
    assert names[:half] != names[half:]
    assert Counter(names[:half]) == Counter(names[half:])


# Arms that leave


def check_others_are_whole(measurement, *, left, rounds=3, launches=2):
    (samples,) = measurement.samples
    assert [left] == list(measurement.failed)
    for name in {"pytorch", "control", "toy"} - {left}:
        assert [rounds] * launches == counts(samples)[name], name
        assert launches == len(measurement.workers[name].peak_rss_bytes)
    assert [rounds] * launches == [len(launch) for launch in samples.rows]


@pytest.mark.parametrize(
    ("toy", "first", "problem"),
    [
        ("dies", FATAL_ROW, "the worker was killed by SIGKILL"),
        ("dies", FATAL_ROW - 1, "the worker was killed by SIGKILL"),
        ("dies", FATAL_ROW - 4, "the worker was killed by SIGKILL"),
        ("raises", FATAL_ROW - 1, "ArithmeticError: a kernel gave up"),
        ("fails_to_load", 0, "ValueError: no weights here"),
        ("fails_to_load_again", 0, "ValueError: no second time"),
    ],
    ids=["in warm-up", "in a round", "in the second launch", "raising", "while loading", "while loading again"],
)
def test_arm_that_fails_leaves_and_the_others_go_on(run, toy, first, problem):
    measurement = run(workloads=[workload(first=first)], pytorch="ok", toy=toy, control="ok")
    check_others_are_whole(measurement, left="toy")
    assert str(measurement.failed["toy"]).startswith(f"toy: {problem}")


def test_arm_whose_answer_is_refused_is_not_asked_again(run):
    recorder = Recorder(refuse=lambda name, rows: name == "toy" and rows == [1])
    measurement = run(check=recorder, pytorch="ok", toy="ok", control="ok")
    check_others_are_whole(measurement, left="toy")
    assert "toy: not what was scored" == str(measurement.failed["toy"])
    assert (1,) == [rows for name, rows, _ in recorder.blocks if name == "toy"][-1]


def test_two_arms_may_leave(run):
    measurement = run(workloads=[workload(first=FATAL_ROW - 1)], pytorch="ok", dying="dies", raising="raises")
    assert {"dying", "raising"} == set(measurement.failed)
    assert [3, 3] == counts(measurement.samples[0])["pytorch"]


def test_refused_arm_does_not_set_the_block_length(run):
    calls = []

    def check(name, rows, outputs):
        if name == "hasty":
            raise WorkerError("hasty: not what was scored")
        calls.append(int(outputs["calls"][0]))

    measurement = run(
        check=check, workloads=[workload(first=1)], launches=1, pytorch="counted", hasty="hasty",
    )  # fmt: skip
    assert ["hasty"] == list(measurement.failed)
    # Calls of 3 ms or more, in blocks of 8 ms: never more than three.
    assert 1 <= measurement.samples[0].loops <= 3
    assert all(1 <= after - before <= 3 for before, after in zip([0, *calls], calls, strict=False))


@pytest.mark.parametrize(
    ("toy", "first", "problem"),
    [
        ("dies", FATAL_ROW, "the worker was killed by SIGKILL"),
        ("dies", FATAL_ROW - 1, "the worker was killed by SIGKILL"),
        ("dies", FATAL_ROW - 4, "the worker was killed by SIGKILL"),
        ("fails_to_load", 0, "ValueError: no weights here"),
        ("no_memory", 0, "MemoryError: cannot hold a row"),
    ],
)
def test_failing_reference_ends_the_measurement(run, toy, first, problem):
    with pytest.raises(WorkerError, match=f"pytorch: {problem}"):
        run(workloads=[workload(first=first)], pytorch=toy, toy="ok")


def test_refused_reference_ends_the_measurement(run):
    recorder = Recorder(refuse=lambda name, rows: name == "pytorch" and rows == [1])
    with pytest.raises(WorkerError, match="pytorch: not what was scored"):
        run(check=recorder, pytorch="ok", toy="ok")


def test_error_of_the_check_itself_is_raised(run):
    def check(name, rows, outputs):
        raise ZeroDivisionError("the check is broken")

    with pytest.raises(ZeroDivisionError, match="the check is broken"):
        run(check=check, pytorch="ok", toy="ok")


# Looks


def recording(decision):
    """Return a rule that decides as `decision` does, and the looks it was asked at: (batch, rounds, launches)."""
    looks = []

    def decides(samples):
        looks.append((samples.batch, samples.rounds, len(samples.rows)))
        return decision(samples)

    return decides, looks


def test_rounds_end_at_the_first_look_that_decides(run):
    decides, looks = recording(lambda samples: samples.rounds >= 4)
    (samples,) = run(decides=decides, looks=(2, 4, 8), launches=2, pytorch="ok").samples
    assert [(1, 2, 2), (1, 4, 4)] == looks
    assert [1, 1, 1, 1] == counts(samples)["pytorch"]
    assert (True, False) == (samples.decided, samples.cut_short)


def test_undecided_rounds_go_on_to_the_last_look(run):
    decides, looks = recording(lambda samples: False)
    measurement = run(decides=decides, looks=(2, 4, 7), launches=1, pytorch="ok")
    (samples,) = measurement.samples
    assert [(1, 2, 1), (1, 4, 3), (1, 7, 5)] == looks
    assert [2, 1, 1, 2, 1] == counts(samples)["pytorch"]
    assert (False, False) == (samples.decided, samples.cut_short)
    assert "; not every arm decided" in measurement.notes()[0]
    assert "budget" not in measurement.notes()[0]
    assert 5 == len(measurement.workers["pytorch"].peak_rss_bytes)


def test_larger_batches_end_at_their_first_look(run):
    decides, looks = recording(lambda samples: False)
    workloads = [workload(), workload(batch=4)]
    single, several = run(decides=decides, workloads=workloads, looks=(1, 3), launches=1, pytorch="ok").samples
    assert [(1, 1, 1), (4, 1, 1), (1, 3, 3)] == looks
    assert ([1, 1, 1], [1]) == (counts(single)["pytorch"], counts(several)["pytorch"])
    assert (False, False) == (single.decided, several.decided)


def test_larger_batches_have_sixteen_rounds(run):
    workloads = [workload(), workload(batch=4)]
    single, several = run(workloads=workloads, looks=(24,), launches=2, pytorch="ok").samples
    assert ([12, 12], [8, 8]) == (counts(single)["pytorch"], counts(several)["pytorch"])


def test_larger_batches_are_warmed_up_once_after_the_first_launch(run):
    recorder = Recorder()
    run(check=recorder, workloads=[workload(), workload(batch=4)], launches=2, rounds=1, pytorch="slow")
    assert [1, 1, 1, 4, 4, 4, 1, 1, 1, 4, 4] == [len(rows) for _, rows, _ in recorder.blocks]


def test_batch_of_the_gate_may_be_the_larger_one(run):
    decides, looks = recording(lambda samples: False)
    workloads, recorder = [workload(batch=4), workload()], Recorder()
    options = {"looks": (1, 3), "launches": 1, "options": {"tail": 2}}
    judged, other = run(check=recorder, decides=decides, workloads=workloads, pytorch="ok", **options).samples
    assert [(4, 1, 1), (1, 1, 1), (4, 3, 3)] == looks
    assert ([1, 1, 1], [1]) == (counts(judged)["pytorch"], counts(other)["pytorch"])
    assert ([2], []) == ([len(ns) for ns in judged.tail_ns.values()], [*other.tail_ns])


# Budget


def test_spent_budget_leaves_one_round_per_launch_and_a_look(run):
    decides, looks = recording(lambda samples: True)
    measurement = run(decides=decides, launches=3, rounds=50, options={"budget_s": 0}, pytorch="ok", control="ok")
    (samples,) = measurement.samples
    assert [(1, 3, 3)] == looks
    assert {"pytorch": [1, 1, 1], "control": [1, 1, 1]} == counts(samples)
    assert [[0], [1], [2]] == samples.rows
    assert (True, True) == (samples.decided, samples.cut_short)
    note = (
        r"batch 1: 3 rounds in \d+\.\d s, \d+% of it timed calls, \d+% the control's; every arm decided, cut short by "
        r"the budget"
    )
    assert re.fullmatch(note, measurement.notes()[0])


def test_workloads_and_launches_share_the_budget(run):
    # A round takes 3 ms or more, so that at most four of them begin within a share of 10 ms.
    workloads = [workload(), workload(batch=4)]
    measurement = run(workloads=workloads, launches=2, rounds=50, options={"budget_s": 0.04}, pytorch="ok")
    for samples in measurement.samples:
        assert samples.cut_short
        assert all(1 <= rounds <= 4 for rounds in counts(samples)["pytorch"])


def test_launch_that_cannot_reach_a_look_is_not_begun(run):
    # Two rounds of 3 ms or more are within 0.1 s, two hundred are not.
    (samples,) = run(looks=(2, 200), launches=1, options={"budget_s": 0.1}, pytorch="ok").samples
    assert [2] == counts(samples)["pytorch"]
    assert (False, True) == (samples.decided, samples.cut_short)


def test_sufficient_budget_cuts_nothing(run):
    measurement = run(decides=lambda samples: True, pytorch="ok", options={"budget_s": 600})
    assert not measurement.samples[0].cut_short
    rounds, starting = measurement.notes()
    note = r"batch 1: 6 rounds in \d+\.\d s, \d+% of it timed calls, 0% the control's; every arm decided"
    assert re.fullmatch(note, rounds)
    assert re.fullmatch(r"starting workers took \d+\.\d s", starting)


# Memory


SWEEP = (1, 4, 16, 32)


def sweep(run, **options):
    defaults = {"launches": 2, "rounds": 2, "options": {"tail": 3}}
    return run(workloads=[workload(batch=batch) for batch in SWEEP], **(defaults | options))


def test_arm_keeps_its_figures_below_the_batch_that_exhausts_memory(run):
    measurement = sweep(run, pytorch="ok", control="ok", half="small", one="smaller")
    batches = {name: [s.batch for s in measurement.samples if s.has(name)] for name in measurement.workers}
    assert {"pytorch": [*SWEEP], "control": [*SWEEP], "half": [1, 4], "one": [1]} == batches
    assert {} == measurement.failed
    assert 3 == len(measurement.samples[0].tail_ns["one"])
    assert [2] * 4 == [len(worker.peak_rss_bytes) for worker in measurement.workers.values()]
    reason = "out of memory beside the other workers"
    assert [
        f"batch 4 and larger: no results for one, {reason}: one: MemoryError: ",
        f"batch 16 and larger: no results for half, {reason}: half: RuntimeError: CUDA failure 2: out of memory ; "
        "GPU=0",
    ] == [note for note in measurement.notes() if reason in note]
    sharing_the_error_rate = [series_of("pytorch", samples, measurement, 1).arms for samples in measurement.samples]
    assert [2, 1, 0, 0] == sharing_the_error_rate


def test_batches_beyond_the_references_memory_are_dropped(run):
    measurement = sweep(run, pytorch="small", control="small", toy="ok")
    assert [1, 4] == [samples.batch for samples in measurement.samples]
    assert [[2, 2], [2, 2]] == [counts(samples)["toy"] for samples in measurement.samples]
    assert {} == measurement.failed
    note = "batch 16 and larger: not measured, out of memory beside the other workers: pytorch: RuntimeError: CUDA"
    assert 1 == sum(line.startswith(note) for line in measurement.notes())


def test_arm_without_memory_for_a_row_has_failed(run):
    measurement = sweep(run, pytorch="ok", control="ok", toy="no_memory")
    assert str(measurement.failed["toy"]).startswith("toy: MemoryError: cannot hold a row")
    assert [True] * 4 == [samples.has("pytorch") for samples in measurement.samples]


def test_arm_without_memory_below_the_batch_of_the_gate_has_failed(run):
    workloads = [workload(batch=batch) for batch in (16, 4, 32)]
    measurement = run(workloads=workloads, launches=1, rounds=2, pytorch="ok", control="ok", toy="smaller")
    assert ["toy"] == [*measurement.failed]
    assert {} == measurement.memory_limits


# Tail and lock


def test_tail_is_single_calls_after_the_last_round_of_single_rows(run):
    recorder = Recorder()
    workloads = [workload(), workload(batch=4)]
    measurement = run(check=recorder, workloads=workloads, rounds=2, options={"tail": 5}, pytorch="ok", control="ok")
    single, several = measurement.samples
    assert {"pytorch": 5, "control": 5} == {name: len(ns) for name, ns in single.tail_ns.items()}
    assert min(single.tail_ns["pytorch"]) >= 3_000_000
    assert {} == several.tail_ns
    larger = 2 * (WARM_UP_BLOCKS + 2)
    assert [1] * 10 + [4] * larger == [len(rows) for _, rows, _ in recorder.blocks[-10 - larger :]]


def test_lock_is_held_while_measuring(run):
    lock = FileLock(locks.machine_folder() / "shipbench-cpu.lock", timeout=0)
    refused = []

    def check(name, rows, outputs):
        try:
            lock.acquire()
        except Timeout:
            refused.append(name)

    run(check=check, launches=1, pytorch="ok")
    assert ["pytorch"] * (WARM_UP_BLOCKS + 3) == refused
    with lock:
        assert lock.is_locked


def test_lock_is_released_after_an_error():
    with pytest.raises(KeyboardInterrupt), machine_lock():
        raise KeyboardInterrupt
    with machine_lock():
        assert (locks.machine_folder() / "shipbench-cpu.lock").exists()


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (("cuda", "GPU-a"), ("cuda", "GPU-b"), True),
        (("cuda", "GPU-a"), ("cuda", "GPU-a"), False),
        (("cuda", "GPU-a"), ("cpu", None), False),
        (("cpu", None), ("cuda", "GPU-a"), False),
        (("cuda", None), ("cuda", "GPU-a"), False),  # a GPU that no driver names may be any
    ],
)
def test_only_other_gpus_measure_at_once(monkeypatch, first, second, both):
    def refuse(text):
        raise Refusal(text)

    monkeypatch.setattr(locks, "PATIENCE_S", 0.1)
    monkeypatch.setattr("harness.measure.gpu.device_name", lambda: first[1])
    with machine_lock(device=first[0]):
        monkeypatch.setattr("harness.measure.gpu.device_name", lambda: second[1])
        with (
            nullcontext() if both else pytest.raises(Refusal, match="measure: waiting"),
            machine_lock(refuse, second[0]),
        ):
            pass


class Refusal(Exception):
    pass
