# the expectation stands on the left
"""Laws of tuning: on simulated machines, where the truth is known, and by the command, on toys that sleep."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from conftest import Toy
from harness import Backend, HarnessError, Target
from harness.contracts import Arrays
from harness.progress import Progress
from harness.rounds.samples import Load, Settings
from harness.selftest.simulation import Profile, Simulated, Simulation
from harness.selftest.toys import truthful
from harness.tuning.costs import SEARCH, TOGETHER, Cost, fitting
from harness.tuning.search import Found, search
from harness.tuning.trials import Field, pilot
from harness.tuning.tuned import alternatives, words
from harness.verdicts.speed import agreed, own_speedups

pytest_plugins = "pytester"

QUIET = Profile(name="quiet", block_ms=8, jitter=0.02)
LOUD = Profile(name="loud", block_ms=8, jitter=0.1)
CHOICES = {"level": ("all", "basic", "none"), "arena": (True, False)}
TOY = Backend(name="toy", load=truthful, choices=CHOICES)
TARGET = Target("cpu", 2)
START_SD = 0.005


class Choosy(Simulation):
    """A machine on which options take so much more or less time."""

    factors: Mapping[str, float] = MappingProxyType({})

    def hire(
        self, backend: Backend, artifact: Path, target: Target, timeout_s: float, name: str, front: object, kind: object
    ) -> Simulated:
        """The option that changes most decides."""
        factor = min((self.factors.get(words({k: v}), 1.0) for k, v in backend.options.items()), default=1.0)
        return super().hire(backend, Path(str(factor)), target, timeout_s, name, front, kind)


class Together(Simulation):
    """A machine on which two options together halve the work."""

    def hire(
        self, backend: Backend, artifact: Path, target: Target, timeout_s: float, name: str, front: object, kind: object
    ) -> Simulated:
        """By how many there are."""
        work = "0.5" if len(backend.options) > 1 else "1"
        return super().hire(backend, Path(work), target, timeout_s, name, front, kind)


def arrays(rows: list[int]) -> Arrays:
    return {"x": np.zeros((1, 1), dtype=np.float32)}


def field(profile: Profile, seed: int, **work: float) -> Field:
    where = Choosy(profile, START_SD, f"tune {seed}")
    where.factors = {name.replace("_", "="): factor for name, factor in work.items()}
    return Field(
        backend=TOY,
        artifact=Path("1"),
        load=Load(1, 0, lambda number: [number], arrays),
        settings=Settings(TARGET, machine=where.machine),
        check=lambda name, rows, outputs: None,
        accept=lambda variant: None,
    )


def tune(profile: Profile, seed: int, **work: float) -> Found:
    where = field(profile, seed, **work)
    candidates = list(alternatives(TOY, TARGET, cores=2))
    return search(where, candidates, 600.0, pilot(where), Progress())


def claimed(found: Found) -> bool:
    """Whether it is said that something is faster than the default."""
    return found.series is not None and agreed(own_speedups(found.series)) == "faster"


# ---------------------------------------------------------------------------------------------------- the search


def test_of_identical_settings_the_best_looks_faster_where_it_was_chosen_and_is_not_claimed_to_be() -> None:
    found = [tune(LOUD, seed) for seed in range(40)]
    flattered = [math.exp(max(one.standings[0].ratios.values())) for one in found]
    assert all(ratio > 1.02 for ratio in flattered)  # whoever reported that would always have found something
    assert 0 == sum(map(claimed, found))


def test_what_is_truly_faster_is_found_and_claimed() -> None:
    for seed in range(4):
        found = tune(QUIET, seed, level_basic=0.8)
        assert "basic" == found.tried[found.winner or ""]["level"]
        assert claimed(found)
        assert found.series is not None
        assert 1.15 < own_speedups(found.series)[0].estimate < 1.35


def test_the_winner_is_measured_in_starts_that_chose_nobody() -> None:
    found = tune(QUIET, 0, level_basic=0.8)
    assert found.series is not None
    assert 4 <= len(found.series.own_ns)
    assert 30 <= sum(map(len, found.series.own_ns))
    assert found.series.control_ns


def test_where_all_else_is_slower_the_default_wins_and_no_fresh_round_is_run() -> None:
    where = field(QUIET, 0, level_basic=1.5, level_none=1.5)
    candidates = [options for options in alternatives(TOY, TARGET, 2) if "level" in options and len(options) == 1]
    found = search(where, candidates, 600.0, pilot(where), Progress())
    assert (None, None) == (found.winner, found.series)


def test_of_equals_the_one_that_changes_least_is_chosen() -> None:
    where = field(QUIET, 0, level_basic=0.5)
    candidates = [{"level": "basic", "arena": False}, {"level": "basic"}]
    for order in (candidates, candidates[::-1]):
        assert "level=basic" == search(where, order, 600.0, pilot(where), Progress()).winner


def test_what_a_winner_does_not_need_is_left_out_and_what_it_needs_stays() -> None:
    where = field(QUIET, 0, level_basic=0.5)
    needless = [{"level": "basic", "arena": False, "spinning": True}]
    assert "level=basic" == search(where, needless, 600.0, pilot(where), Progress()).winner
    where = both_needed()
    needed = [{"level": "basic", "arena": False}]
    assert "level=basic, arena=off" == search(where, needed, 600.0, pilot(where), Progress()).winner


def both_needed() -> Field:
    """Where only two changes together make a difference."""
    where = Together(QUIET, START_SD, "together")
    return replace(field(QUIET, 0), settings=Settings(TARGET, machine=where.machine))


def test_a_setting_that_answers_otherwise_is_refused_and_the_next_is_taken() -> None:
    def accept(variant: Backend) -> None:
        if variant.options.get("level") == "basic":
            raise HarnessError("the export does not answer as toy does")

    where = replace(field(QUIET, 0, level_basic=0.5, level_none=0.8), accept=accept)
    found = search(where, [{"level": "basic"}, {"level": "none"}], 600.0, pilot(where), Progress())
    assert "level=none" == found.winner
    assert {"level=basic": "the export does not answer as toy does"} == found.failed


def test_no_more_than_so_many_workers_live_at_once() -> None:
    where = field(QUIET, 0)
    lives, most = 0, 0
    hire = where.settings.machine.hire

    def counted(*order: object) -> Simulated:
        nonlocal lives, most
        worker = hire(*order)
        lives, most = lives + 1, max(most, lives + 1)

        def close() -> None:
            nonlocal lives
            lives -= 1

        worker.close = close  # type: ignore[method-assign]
        return worker  # type: ignore[return-value]

    machine = replace(where.settings.machine, hire=counted)
    watched = replace(where, settings=replace(where.settings, machine=machine))
    search(watched, list(alternatives(TOY, TARGET, 2)), 600.0, pilot(watched), Progress())
    assert TOGETHER + 1 == most
    assert 0 == lives


# ---------------------------------------------------------------------------------------------------- the budget


@pytest.mark.parametrize("cost", [Cost(0.5, 0.001), Cost(3.0, 0.02), Cost(5.0, 1.0)])
def test_a_budget_too_small_for_a_rung_is_refused_with_one_that_is_not(cost: Cost) -> None:
    with pytest.raises(HarnessError, match=r"--budget 0\.5: a worker takes") as caught:
        fitting(0.5, cost, starts=4)
    (least,) = re.findall(r"take (\d+) s;", str(caught.value))
    assert fitting(float(least), cost, starts=4) >= 1
    with pytest.raises(HarnessError):
        fitting(float(least) - 1, cost, starts=4)


@pytest.mark.parametrize("cost", [Cost(0.5, 0.001), Cost(3.0, 0.02)])
def test_what_is_tried_fits_the_budget_and_more_budget_tries_more(cost: Cost) -> None:
    counts = [fitting(budget, cost, starts=4) for budget in (200.0, 400.0, 800.0)]
    assert sorted(set(counts)) == counts
    for count, budget in zip(counts, (200.0, 400.0, 800.0), strict=True):
        assert cost.search(count) <= SEARCH * budget < cost.search(count + 1)
        assert cost.search(count) + cost.fresh(4) <= budget


def test_a_search_whose_time_runs_out_takes_the_best_so_far_and_says_so() -> None:
    where = field(QUIET, 0, level_basic=0.8)
    found = search(where, list(alternatives(TOY, TARGET, 2)), 0.0, pilot(where), Progress())
    assert found.cut
    assert 1 == len(found.standings)
    assert claimed(found)


BAD = {
    "several cases": (["test_toy.py", "-k", "choosy"], "tunes one case at a time, and "),
    "no case": (["test_toy.py", "-k", "nobody"], "test_toy.py: no case matches -k 'nobody'"),
    "a suite that is not there": (["test_nowhere.py"], "test_nowhere.py: no such suite"),
    "a device that is not there": (["test_toy.py", "-k", "pytorch and cuda"], "pytorch.cuda cannot run here: no CUDA"),
    "a budget without end": (["test_toy.py", "-k", "choosy.cpu", "--budget=inf"], "--budget inf: must be positive, in"),
    "no budget": (["test_toy.py", "-k", "choosy.cpu", "--budget=0"], "--budget 0: must be positive"),
    "a budget that is none": (["test_toy.py", "-k", "choosy.cpu", "--budget=all"], "invalid float value: 'all'"),
    "more threads than cores": (["test_toy.py", "-k", "idle", "--ship-threads=5000"], "--ship-threads 5000: this"),
    "a suite with a typo in an option": (["test_typo.py", "-k", "idle"], "no option 'wrk'; there are threads, spin"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_bad_input_is_named_and_nothing_is_trained(mistake: str, toy: Toy) -> None:
    words, said = BAD[mistake]
    toy.copy("choosy.py", "own.py", "bag.py")
    suite = (toy.folder / "test_toy.py").read_text()
    (toy.folder / "test_typo.py").write_text(suite.replace("work=", "wrk="))
    run = toy.command("harness", "tune", *words, f"--ship-artifacts={toy.artifacts / 'none'}")
    assert (2 if mistake == "a budget that is none" else 4) == run.status
    assert said in "\n".join(run.err)
    assert "Traceback" not in "".join(run.err[:1])
    assert not (toy.artifacts / "none").exists()
