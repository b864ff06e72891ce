# the expectation stands on the left
"""Baselines: the `compare` command, bad folders of stored runs, and pytest's --ship-baseline."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from runs import HERE, run, store

from conftest import Once, Run, Toy
from harness.commands.cli import main
from harness.errors import HarnessError
from harness.regression.baseline import Baseline
from harness.results.schema import SCHEMA, Result
from harness.results.store import save

pytest_plugins = "pytester"
CASE = "toy/bag.numpy.cpu"
MEASURED = "toy/slow.quick.cpu"


@pytest.fixture
def stored(tmp_path):
    return store(tmp_path / "stored", [run(n) for n in range(6)])


@pytest.fixture
def today(tmp_path):
    return tmp_path / "today"


def test_machine_is_compared_with_its_own_runs(tmp_path):
    other = replace(run(7), environment=replace(HERE, machine="other"))
    folder = store(tmp_path / "both", [*(run(n) for n in range(6)), other])
    runs = Baseline.load(folder).of("other").runs
    assert [["other"]] == [[one.environment.machine for one in several] for several in runs.values()]
    assert {} == Baseline.load(folder).of("third").runs


# --- compare


def test_compare_exits_zero_without_a_change(stored, today, capsys):
    assert 0 == main(["compare", str(stored), str(store(today, [run(9)]))])
    out = capsys.readouterr().out
    assert ["unchanged", "unchanged"] == [line.split()[-1] for line in out.splitlines() if line.startswith(CASE)]


def test_compare_exits_one_on_a_regression(stored, today, capsys):
    assert 1 == main(["compare", str(stored), str(store(today, [run(9, (1.5,))])), "--require", "decided"])
    assert f"{CASE} regressed at batch 1: speed-up 1.50x [" in capsys.readouterr().out


def test_compare_exits_seven_only_if_decisions_are_required(tmp_path, today):
    few = store(tmp_path / "few", [run(n) for n in range(3)])
    command = ["compare", str(few), str(store(today, [run(9, (1.0,))]))]
    assert [0, 7, 7] == [
        main([*command, *options]) for options in ([], ["--require", "decided"], ["--ship-require", "decided"])
    ]


def test_compare_of_a_folder_with_itself_has_no_other_runs(stored, capsys):
    assert 0 == main(["compare", str(stored), str(stored)])
    assert "its stored run is the same measurement" in capsys.readouterr().out


def test_compare_shows_comparable_and_incomparable_cases(stored, today, capsys):
    elsewhere = run(9, model="other", here=replace(HERE, threads=1))
    store(stored, [*(run(n) for n in range(6)), run(7, model="other")])
    assert 0 == main(["compare", str(stored), str(store(today, [run(9), elsewhere]))])
    out = capsys.readouterr().out
    assert ": 1 stored: threads 2 stored, 1 today" in out
    assert "unchanged" in out


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([run(9, here=replace(HERE, machine="another"))], "machine toy-machine stored, another today"),
        ([run(9, task="other")], "have no case in common"),
        ([run(8), run(9, here=replace(HERE, machine="another"))], "holds results of another, toy-machine"),
        ([], "no such folder"),
    ],
)
def test_compare_refuses_folders_with_nothing_to_compare(stored, today, capsys, runs, message):
    assert 4 == main(["compare", str(stored), str(store(today, runs))])
    assert message in capsys.readouterr().err


def test_two_machines_are_shown_side_by_side(stored, today, capsys):
    assert 4 == main(["compare", str(stored), str(store(today, [run(9, (1.5,), here=replace(HERE, machine="x"))]))])
    out = capsys.readouterr().out
    for text in ("2.00x [", "1.50x [", ": 6 stored: machine toy-machine stored, x today"):
        assert text in out


# --- bad input


def test_other_schema_is_refused_with_its_file(stored):
    path = stored / "day-0" / "toy-machine" / "toy" / "bag.numpy.cpu.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 1}))
    with pytest.raises(HarnessError, match=rf"cpu\.json: unreadable: schema 1, this version reads {SCHEMA}"):
        Baseline.load(stored)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b"[" * 5000])
def test_unreadable_file_is_refused_with_its_name(stored, content):
    (stored / "timings.json").write_bytes(content)
    with pytest.raises(HarnessError, match=r"timings\.json: "):
        Baseline.load(stored)


def test_empty_and_missing_folders_are_refused(tmp_path):
    with pytest.raises(HarnessError, match="holds no results; copy"):
        Baseline.load(tmp_path)
    with pytest.raises(HarnessError, match="no such folder"):
        Baseline.load(tmp_path / "gone")


def test_baseline_of_another_environment_is_refused(stored):
    baseline = Baseline.load(stored)
    baseline.check([CASE, "toy/bag.new.cpu"], HERE)
    with pytest.raises(HarnessError, match=r"threads 2 stored, 4 today; wait_policy passive stored, default today; "):
        baseline.check([CASE], replace(HERE, threads=4, wait_policy="default"))
    with pytest.raises(HarnessError, match=r"has no run of any selected case; it holds toy/bag\.numpy\.cpu"):
        baseline.check(["toy/bag.new.cpu"], HERE)


def test_plain_results_folder_is_a_baseline(tmp_path):
    save(tmp_path, run(0))
    (tmp_path / "comparison.csv").write_text("")
    assert [CASE] == list(Baseline.load(tmp_path).runs)


def test_cases_without_stored_runs_are_listed(stored):
    new, baseline = run(9, backend="new"), Baseline.load(stored)
    assert [f"warning: {stored} has no run of toy/bag.new.cpu"] == list(baseline.notes({new.name: new, CASE: run(9)}))
    assert {} == baseline.undecided({new.name: new})


def test_each_proven_regression_has_a_sentence(stored):
    results = (run(9), run(9, (1.5,)), run(9, (1.5,), wrong=40))
    assert [0, 1, 2] == [len(Baseline.load(stored).regressions(result)) for result in results]


# --- through pytest

QUICK = (
    *("test_toy.py", "--ship-backends=quick", "--ship-launches=4", "--ship-budget=30"),
    *("-p", "no:randomly", "-k", "cpu"),
)


@pytest.fixture
def before(once: Once) -> tuple[Toy, Run]:
    """One run of one case, to be stored in any number of copies."""

    def make(toy: Toy) -> Run:
        toy.copy("gated.py", "own.py", "bag.py")
        return toy.run(*QUICK)

    return once("before", make)


def copies(folder: Path, result: Result, factor: float, count: int = 5) -> Path:
    """Store runs in which the case was `factor` times as fast as in `result`, on a quiet machine."""
    for number in range(count):
        series = tuple(
            replace(
                one,
                own_ns=tuple(tuple(max(1, int(ns / factor)) for ns in launch) for launch in one.own_ns),
                control_ns=one.reference_ns,
            )
            for one in result.series
        )
        save(folder / str(number), replace(result, measurement=f"old-{number}", series=series))
    return folder


def rerun(before: tuple[Toy, Run], toy: Toy, *options: str) -> Run:
    """Run the case again, until the machine is quiet enough for the control to agree with the reference."""
    toy.copy("gated.py", "own.py", "bag.py")
    here = Toy(toy.folder, before[0].artifacts, toy.pytester)
    for _ in range(4):
        run = here.run(*QUICK, *options)
        if "differs from itself" not in run.text:
            return run
    pytest.skip("this machine is too loud: the reference differed from itself four times")


def test_proven_regression_fails_its_test(before: tuple[Toy, Run], toy: Toy, tmp_path: Path) -> None:
    first, run = before
    assert 0 == run.status, run.text
    stored = copies(tmp_path / "stored", first.results[MEASURED], factor=100)
    second = rerun(before, toy, f"--ship-baseline={stored}")
    assert 1 == second.status
    assert "regressed at batch 1: speed-up " in second.text
    assert " where 5 stored runs had " in second.text


def test_incomparable_baseline_is_refused_before_training(before: tuple[Toy, Run], toy: Toy, tmp_path: Path) -> None:
    stored = copies(tmp_path / "stored", before[0].results[MEASURED], factor=1)
    toy.copy("gated.py", "own.py", "bag.py")
    fresh = Toy(toy.folder, tmp_path / "nothing", toy.pytester)
    for baseline, message in (
        (stored, "wait_policy passive stored, default today"),
        (tmp_path / "gone", "no such folder; name one that holds the results of earlier runs"),
    ):
        second = fresh.run(*QUICK, f"--ship-baseline={baseline}", "--ship-wait=deployed")
        assert 4 == second.status
        assert message in second.text
    assert not (tmp_path / "nothing").exists()
    assert not (toy.folder / "results").exists()
