"""Shards: every case in exactly one, of about the same length, and the same in every job of a commit."""

import random
import subprocess
import sys
from argparse import Namespace
from itertools import chain
from pathlib import Path

import factory
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import REPOSITORY, Toy
from harness import Folder, Hub, Local, Model, Task, cases
from harness.backends import PYTORCH
from harness.commands.collection import collect
from harness.errors import HarnessError
from harness.pytest_plugin import session as sessions
from harness.pytest_plugin import shards
from harness.pytest_plugin.machine import Machine
from harness.results.store import load, result_path, save
from harness.util.console import Progress

pytest_plugins = "pytester"

COSTS = st.dictionaries(st.text("abcdef", min_size=1), st.floats(0, 1e4), max_size=60)
SUITE = '''
"""Five tasks, of which the first has as many cases as the others together, and a test without a case."""

from dataclasses import replace

import pytest
from toydata import TASK

from harness import Gate, Model, Native, Recipe, cases
from harness.backends import PYTORCH

RECIPE, GATE = Recipe(loop="native", epochs=1), Gate(min_score=0.1, max_drop=0.1)
MODELS = [Model(name=name, source=Native("bag.py:Bag"), recipe=RECIPE) for name in "abcd"]
CASES = [case for task, count in {"t1": 4, "t2": 1, "t3": 1, "t4": 1, "t5": 1}.items()
         for case in cases(replace(TASK, name=task), dict.fromkeys(MODELS[:count], GATE), [PYTORCH])]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_toy(case, bench):
    bench(case)


def test_plain():
    pass
'''


@pytest.mark.parametrize(("text", "expected"), [("1/1", (1, 1)), ("3/16", (3, 16)), ("1000/1000", (1000, 1000))])
def test_shard_is_counted_from_one(text, expected):
    assert expected == shards.parse(text)


@pytest.mark.parametrize(
    "text", ["", "2", "0/4", "5/4", "-1/4", "1/0", "1/1001", "01/4", "1 / 4", "١/٤", "1/4/2", "a/b"]
)
def test_other_shards_are_refused(text):
    with pytest.raises(HarnessError, match=r"--ship-shard .*: must be one of 1/N, 2/N, … N/N, where N"):
        shards.parse(text)


@given(COSTS, st.integers(1, 16))
def test_every_task_is_in_exactly_one_shard(costs, count):
    dealt = shards.deal(costs, count)
    assert count == len(dealt)
    assert sorted(costs) == sorted(chain.from_iterable(dealt))


@given(COSTS, st.integers(1, 16))
def test_largest_shard_is_close_to_the_mean_where_tasks_allow_it(costs, count):
    mean, largest_task = sum(costs.values()) / count, max(costs.values(), default=0.0)
    largest = max(sum(map(costs.__getitem__, tasks)) for tasks in shards.deal(costs, count))
    assert largest <= (mean + largest_task) * (1 + 1e-9)
    if largest_task <= 0.3 * mean:
        assert largest <= 1.3 * mean * (1 + 1e-9)


@given(COSTS, st.integers(1, 16), st.randoms())
def test_order_of_tasks_changes_nothing(costs, count, dice: random.Random):
    shuffled = list(costs.items())
    dice.shuffle(shuffled)
    assert shards.deal(costs, count) == shards.deal(dict(shuffled), count)


@pytest.mark.parametrize("count", range(1, 17))
def test_suites_of_this_repository_are_dealt_evenly(count):
    suite = [case for case, _ in collect(str(REPOSITORY / "suites")).cases if case.device == "cpu"]
    costs = shards.task_costs(suite, shards.recorded_seconds(REPOSITORY / "results"), with_hub=True)
    dealt = shards.deal(costs, count)
    assert sorted({case.task.name for case in suite}) == sorted(chain.from_iterable(dealt))
    largest = max(sum(map(costs.__getitem__, tasks)) for tasks in dealt)
    assert largest <= max(1.3 * sum(costs.values()) / count, max(costs.values()) * 1.0001)


def toy_cases(name="toy-task", data: Folder | Hub = Folder("rows.csv")):  # noqa: B008
    task = Task(name=name, kind="text-classification", dataset=data, inputs=("text",), label="l", metric="accuracy")
    return [c for c in cases(task, [Model(name="toy-model", source=Local("m"))], [PYTORCH]) if c.device == "cpu"]


def test_case_without_a_record_costs_as_much_as_the_others():
    suite = [*toy_cases("a"), *toy_cases("b"), *toy_cases("c")]
    seconds = {"a/toy-model.pytorch.cpu": 10.0, "b/toy-model.pytorch.cpu": 30.0, "gone/x.pytorch.cpu": 1e6}
    assert {"a": 10.0, "b": 30.0, "c": 20.0} == shards.task_costs(suite, seconds, with_hub=False)
    assert {"a": 1.0, "b": 1.0, "c": 1.0} == shards.task_costs(suite, {}, with_hub=False)


def test_case_that_is_skipped_for_the_hub_costs_nothing():
    suite = toy_cases(data=Hub("some/body", revision="0" * 40))
    assert {"toy-task": 0.0} == shards.task_costs(suite, {}, with_hub=False)
    assert {"toy-task": 1.0} == shards.task_costs(suite, {}, with_hub=True)


def test_duration_is_that_of_training_answers_and_rounds():
    series = (factory.series(None, noise=0), factory.series(None, batch=16, noise=0, loops=3))
    result = factory.result(series=series, artifact=factory.result().checkpoint)
    # 3 s of training, 1,000 rows of 1 ms, 4 launches of 60 rounds of 1 ms, and as many blocks of three calls
    assert 3.0 + 1.0 + 0.24 + 0.72 == pytest.approx(shards.case_seconds(result))
    assert 0.0 == shards.case_seconds(factory.failed())


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_durations_are_those_of_the_commit_and_no_others(tmp_path):
    results, name = tmp_path / "results", "toy-task/toy-model.pytorch.cpu"
    assert {} == shards.recorded_seconds(results)
    once, twice = (factory.result(series=(factory.series(None, noise=0, rounds=n * 60),)) for n in (1, 2))
    save(results, once)
    assert {} == shards.recorded_seconds(results)
    git(tmp_path, "init", "-q")
    assert {} == shards.recorded_seconds(results)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "results")
    committed = {name: pytest.approx(shards.case_seconds(once))}
    assert committed == shards.recorded_seconds(results)
    save(results, twice)
    (results / "toy-machine/toy-task/new.json").write_text("{")
    assert committed == shards.recorded_seconds(results)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "newer results, and one that is unreadable")
    assert {name: pytest.approx(shards.case_seconds(twice))} == shards.recorded_seconds(results)


@pytest.fixture
def suite(toy: Toy) -> Toy:
    toy.copy("bag.py")
    (toy.folder / "test_toy.py").write_text(SUITE)
    return toy


def shard(suite: Toy, text: str, *options: str):
    """Collect one shard; return its exit status, its tests and its lines."""
    run = suite.command("pytest", "--collect-only", "-p", "no:randomly", "--ship-shard", text, *options)
    return run, [line.strip() for line in run.out if line.strip().startswith("<Function")]


def test_all_shards_together_have_every_test_once(suite: Toy) -> None:
    runs = [shard(suite, f"{own}/3", "-m", "not cuda") for own in (1, 2, 3)]
    tests = [test for _, tests in runs for test in tests]
    assert 8 + 1 == len(tests) == len(set(tests))
    assert [[0, True], [0, False], [0, False]] == [[run.status, "test_plain" in str(own)] for run, own in runs]
    assert "5/17 tests collected (12 deselected)" in runs[0][0].text


def test_shard_without_a_task_passes_and_says_so(suite: Toy) -> None:
    run = suite.command("pytest", "-p", "no:randomly", "--ship-shard", "6/6")
    assert 0 == run.status
    assert "shard 6/6: no task; 5 tasks are dealt out by their number of cases" in run.out


def test_results_name_the_tasks_of_all_shards_that_run_here(tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "skip_reason", lambda case, _: "no GPU" if case.task.name == "b" else None)
    namespace = Namespace(ship_shard="2/2", ship_hub=False, ship_results=tmp_path)
    ship = sessions.ShipSession(namespace, tmp_path, Progress(log=sys.stderr))
    ship.take_shard([*toy_cases("a"), *toy_cases("b"), *toy_cases("c")])
    assert ("b",) == ship.shard.tasks
    Machine("local", ship, {}).keep(factory.result(), None, "")
    assert (("a", "c"), ()) == load(result_path(tmp_path, factory.result())).shards


def test_wrong_shard_is_bad_input(suite: Toy) -> None:
    run, tests = shard(suite, "3/2")
    assert (4, []) == (run.status, tests)
    assert "ERROR: --ship-shard 3/2: must be one of 1/N" in run.text
