"""Laws of rounds, through real workers of toy backends: who answers what, when, in which order, and who leaves."""

import re
import runpy
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from filelock import FileLock, Timeout

from harness.errors import WorkerError
from harness.machine import machine_lock
from harness.measure import WARM_UP, measure
from harness.progress import Progress
from harness.samples import Arm, Load, Settings
from harness.spec import Backend, Target

pytestmark = pytest.mark.timeout(60)  # a worker that is not ended would be waited for
TOYS = '''
import os
import signal
import time

import numpy as np

from harness.spec import (Session)

FATAL_ROW = 7


def honest(arrays):
    time.sleep(0.003)
    return {"echo": arrays["x"]}


def session(run):
    return Session(run, "cpu", {"pid": str(os.getpid())})


def ok(artifact, target):
    return session(honest)


def hasty(artifact, target):
    """Answers sooner, and something else."""
    def run(arrays):
        time.sleep(0.0005)
        return {"echo": -arrays["x"]}
    return session(run)


def counted(artifact, target):
    """Says how often it was called."""
    calls = []
    def run(arrays):
        calls.append(1)
        return honest(arrays) | {"calls": np.array([len(calls)])}
    return session(run)


def fails_to_load(artifact, target):
    raise ValueError("no weights here")


def fails_to_load_again(artifact, target):
    """Loads once; leaves a trace, by which the next worker knows."""
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
'''
FATAL_ROW = 7
ROWS = 40


@dataclass
class Heard:
    """What the check was told, in order; it refuses what `refuse` says."""

    refuse: object = lambda name, rows, outputs: False
    blocks: list = field(default_factory=list)

    def __call__(self, name, rows, outputs):
        self.blocks.append((name, tuple(rows), outputs["echo"].copy()))
        if self.refuse(name, rows, outputs):
            raise WorkerError(f"{name}: not what was scored")

    def orders(self, arms):
        """The arms' order of every round; for measurements of one start and workload, in which none leaves."""
        names = [name for name, _, _ in self.blocks][WARM_UP * arms :]
        return [tuple(names[at : at + arms]) for at in range(0, len(names), arms)]


@pytest.fixture(scope="module")
def loaders(tmp_path_factory):
    path = tmp_path_factory.mktemp("toys") / "toy_backends.py"
    path.write_text(TOYS)
    return runpy.run_path(str(path))


@pytest.fixture(scope="module", autouse=True)
def _own_machine(tmp_path_factory):
    """A machine-wide lock of this module's own, so that a measurement elsewhere is not waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("machine")))
        yield


@pytest.fixture(autouse=True)
def _nothing_left():
    """After every test, no process is left that it started."""
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set() == set(psutil.Process().children(recursive=True)) - before


@pytest.fixture(scope="module")
def run(loaders, tmp_path_factory):
    """Measures toy backends by arm name; the first is the reference."""

    def go(check=None, loads=None, starts=2, budget_s=60.0, seed=0, **arms):
        artifact = tmp_path_factory.mktemp("artifact")
        return measure(
            [Arm(name, Backend(name=toy, load=loaders[toy]), artifact) for name, toy in arms.items()],
            loads or [load()],
            Settings(Target("cpu", 1), starts=starts, budget_s=budget_s, timeout_s=60, seed=seed),
            check or Heard(),
            Progress(),
        )

    return go


@pytest.fixture(scope="module")
def quiet(run):
    """A measurement in which nothing goes wrong, and what the check was told."""
    heard = Heard()
    found = run(check=heard, loads=[load(rounds=8), load(batch=4, rounds=3)], pytorch="ok", control="ok", toy="ok")
    return found, heard


def load(batch=1, rounds=3, first=0):
    """Batches of consecutive rows, from row `first` on; a batch holds its rows' numbers."""

    def rows(number):
        return [(first + number * batch + at) % ROWS for at in range(batch)]

    def arrays(of):
        return {"x": np.repeat(np.array(of)[:, None], 1 + of[0] % 3, axis=1)}

    return Load(batch, rounds, 0, rows, arrays)


def counts(samples):
    """Arm → samples in each start."""
    return {name: [len(start) for start in starts] for name, starts in samples.ns.items()}


# Shape


def test_every_arm_has_a_sample_in_every_round_of_every_start(quiet):
    found, _ = quiet
    single, several = found.samples
    assert (1, 4) == (single.batch, several.batch)
    assert {name: [8, 8] for name in ("pytorch", "control", "toy")} == counts(single)
    assert {name: [3, 3] for name in ("pytorch", "control", "toy")} == counts(several)
    assert ({}, False, False) == (found.failed, single.cut, several.cut)


def test_a_sample_is_the_time_of_one_call(quiet):
    for samples in quiet[0].samples:
        assert 1 <= samples.loops <= 3  # as many calls of 3 ms or more as fill a block of 8
        times = [ns for starts in samples.ns.values() for start in starts for ns in start]
        assert min(times) >= 3_000_000
        assert sum(times) * samples.loops <= samples.timed_ns <= (sum(times) + len(times)) * samples.loops
        assert samples.timed_ns <= samples.spent_ns


def test_every_start_has_a_life_of_a_fresh_worker(quiet):
    lives = quiet[0].lives
    assert {"pytorch", "control", "toy"} == set(lives)
    for life in lives.values():
        assert [2, 2, 2] == [len(life.load_ns), len(life.first_ns), len(life.peak_rss_bytes)]
        assert min(life.load_ns + life.first_ns + life.peak_rss_bytes) > 0
    assert 3 == len({life.settings["pid"] for life in lives.values()})


# Rows


def test_every_arm_answers_the_same_rows_in_every_round(quiet):
    told = defaultdict(list)
    for name, rows, outputs in quiet[1].blocks:
        told[name].append(rows)
        assert rows == tuple(outputs[:, 0])
    assert told["pytorch"] == told["control"] == told["toy"]
    assert 2 * (WARM_UP + 8 + WARM_UP + 3) == len(told["pytorch"])


def test_starts_go_on_with_the_rows_where_the_last_ended(quiet):
    single, several = quiet[0].samples
    assert [list(range(8)), list(range(8, 16))] == single.rows
    assert [[0, 4, 8], [12, 16, 20]] == several.rows


def test_the_length_of_every_batch_is_noted(quiet):
    for samples in quiet[0].samples:
        assert [[1 + row % 3 for row in start] for start in samples.rows] == samples.lengths


# Order


def test_the_order_of_arms_is_random_but_seeded(run):
    def orders(seed):
        heard = Heard()
        run(check=heard, loads=[load(rounds=12)], starts=1, seed=seed, a="ok", b="ok", c="ok")
        return heard.orders(3)

    one, again, other = orders(1), orders(1), orders(2)
    assert one == again
    assert one != other
    assert {("a", "b", "c")} == {tuple(sorted(order)) for order in one}
    assert len(set(one)) >= 3
    assert {"a", "b", "c"} == {order[0] for order in one}


def test_every_start_has_an_order_of_its_own(quiet):
    names = [name for name, _, _ in quiet[1].blocks]
    half = len(names) // 2
    assert names[:half] != names[half:]
    assert Counter(names[:half]) == Counter(names[half:])


# Arms that leave


def check_others_are_whole(found, *, left, rounds=3, starts=2):
    (samples,) = found.samples
    assert [left] == list(found.failed)
    for name in ("pytorch", "control", "toy"):
        if name != left:
            assert [rounds] * starts == counts(samples)[name], name
            assert starts == len(found.lives[name].load_ns)
    assert [rounds] * starts == [len(start) for start in samples.rows]


@pytest.mark.parametrize(
    ("toy", "first", "said"),
    [
        ("dies", FATAL_ROW, "toy: the worker was killed by SIGKILL"),
        ("dies", FATAL_ROW - 1, "toy: the worker was killed by SIGKILL"),
        ("dies", FATAL_ROW - 4, "toy: the worker was killed by SIGKILL"),
        ("raises", FATAL_ROW - 1, "toy: ArithmeticError: a kernel gave up"),
    ],
    ids=["killed in warm-up", "killed in a round", "killed in the second start", "raises in a round"],
)
def test_an_arm_that_dies_leaves_and_the_others_have_all_samples(run, toy, first, said):
    found = run(loads=[load(first=first)], pytorch="ok", toy=toy, control="ok")
    check_others_are_whole(found, left="toy")
    assert str(found.failed["toy"]).startswith(said)


def test_an_arm_that_cannot_be_loaded_is_missing_from_the_start(run):
    found = run(pytorch="ok", toy="fails_to_load", control="ok")
    check_others_are_whole(found, left="toy")
    assert "toy: ValueError: no weights here" in str(found.failed["toy"])
    assert "toy" not in found.samples[0].ns


def test_an_arm_that_loads_only_once_leaves_in_the_second_start(run):
    found = run(pytorch="ok", toy="fails_to_load_again", control="ok")
    check_others_are_whole(found, left="toy")
    assert "no second time" in str(found.failed["toy"])


def test_an_arm_whose_answer_is_refused_leaves(run):
    heard = Heard(refuse=lambda name, rows, outputs: name == "toy" and rows == [1])
    found = run(check=heard, pytorch="ok", toy="ok", control="ok")
    check_others_are_whole(found, left="toy")
    assert "toy: not what was scored" == str(found.failed["toy"])


def test_an_arm_that_left_is_not_asked_again(run):
    heard = Heard(refuse=lambda name, rows, outputs: name == "toy")
    run(check=heard, pytorch="ok", toy="ok")
    assert 1 == sum(name == "toy" for name, _, _ in heard.blocks)


def test_two_arms_may_leave(run):
    found = run(loads=[load(first=FATAL_ROW - 1)], pytorch="ok", one="dies", other="raises")
    assert {"one", "other"} == set(found.failed)
    assert [3, 3] == counts(found.samples[0])["pytorch"]


def test_an_arm_that_was_refused_does_not_decide_how_long_blocks_are(run):
    calls = []

    def check(name, rows, outputs):
        if name == "hasty":
            raise WorkerError("hasty: not what was scored")
        calls.append(int(outputs["calls"][0]))

    found = run(check=check, loads=[load(first=1)], starts=1, pytorch="counted", hasty="hasty")
    assert ["hasty"] == list(found.failed)
    # Calls of 3 ms or more, in blocks of 8 ms: never more than three.
    assert 1 <= found.samples[0].loops <= 3
    assert all(1 <= after - before <= 3 for before, after in zip([0, *calls], calls, strict=False))


@pytest.mark.parametrize("first", [FATAL_ROW, FATAL_ROW - 1, FATAL_ROW - 4], ids=["warm-up", "round", "second start"])
def test_a_reference_that_dies_ends_the_measurement(run, first):
    with pytest.raises(WorkerError, match="pytorch: the worker was killed by SIGKILL"):
        run(loads=[load(first=first)], pytorch="dies", toy="ok")


def test_a_reference_that_cannot_be_loaded_ends_the_measurement(run):
    with pytest.raises(WorkerError, match="pytorch: ValueError: no weights here"):
        run(pytorch="fails_to_load", toy="ok")


def test_a_reference_whose_answer_is_refused_ends_the_measurement(run):
    heard = Heard(refuse=lambda name, rows, outputs: name == "pytorch" and rows == [1])
    with pytest.raises(WorkerError, match="pytorch: not what was scored"):
        run(check=heard, pytorch="ok", toy="ok")


def test_an_error_of_the_check_itself_is_not_hidden(run):
    def check(name, rows, outputs):
        raise ZeroDivisionError("the check is broken")

    with pytest.raises(ZeroDivisionError, match="the check is broken"):
        run(check=check, pytorch="ok", toy="ok")


# Budget


def test_a_budget_cuts_rounds_but_leaves_one_in_every_start(run):
    found = run(loads=[load(rounds=50)], starts=3, budget_s=0, pytorch="ok", toy="ok")
    (samples,) = found.samples
    assert {"pytorch": [1, 1, 1], "toy": [1, 1, 1]} == counts(samples)
    assert [[0], [50 % ROWS], [100 % ROWS]] == samples.rows
    assert samples.cut
    said = r"batch 1: 3 rounds in \d+\.\d s, \d+% of it timed calls, cut short by the budget"
    assert re.fullmatch(said, found.notes()[0])


def test_a_budget_is_shared_by_workloads_and_starts(run):
    # A round takes 3 ms or more, so that at most four of them begin within a share of 10 ms.
    loads = [load(rounds=50), load(batch=4, rounds=50)]
    found = run(loads=loads, starts=2, budget_s=0.04, pytorch="ok")
    for samples in found.samples:
        assert samples.cut
        assert all(1 <= rounds <= 4 for rounds in counts(samples)["pytorch"])


def test_a_budget_that_suffices_cuts_nothing(run):
    found = run(pytorch="ok", budget_s=600)
    assert not found.samples[0].cut
    rounds, starting = found.notes()
    assert re.fullmatch(r"batch 1: 6 rounds in \d+\.\d s, \d+% of it timed calls", rounds)
    assert re.fullmatch(r"starting workers took \d+\.\d s", starting)


# The machine


def test_nobody_else_measures_meanwhile(run):
    lock = FileLock(Path(tempfile.gettempdir()) / "shipbench-measuring.lock", timeout=0)
    refused = []

    def check(name, rows, outputs):
        try:
            lock.acquire()
        except Timeout:
            refused.append(name)

    run(check=check, starts=1, pytorch="ok")
    assert ["pytorch"] * (WARM_UP + 3) == refused
    with lock:
        assert lock.is_locked


def test_the_lock_is_given_back_after_an_error():
    with pytest.raises(KeyboardInterrupt), machine_lock():
        raise KeyboardInterrupt
    with machine_lock():
        assert (Path(tempfile.gettempdir()) / "shipbench-measuring.lock").exists()
