"""Running toy parts of the self-test: verdicts, refusals, and the table."""

import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.errors import HarnessError
from harness.selftest.command import PARTS, listing, selftest
from harness.selftest.part import Figure, Part


def holds(workspace):
    yield Figure(label="refused", k=3, n=3, at_least=3)
    yield Figure(label="accepted when switched off", k=2, n=3, at_least=1, control=True)


def fails(workspace):
    yield Figure(label="refused", k=2, n=3, at_least=3)
    yield Figure(label="accepted when switched off", k=3, n=3, at_least=3, control=True)


def toothless(workspace):
    yield Figure(label="refused", k=3, n=3, at_least=3)
    yield Figure(label="accepted when switched off", k=0, n=3, at_least=1, control=True)


def without_control(workspace):
    yield Figure(label="refused", k=3, n=3, at_least=3)


def without_figure(workspace):
    yield Figure(label="accepted when switched off", k=3, n=3, at_least=1, control=True)


def breaks(workspace):
    yield from holds(workspace)
    raise ValueError("no such toy")


def uses_folders(workspace):
    (workspace.scratch / "file").write_text("mine")
    yield Figure(label=f"artifacts {workspace.artifacts.name}", k=1, n=1, at_most=1)
    yield from holds(workspace)


def part(run):
    return Part(name=run.__name__.replace("_", "-"), claim=f"claim of {run.__name__}", run=run)


def outcome(*runs, names=(), out=None):
    lines = []
    status = selftest([part(run) for run in runs], names, Path("kept"), lines.append, out)
    return status, "\n".join(lines)


def test_status_is_0_if_every_figure_holds():
    status, text = outcome(holds)
    assert 0 == status
    assert "3 of 3 [29.2, 100.0] % pass" in text
    assert "2 of 2 hold" in text


@pytest.mark.parametrize("run", [fails, toothless, without_control, without_figure, breaks])
def test_status_is_1_for_failed_or_missing_figures(run):
    status, text = outcome(holds, run)
    assert 1 == status
    assert "FAIL" in text


def test_an_error_does_not_stop_later_parts():
    status, text = outcome(breaks, uses_folders)
    assert 1 == status
    assert "ValueError: no such toy" in text
    assert "artifacts kept" in text


def test_named_parts_run_alone():
    status, text = outcome(holds, fails, names=["holds"])
    assert 0 == status
    assert "fails" not in text


def test_unknown_part_lists_the_parts():
    message = r"unknown part hods; expected one of\nholds  claim of holds\nfails  claim of fails"
    with pytest.raises(HarnessError, match=message):
        outcome(holds, fails, names=["hods"])


def test_out_writes_the_table(tmp_path):
    _, printed = outcome(holds, out=tmp_path / "table.md")
    text = (tmp_path / "table.md").read_text()
    assert text.strip() in printed
    assert "| holds " in text
    assert "| control | 2 of 3 " in text
    assert f"python -m harness selftest --ship-artifacts kept --out {tmp_path / 'table.md'}" in text
    assert "usable cores" in text


def test_figures_are_printed_as_they_come():
    lines = []

    def watched(workspace):
        yield Figure(label="one", k=1, n=1, at_least=1)
        assert any("one" in line for line in lines)
        yield Figure(label="two", k=1, n=1, at_least=1, control=True)

    assert 0 == selftest([part(watched)], [], Path("kept"), lines.append)


@pytest.mark.parametrize(("k", "limits", "passed"), [(3, {"at_least": 3}, True), (2, {"at_least": 3}, False),
                                                     (1, {"at_most": 1}, True), (2, {"at_most": 1}, False),
                                                     (0, {"at_most": 0}, True)], ids=str)  # fmt: skip
def test_limits_are_inclusive(k, limits, passed):
    assert passed == Figure(label="x", k=k, n=3, **limits).passed


@pytest.mark.parametrize("limits", [{}, {"at_least": 1, "at_most": 2}], ids=str)
def test_a_figure_has_exactly_one_limit(limits):
    with pytest.raises(HarnessError, match="give either at_least or at_most"):
        Figure(label="x", k=1, n=3, **limits)


@pytest.mark.parametrize(("k", "n"), [(4, 3), (-1, 3), (0, 0)])
def test_a_count_lies_between_0_and_n(k, n):
    with pytest.raises(HarnessError, match="is not a valid count"):
        Figure(label="x", k=k, n=n, at_least=0)


def test_listing_has_a_line_a_part():
    assert "holds  claim of holds\nfails  claim of fails" == listing([part(holds), part(fails)])


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "harness", "selftest", *arguments],
        capture_output=True,
        text=True,
        cwd=Path(harness.__file__).parents[1],
        check=False,
    )


def test_exactly_these_parts_exist():
    names = ["device-truth", "cheats", "collection", "broken-exports", "non-inferiority", "false-alarms", "power",
             "real-workers", "regressions", "worker-deaths", "session-deaths", "overhead", "carry-over"]  # fmt: skip
    assert names == [one.name for one in PARTS]


def test_list_option_runs_no_part():
    done = command("--list")
    assert 0 == done.returncode
    assert "device-truth" in done.stdout


def test_unknown_part_exits_with_4():
    done = command("device-lies")
    assert 4 == done.returncode
    assert "error: unknown part device-lies; expected one of\ndevice-truth" in done.stderr
