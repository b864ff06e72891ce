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

from harness.contracts.backend import Backend, Target
from harness.errors import WorkerError
from harness.evaluation.parity import check_timed
from harness.evaluation.predictions import Scored
from harness.measure.client import machine_lock
from harness.measure.rounds import WARM_UP, measure
from harness.measure.samples import Arm, Settings, WorkloadInputs
from harness.pipeline.record import series_of
from harness.util.console import Progress

pytestmark = pytest.mark.timeout(60)  # a worker that is not ended would be waited for
TOYS = '''
import os
import signal
import time

import numpy as np

from harness.contracts import (Session)

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


def small(artifact, target):
    """Has room for four rows, and says otherwise in CUDA's words."""
    def run(arrays):
        if len(arrays["x"]) > 4:
            raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")
        return honest(arrays)
    return session(run)


def smaller(artifact, target):
    """Has room for one row, and says otherwise in Python's words."""
    def run(arrays):
        if len(arrays["x"]) > 1:
            raise MemoryError
        return honest(arrays)
    return session(run)


def full_at_last(artifact, target):
    """Has room in its first two lives, and says otherwise from then on."""
    lives = artifact / "lives.txt"
    number = len(lives.read_text()) if lives.exists() else 0
    lives.write_text("x" * (number + 1))
    def run(arrays):
        if number >= 2:
            raise MemoryError("others take it all")
        return honest(arrays)
    return session(run)


def unloadable_at_last(artifact, target):
    """Finds room to load in its first two lives."""
    lives = artifact / "loads.txt"
    lives.write_text((lives.read_text() if lives.exists() else "") + "x")
    if len(lives.read_text()) > 2:
        raise MemoryError("others take it all")
    return session(honest)


def none(artifact, target):
    """Has no room at all."""
    def run(arrays):
        raise MemoryError("cannot hold a row")
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
    """Measures toy backends by arm name; the first is the reference. `rounds` are those of a start."""

    def go(
        check=None,
        loads=None,
        launches=2,
        rounds=3,
        looks=None,
        budget_s=60.0,
        seed=0,
        tail=0,
        settled=None,
        probes=True,
        **arms,
    ):
        artifact = tmp_path_factory.mktemp("artifact")
        return measure(
            [Arm(name, Backend(name=toy, load=loaders[toy]), artifact) for name, toy in arms.items()],
            loads or [load()],
            Settings(
                Target("cpu", 1),
                launches=launches,
                looks=looks or (launches * rounds,),
                budget_s=budget_s,
                timeout_s=60,
                seed=seed,
                tail=tail,
                probes=probes,
            ),
            check or Heard(),
            settled or (lambda samples: False),
            Progress(),
        )

    return go


@pytest.fixture(scope="module")
def quiet(run):
    """A measurement in which nothing goes wrong, and what the check was told."""
    heard = Heard()
    found = run(check=heard, loads=[load(), load(batch=4)], rounds=8, pytorch="ok", control="ok", toy="ok")
    return found, heard


def load(batch=1, first=0):
    """Batches of consecutive rows, from row `first` on; a batch holds its rows' numbers."""

    def rows(number):
        return [(first + number * batch + at) % ROWS for at in range(batch)]

    def arrays(of):
        return {"x": np.repeat(np.array(of)[:, None], 1 + of[0] % 3, axis=1)}

    return WorkloadInputs(batch, 0, rows, arrays)


def counts(samples):
    """Arm → samples in each start."""
    return {name: [len(start) for start in launches] for name, launches in samples.ns.items()}


# Shape


def test_every_arm_has_a_sample_in_every_round_of_every_start(quiet):
    found, _ = quiet
    single, several = found.samples
    assert (1, 4) == (single.batch, several.batch)
    assert {name: [8, 8] for name in ("pytorch", "control", "toy")} == counts(single)
    assert {name: [8, 8] for name in ("pytorch", "control", "toy")} == counts(several)
    assert ({}, False, False) == (found.failed, single.cut, several.cut)


def test_a_sample_is_the_time_of_one_call(quiet):
    for samples in quiet[0].samples:
        assert 1 <= samples.loops <= 3  # as many calls of 3 ms or more as fill a block of 8
        times = [ns for launches in samples.ns.values() for start in launches for ns in start]
        assert min(times) >= 3_000_000
        assert {"pytorch", "control", "toy"} == set(samples.timed_ns)
        for name, launches in samples.ns.items():
            own = [ns for start in launches for ns in start]
            assert sum(own) * samples.loops <= samples.timed_ns[name] <= (sum(own) + len(own)) * samples.loops
        assert sum(samples.timed_ns.values()) <= samples.spent_ns


def test_every_start_has_a_life_of_a_fresh_worker(quiet):
    lives = quiet[0].lives
    assert {"pytorch", "control", "toy"} == set(lives)
    for life in lives.values():
        figures = (life.import_ns, life.load_ns, life.compile_ns, life.first_ns, life.peak_rss_bytes)
        assert [2] * 5 == list(map(len, figures))
        assert min(life.load_ns + life.first_ns + life.peak_rss_bytes) > 0
        assert [0, 0] == life.compile_ns
    assert 3 == len({life.settings["pid"] for life in lives.values()})


# Rows


def test_every_arm_answers_the_same_rows_in_every_round(quiet):
    told = defaultdict(list)
    for name, rows, outputs in quiet[1].blocks:
        told[name].append(rows)
        assert rows == tuple(outputs[:, 0])
    assert told["pytorch"] == told["control"] == told["toy"]
    assert 2 * (WARM_UP + 8 + WARM_UP + 8) == len(told["pytorch"])


def test_starts_go_on_with_the_rows_where_the_last_ended(quiet):
    single, several = quiet[0].samples
    assert [list(range(8)), list(range(8, 16))] == single.rows
    assert [list(range(0, 32, 4)), [32, 36, *range(0, 24, 4)]] == several.rows


def test_the_length_of_every_batch_is_noted(quiet):
    for samples in quiet[0].samples:
        assert [[1 + row % 3 for row in start] for start in samples.rows] == samples.lengths


# Order


def test_the_order_of_arms_is_random_but_seeded(run):
    def orders(seed):
        heard = Heard()
        run(check=heard, rounds=12, launches=1, seed=seed, a="ok", b="ok", c="ok")
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


def check_others_are_whole(found, *, left, rounds=3, launches=2):
    (samples,) = found.samples
    assert [left] == list(found.failed)
    for name in ("pytorch", "control", "toy"):
        if name != left:
            assert [rounds] * launches == counts(samples)[name], name
            assert launches == len(found.lives[name].load_ns)
    assert [rounds] * launches == [len(start) for start in samples.rows]


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

    found = run(check=check, loads=[load(first=1)], launches=1, probes=False, pytorch="counted", hasty="hasty")
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


# How many rounds


def asking(answer):
    """Answers at looks, and what it was asked: (batch, rounds, launches)."""
    asked = []

    def settled(samples):
        asked.append((samples.batch, samples.rounds, len(samples.rows)))
        return answer(samples)

    return settled, asked


def test_rounds_end_at_the_first_look_that_decides_every_arm(run):
    settled, asked = asking(lambda samples: samples.rounds >= 4)
    (samples,) = run(settled=settled, looks=(2, 4, 8), launches=2, pytorch="ok").samples
    assert [(1, 2, 2), (1, 4, 4)] == asked
    assert [1, 1, 1, 1] == counts(samples)["pytorch"]
    assert (True, False) == (samples.settled, samples.cut)


def test_rounds_go_on_to_the_last_look_where_none_decides(run):
    settled, asked = asking(lambda samples: False)
    found = run(settled=settled, looks=(2, 4, 7), launches=1, pytorch="ok")
    (samples,) = found.samples
    assert [(1, 2, 1), (1, 4, 3), (1, 7, 5)] == asked
    assert [2, 1, 1, 2, 1] == counts(samples)["pytorch"]
    assert (False, False) == (samples.settled, samples.cut)
    assert "; not every arm decided" in found.notes()[0]
    assert "budget" not in found.notes()[0]
    assert 5 == len(found.lives["pytorch"].load_ns)


def test_a_workload_that_is_decided_leaves_the_starts_to_the_others(run):
    settled, asked = asking(lambda samples: samples.batch == 1)
    single, several = run(
        settled=settled, loads=[load(), load(batch=4)], looks=(1, 3), launches=1, pytorch="ok"
    ).samples
    assert [(1, 1, 1), (4, 1, 1), (4, 3, 3)] == asked
    assert ([1], [1, 1, 1]) == (counts(single)["pytorch"], counts(several)["pytorch"])
    assert (True, False) == (single.settled, several.settled)


def test_no_look_is_asked_for_before_the_starts_are_all_there(run):
    settled, asked = asking(lambda samples: True)
    (samples,) = run(settled=settled, launches=3, rounds=50, budget_s=0, pytorch="ok").samples
    assert [(1, 3, 3)] == asked
    assert (True, True) == (samples.settled, samples.cut)


# Budget


def test_a_budget_cuts_rounds_but_leaves_one_in_every_start(run):
    found = run(launches=3, rounds=50, budget_s=0, pytorch="ok", control="ok")
    (samples,) = found.samples
    assert {"pytorch": [1, 1, 1], "control": [1, 1, 1]} == counts(samples)
    assert [[0], [1], [2]] == samples.rows
    assert samples.cut
    said = (
        r"batch 1: 3 rounds in \d+\.\d s, \d+% of it timed calls, \d+% the control's; not every arm decided, cut short "
        r"by the budget"
    )
    assert re.fullmatch(said, found.notes()[0])


def test_a_budget_is_shared_by_workloads_and_starts(run):
    # A round takes 3 ms or more, so that at most four of them begin within a share of 10 ms.
    found = run(loads=[load(), load(batch=4)], launches=2, rounds=50, budget_s=0.04, pytorch="ok")
    for samples in found.samples:
        assert samples.cut
        assert all(1 <= rounds <= 4 for rounds in counts(samples)["pytorch"])


def test_a_budget_that_leads_to_no_further_look_begins_no_further_start(run):
    # Two rounds of 3 ms or more are within 0.1 s, two hundred are not.
    (samples,) = run(looks=(2, 200), launches=1, budget_s=0.1, pytorch="ok").samples
    assert [2] == counts(samples)["pytorch"]
    assert (False, True) == (samples.settled, samples.cut)


def test_a_budget_that_suffices_cuts_nothing(run):
    found = run(settled=lambda samples: True, pytorch="ok", budget_s=600)
    assert not found.samples[0].cut
    rounds, starting, unprobed = found.notes()
    said = r"batch 1: 6 rounds in \d+\.\d s, \d+% of it timed calls, 0% the control's; every arm decided"
    assert re.fullmatch(said, rounds)
    assert re.fullmatch(r"starting workers took \d+\.\d s", starting)
    assert unprobed.startswith("not checked for remembered answers: ")


# Memory


SWEEP = (1, 4, 16, 32)


def sweep(run, **arms):
    return run(loads=[load(batch=batch) for batch in SWEEP], launches=2, rounds=2, tail=3, **arms)


def test_an_arm_has_figures_up_to_the_largest_batch_that_it_has_memory_for(run):
    found = sweep(run, pytorch="ok", control="ok", half="small", one="smaller")
    assert [1, 4, 16, 32] == [samples.batch for samples in found.samples]
    held = {name: [s.batch for s in found.samples if s.has(name)] for name in ("pytorch", "control", "half", "one")}
    assert {"pytorch": [1, 4, 16, 32], "control": [1, 4, 16, 32], "half": [1, 4], "one": [1]} == held
    assert {} == found.failed
    assert 3 == len(found.samples[0].tail_ns["one"])
    assert [2] * 4 == [len(found.lives[name].load_ns) for name in ("pytorch", "control", "half", "one")]
    told = [note for note in found.notes() if "for want of memory" in note]
    expected = [
        "batch 4 and beyond: nothing of one, for want of memory beside the other workers: one: MemoryError: ",
        "batch 16 and beyond: nothing of half, for want of memory beside the other workers: half: RuntimeError: CUDA "
        "failure 2: out of memory ; GPU=0",
    ]
    assert expected == told


def test_an_arm_without_memory_leaves_starts_that_are_for_larger_batches_alone(run):
    loads = [load(batch=batch) for batch in SWEEP]
    arms = {"pytorch": "ok", "control": "ok", "half": "small", "late": "full_at_last"}
    found = run(loads=loads, launches=2, looks=(4, 8), settled=lambda samples: samples.batch < 16, **arms)
    assert {} == found.failed
    assert [4, 4, 8, 8] == [samples.rounds for samples in found.samples]
    assert {"half": 16, "late": 16} == {name: full.batch for name, full in found.full.items()}
    assert [True, True, False, False] == [samples.has("late") for samples in found.samples]
    assert {"pytorch": 4, "control": 4, "half": 2, "late": 2} == {n: len(v.first_ns) for n, v in found.lives.items()}


def test_an_arm_that_cannot_load_for_a_larger_batch_keeps_its_figures_of_smaller_ones(run):
    loads = [load(batch=batch) for batch in SWEEP]
    arms = {"pytorch": "ok", "control": "ok", "late": "unloadable_at_last"}
    found = run(loads=loads, launches=2, looks=(4, 8), settled=lambda samples: samples.batch < 16, **arms)
    assert {} == found.failed
    assert {"late": 16} == {name: full.batch for name, full in found.full.items()}
    assert [True, True, False, False] == [samples.has("late") for samples in found.samples]


def test_the_error_rate_is_split_over_the_arms_that_a_batch_has(run):
    found = sweep(run, pytorch="ok", control="ok", half="small", toy="ok")
    assert [2, 2, 1, 1] == [series_of("toy", samples, found, 1).arms for samples in found.samples]


def test_batches_that_the_reference_has_no_memory_for_are_left_out(run):
    found = sweep(run, pytorch="small", control="small", toy="ok")
    assert [1, 4] == [samples.batch for samples in found.samples]
    assert [[2, 2], [2, 2]] == [counts(samples)["toy"] for samples in found.samples]
    assert {} == found.failed
    said = "batch 16 and beyond: left out, for want of memory beside the other workers: pytorch: RuntimeError: CUDA"
    assert 1 == sum(note.startswith(said) for note in found.notes())


def test_an_arm_without_memory_for_a_row_has_failed_and_the_others_go_on(run):
    found = sweep(run, pytorch="ok", control="ok", toy="none")
    assert {"toy"} == set(found.failed)
    assert str(found.failed["toy"]).startswith("toy: MemoryError: cannot hold a row")
    assert [True] * 4 == [samples.has("pytorch") for samples in found.samples]


def test_a_reference_without_memory_for_a_row_ends_the_measurement(run):
    with pytest.raises(WorkerError, match="pytorch: MemoryError: cannot hold a row"):
        sweep(run, pytorch="none", control="ok")


# The tail


def test_a_tail_is_single_calls_of_every_arm_after_the_last_round_of_single_rows(run):
    heard = Heard()
    loads = [load(), load(batch=4)]
    found = run(check=heard, loads=loads, launches=2, rounds=2, tail=5, pytorch="ok", control="ok")
    single, several = found.samples
    assert {"pytorch": 5, "control": 5} == {name: len(ns) for name, ns in single.tail_ns.items()}
    assert min(single.tail_ns["pytorch"]) >= 3_000_000
    assert {} == several.tail_ns
    larger = 2 * (WARM_UP + 2)
    assert [1] * 10 + [4] * larger == [len(rows) for _, rows, _ in heard.blocks[-10 - larger :]]


def test_a_tail_that_is_not_asked_for_is_not_taken(quiet):
    assert [{}, {}] == [samples.tail_ns for samples in quiet[0].samples]


# The machine


def test_nobody_else_measures_meanwhile(run):
    lock = FileLock(Path(tempfile.gettempdir()) / "shipbench-measuring.lock", timeout=0)
    refused = []

    def check(name, rows, outputs):
        try:
            lock.acquire()
        except Timeout:
            refused.append(name)

    run(check=check, launches=1, pytorch="ok")
    assert ["pytorch"] * (WARM_UP + 3) == refused
    with lock:
        assert lock.is_locked


def test_the_lock_is_given_back_after_an_error():
    with pytest.raises(KeyboardInterrupt), machine_lock():
        raise KeyboardInterrupt
    with machine_lock():
        assert (Path(tempfile.gettempdir()) / "shipbench-measuring.lock").exists()


def test_what_disturbed_the_rounds_is_known_of_every_arm(quiet):
    assert {"pytorch", "control", "toy"} == set(quiet[0].disturbance.switches)


# Arms that do not compute what they answer


CHEATS = """
import threading
import time

import numpy as np

from harness.contracts import (Session)


def session(run):
    return Session(run, "cpu", {})


def honest(artifact, target):
    def run(arrays):
        time.sleep(0.002)
        return {"echo": arrays["x"].copy()}
    return session(run)


def noisy(artifact, target):
    dice = np.random.default_rng(0)
    def run(arrays):
        time.sleep(0.002 * np.exp(dice.normal(0, 0.3)))
        return {"echo": arrays["x"].copy()}
    return session(run)


def remembers(artifact, target):
    known = {}
    def run(arrays):
        key = arrays["x"].tobytes()
        if key not in known:
            time.sleep(0.002)
            known[key] = arrays["x"].copy()
        return {"echo": known[key]}
    return session(run)


def stale(artifact, target):
    last = [np.full((1, 1), -1)]
    def run(arrays):
        time.sleep(0.002)
        last.append(arrays["x"].copy())
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
"""


def check_echo(name, rows, outputs):
    known = Scored([{"echo": np.full((1, 1), row)} for row in range(ROWS)], [], [], 1.0, {})
    check_timed(name, known, rows, outputs)


@pytest.fixture(scope="module")
def cheats(tmp_path_factory):
    path = tmp_path_factory.mktemp("cheats") / "toy_cheats.py"
    path.write_text(CHEATS)
    return runpy.run_path(str(path))


def measured(cheats, folder, *names, rows=ROWS):
    arrays = {"x": np.arange(ROWS)[:, None]}
    return measure(
        [Arm(name, Backend(name=name, load=cheats[name]), folder) for name in names],
        [WorkloadInputs(1, 0, lambda number: [number % rows], lambda of: {"x": arrays["x"][of]})],
        Settings(Target("cpu", 1), launches=1, looks=(2,), timeout_s=60),
        check_echo,
        lambda samples: True,
        Progress(),
    )


def test_arms_that_do_not_compute_what_they_answer_leave_and_honest_ones_stay(cheats, tmp_path):
    found = measured(cheats, tmp_path, "honest", "noisy", "remembers", "stale", "early", "lazy")
    assert {"remembers", "stale", "early", "lazy"} == set(found.failed)
    said = r"remembers: answers rows that it has just seen \d[\d.]* times as fast as new ones of the same shape; it rem"
    assert re.match(said, str(found.failed["remembers"]))
    for name in ("stale", "early"):
        assert f"{name}: what was timed is not what was scored" in str(found.failed[name])
    assert "lazy: TypeError: output echo is Promised" in str(found.failed["lazy"])
    assert {"honest": [2], "noisy": [2]} == {n: c for n, c in counts(found.samples[0]).items() if n not in found.failed}
    assert [] == found.unprobed


def test_a_reference_that_remembers_ends_the_measurement(cheats, tmp_path):
    with pytest.raises(WorkerError, match="remembers: answers rows that it has just seen"):
        measured(cheats, tmp_path, "remembers", "honest")


def test_too_few_rows_of_one_shape_are_said_and_refuse_nobody(cheats, tmp_path):
    found = measured(cheats, tmp_path, "honest", "noisy", rows=15)
    assert {} == found.failed
    said = "not checked for remembered answers: of 200 batches only 15 different ones share a shape, and it takes 16"
    assert [said] == found.unprobed
    assert said in found.notes()
