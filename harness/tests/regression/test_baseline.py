# the expectation stands on the left
"""Stored runs on disk: what a person gets who names a folder of them, to pytest or to `compare`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from runs import HERE, run, store

from conftest import Once, Run, Toy
from harness.commands.cli import main
from harness.errors import HarnessError
from harness.regression.baseline import Baseline
from harness.results.schema import Result
from harness.results.store import save

pytest_plugins = "pytester"
CASE = "toy/bag.numpy.cpu"


@pytest.fixture
def stored(tmp_path):
    return store(tmp_path / "stored", [run(n) for n in range(6)])


@pytest.fixture
def today(tmp_path):
    return tmp_path / "today"


# ------------------------------------------------------------------------------------------------------------- compare


def test_compare_ends_with_zero_when_nothing_changed(stored, today, capsys):
    assert 0 == main(["compare", str(stored), str(store(today, [run(9)]))])
    out = capsys.readouterr().out
    assert ["unchanged", "unchanged"] == [line.split()[-1] for line in out.splitlines() if line.startswith(CASE)]


def test_compare_ends_with_one_when_something_regressed_and_says_what(stored, today, capsys):
    assert 1 == main(["compare", str(stored), str(store(today, [run(9, (1.5,))])), "--require", "decided"])
    assert f"{CASE} regressed at batch 1: speed-up 1.50x [" in capsys.readouterr().out


def test_compare_ends_with_seven_only_if_decisions_are_required(tmp_path, today):
    few = store(tmp_path / "few", [run(n) for n in range(3)])
    words = ["compare", str(few), str(store(today, [run(9, (1.0,))]))]
    assert (0, 7, 7) == (
        main(words),
        main([*words, "--require", "decided"]),
        main([*words, "--ship-require", "decided"]),
    )


def test_compare_of_a_folder_with_itself_finds_no_other_runs(stored, capsys):
    assert 0 == main(["compare", str(stored), str(stored)])
    assert "its stored run is the same measurement" in capsys.readouterr().out


def test_compare_lists_what_is_not_comparable_beside_what_is(stored, today, capsys):
    elsewhere = run(9, model="other", here=replace(HERE, threads=1))
    store(stored, [*(run(n) for n in range(6)), run(7, model="other")])
    assert 0 == main(["compare", str(stored), str(store(today, [run(9), elsewhere]))])
    out = capsys.readouterr().out
    assert ": 1 stored: threads 2 stored, 1 today" in out
    assert "unchanged" in out


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ([run(9, here=replace(HERE, machine="another"))], "machine toy-machine stored, another today"),
        ([run(9, task="other")], "have no case in common"),
        ([run(8), run(9, here=replace(HERE, machine="another"))], "holds results of another, toy-machine"),
        ([], "no such folder"),
    ],
)
def test_compare_refuses_what_has_nothing_to_compare(stored, today, capsys, made, told):
    assert 4 == main(["compare", str(stored), str(store(today, made))])
    assert told in capsys.readouterr().err


def test_what_two_machines_say_stands_side_by_side_though_it_is_not_comparable(stored, today, capsys):
    other = run(9, (1.5,), here=replace(HERE, machine="another"))
    assert 4 == main(["compare", str(stored), str(store(today, [other]))])
    out = capsys.readouterr().out
    assert "2.00x [" in out
    assert "1.50x [" in out
    assert ": 6 stored: machine toy-machine stored, another today" in out


# ----------------------------------------------------------------------------------------------------------- bad input


def test_a_folder_of_another_schema_is_refused_and_named(stored):
    path = stored / "day-0" / "toy-machine" / "toy" / "bag.numpy.cpu.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 1}))
    with pytest.raises(HarnessError, match=r"bag\.numpy\.cpu\.json: schema 1, this version reads 2"):
        Baseline.load(stored)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b"[" * 5000])
def test_a_file_that_is_no_result_is_refused_and_named(stored, content):
    (stored / "timings.json").write_bytes(content)
    with pytest.raises(HarnessError, match=r"timings\.json: "):
        Baseline.load(stored)


def test_an_empty_folder_and_a_missing_one_are_refused(tmp_path):
    with pytest.raises(HarnessError, match="holds no results; copy"):
        Baseline.load(tmp_path)
    with pytest.raises(HarnessError, match="no such folder"):
        Baseline.load(tmp_path / "gone")


def test_stored_runs_of_another_environment_are_refused_before_anything_is_measured(stored):
    found = Baseline.load(stored)
    found.check([CASE, "toy/bag.new.cpu"], HERE)
    with pytest.raises(HarnessError, match=r"threads 2 stored, 4 today; wait_policy passive stored, active today; "):
        found.check([CASE], replace(HERE, threads=4, wait_policy="active"))
    with pytest.raises(HarnessError, match=r"has no run of any selected case; it holds toy/bag\.numpy\.cpu"):
        found.check(["toy/bag.new.cpu"], HERE)


def test_one_run_in_a_plain_results_folder_will_do(tmp_path):
    save(tmp_path, run(0))
    (tmp_path / "comparison.csv").write_text("")
    assert [CASE] == list(Baseline.load(tmp_path).runs)


def test_cases_that_were_never_stored_are_named(stored):
    new = run(9, backend="new")
    found = Baseline.load(stored)
    assert [f"warning: {stored} has no run of toy/bag.new.cpu"] == list(found.notes({new.name: new, CASE: run(9)}))
    assert [] == found.open({new.name: new})


def test_how_a_failed_case_ended_is_told_once(stored):
    found = Baseline.load(stored)
    assert [] == found.proven(run(9))
    assert 1 == len(found.proven(run(9, (1.5,))))
    assert 2 == len(found.proven(run(9, (1.5,), wrong=40)))


# ------------------------------------------------------------------------------------------------------ through pytest

QUICK = (
    "test_toy.py",
    "--ship-backends=numpy",
    "--ship-launches=4",
    "--ship-budget=30",
    "-p",
    "no:randomly",
    "-k",
    "cpu",
)


@pytest.fixture
def before(once: Once) -> tuple[Toy, Run]:
    """One run of one case, to be stored in as many copies as wanted."""

    def make(toy: Toy) -> Run:
        toy.copy("passing.py", "own.py", "bag.py")
        return toy.run(*QUICK)

    return once("before", make)


def copies(folder: Path, result: Result, factor: float, count: int = 5) -> Path:
    """Stored runs in which the case was `factor` times faster than in `result`, on a quiet machine."""
    for number in range(count):
        series = tuple(
            replace(
                one,
                own_ns=tuple(tuple(max(1, int(ns / factor)) for ns in start) for start in one.own_ns),
                control_ns=one.reference_ns,
            )
            for one in result.series
        )
        save(folder / str(number), replace(result, measurement=f"old-{number}", series=series))
    return folder


def rerun(before: tuple[Toy, Run], toy: Toy, *options: str) -> Run:
    """The same case once more, until the machine is quiet enough for its control to agree with the reference."""
    toy.copy("passing.py", "own.py", "bag.py")
    here = Toy(toy.folder, before[0].artifacts, toy.pytester)
    for _ in range(4):
        run = here.run(*QUICK, *options)
        if "differs from itself" not in run.text:
            return run
    pytest.skip("this machine is too loud: four times the reference differed from itself")


def test_a_proven_regression_fails_its_test_with_its_figures(before: tuple[Toy, Run], toy: Toy, tmp_path: Path) -> None:
    first, run = before
    assert 0 == run.status, run.text
    stored = copies(tmp_path / "stored", first.results[CASE], factor=100)
    found = rerun(before, toy, f"--ship-baseline={stored}")
    assert 1 == found.status
    assert "regressed at batch 1: speed-up " in found.text
    assert " where 5 stored runs had " in found.text


def test_too_few_stored_runs_warn_and_leave_the_case_open(before: tuple[Toy, Run], toy: Toy, tmp_path: Path) -> None:
    stored = copies(tmp_path / "stored", before[0].results[CASE], factor=5, count=3)
    found = rerun(before, toy, f"--ship-baseline={stored}", "--ship-require=decided")
    assert 7 == found.status
    assert f"warning: {CASE} undecided at batch 1: " in found.text
    assert "3 stored runs, it takes 5" in found.text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--ship-machine=other", "--ship-threads=1"), "machine local stored, other today"),
        (("--ship-spin",), "wait_policy passive stored, active today"),
    ],
)
def test_pytest_ends_with_four_before_anything_is_trained(
    before: tuple[Toy, Run], toy: Toy, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    stored = copies(tmp_path / "stored", before[0].results[CASE], factor=1)
    toy.copy("passing.py", "own.py", "bag.py")
    if "--ship-machine=other" in options:
        from test_plugin import commit

        commit(toy.folder)
    fresh = Toy(toy.folder, tmp_path / "nothing", toy.pytester)
    found = fresh.run(*QUICK, f"--ship-baseline={stored}", *options)
    assert 4 == found.status
    assert told in found.text
    assert not (tmp_path / "nothing").exists()
    assert not (toy.folder / "results").exists()


def test_pytest_refuses_a_baseline_that_is_none(toy: Toy, tmp_path: Path) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    found = toy.run(*QUICK, f"--ship-baseline={tmp_path / 'gone'}")
    assert 4 == found.status
    assert "no such folder; name one that holds the results of earlier runs" in found.text
