"""Laws of the self-test's frame: what fails it, what it refuses, what it writes. The parts here are toys."""

import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.errors import HarnessError
from harness.selftest.command import listing, selftest
from harness.selftest.part import Figure, Part


def holds(given):
    yield Figure(label="refused", k=3, n=3, at_least=3)
    yield Figure(label="accepted when switched off", k=2, n=3, at_least=1, control=True)


def fails(given):
    yield Figure(label="refused", k=2, n=3, at_least=3)
    yield Figure(label="accepted when switched off", k=3, n=3, at_least=3, control=True)


def toothless(given):
    yield Figure(label="refused", k=3, n=3, at_least=3)
    yield Figure(label="accepted when switched off", k=0, n=3, at_least=1, control=True)


def without_control(given):
    yield Figure(label="refused", k=3, n=3, at_least=3)


def without_figure(given):
    yield Figure(label="accepted when switched off", k=3, n=3, at_least=1, control=True)


def breaks(given):
    yield from holds(given)
    raise ValueError("no such toy")


def looks_around(given):
    (given.scratch / "file").write_text("mine")
    yield Figure(label=f"artifacts {given.artifacts.name}", k=1, n=1, at_most=1)
    yield from holds(given)


def part(run):
    return Part(name=run.__name__.replace("_", "-"), claim=f"claim of {run.__name__}", run=run)


def outcome(*runs, names=(), out=None):
    said = []
    status = selftest([part(run) for run in runs], names, Path("kept"), said.append, out)
    return status, "\n".join(said)


def test_all_is_well_when_every_figure_holds():
    status, said = outcome(holds)
    assert 0 == status
    assert "3 of 3 [29.2, 100.0] % pass" in said
    assert "2 of 2 hold" in said


@pytest.mark.parametrize("run", [fails, toothless, without_control, without_figure, breaks])
def test_one_is_said_when_a_figure_fails_a_control_shows_nothing_or_either_is_missing(run):
    status, said = outcome(holds, run)
    assert 1 == status
    assert "FAIL" in said


def test_an_error_in_one_part_is_told_and_the_next_one_runs():
    status, said = outcome(breaks, looks_around)
    assert 1 == status
    assert "ValueError: no such toy" in said
    assert "artifacts kept" in said


def test_named_parts_run_alone():
    status, said = outcome(holds, fails, names=["holds"])
    assert 0 == status
    assert "fails" not in said


def test_an_unknown_name_is_refused_with_what_there_is():
    with pytest.raises(HarnessError, match=r"no part hods; there are:\nholds  claim of holds\nfails  claim of fails"):
        outcome(holds, fails, names=["hods"])


def test_the_table_is_written_where_it_is_asked_for(tmp_path):
    _, said = outcome(holds, out=tmp_path / "table.md")
    text = (tmp_path / "table.md").read_text()
    assert text.strip() in said
    assert "| holds " in text
    assert "| control | 2 of 3 " in text
    assert f"python -m harness selftest --ship-artifacts kept --out {tmp_path / 'table.md'}" in text
    assert "usable cores" in text


def test_every_figure_is_said_before_the_next_one_is_made():
    said = []

    def watched(given):
        yield Figure(label="one", k=1, n=1, at_least=1)
        assert any("one" in line for line in said)
        yield Figure(label="two", k=1, n=1, at_least=1, control=True)

    assert 0 == selftest([part(watched)], [], Path("kept"), said.append)


@pytest.mark.parametrize(("k", "limits", "passed"), [(3, {"at_least": 3}, True), (2, {"at_least": 3}, False),
                                                     (1, {"at_most": 1}, True), (2, {"at_most": 1}, False),
                                                     (0, {"at_most": 0}, True)], ids=str)  # fmt: skip
def test_a_limit_is_a_least_or_a_most(k, limits, passed):
    assert passed == Figure(label="x", k=k, n=3, **limits).passed


@pytest.mark.parametrize("limits", [{}, {"at_least": 1, "at_most": 2}], ids=str)
def test_a_figure_has_one_limit(limits):
    with pytest.raises(HarnessError, match="at_least or at_most, one of them"):
        Figure(label="x", k=1, n=3, **limits)


@pytest.mark.parametrize(("k", "n"), [(4, 3), (-1, 3), (0, 0)])
def test_a_count_lies_within_what_was_counted(k, n):
    with pytest.raises(HarnessError, match="is no count"):
        Figure(label="x", k=k, n=n, at_least=0)


def test_the_list_has_a_line_for_every_part():
    assert "holds  claim of holds\nfails  claim of fails" == listing([part(holds), part(fails)])


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "harness", "selftest", *arguments],
        capture_output=True,
        text=True,
        cwd=Path(harness.__file__).parents[1],
        check=False,
    )


def test_the_command_lists_its_parts_and_runs_none():
    done = command("--list")
    assert 0 == done.returncode
    assert "device-truth" in done.stdout


def test_the_command_ends_with_four_for_a_name_that_it_does_not_know():
    done = command("device-lies")
    assert 4 == done.returncode
    assert "error: no part device-lies; there are:\ndevice-truth" in done.stderr
