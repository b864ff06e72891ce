"""Toy parts of the self-test: verdicts, refusals, and the table."""

from pathlib import Path

import pytest

from harness.commands.cli import main
from harness.errors import HarnessError
from harness.selftest.command import PARTS, listing, selftest
from harness.selftest.figures import Figure, Part, count

REFUSED = Figure(label="refused", k=3, n=3, at_least=3)
MISSED = Figure(label="refused", k=2, n=3, at_least=3)
CONTROL = Figure(label="accepted when switched off", k=2, n=3, at_least=1, control=True)
TOOTHLESS = Figure(label="accepted when switched off", k=0, n=3, at_least=1, control=True)


def part(*figures, name="toy"):
    return Part(name=name, claim=f"claim of {name}", run=lambda workspace: iter(figures))


def breaking(workspace):
    yield REFUSED
    yield CONTROL
    raise ValueError("no such toy")


HOLDS, FAILS = part(REFUSED, CONTROL, name="holds"), part(MISSED, CONTROL, name="fails")
BREAKS = Part(name="breaks", claim="", run=breaking)


def outcome(*parts, names=(), out=None):
    lines = []
    status = selftest(parts, names, Path("kept"), lines.append, out)
    return status, "\n".join(lines)


def test_status_is_0_if_every_figure_holds():
    status, text = outcome(HOLDS)
    assert 0 == status
    assert "| holds | refused | figure | 3 of 3 | [29.2, 100.0] % | at least 3 | pass |" in text
    assert "2 of 2 hold" in text


@pytest.mark.parametrize("broken", [FAILS, part(REFUSED, TOOTHLESS), part(REFUSED), part(CONTROL), BREAKS])
def test_status_is_1_for_failed_or_missing_figures(broken):
    status, text = outcome(HOLDS, broken)
    assert 1 == status
    assert "FAIL" in text


def test_an_error_does_not_stop_later_parts():
    status, text = outcome(BREAKS, HOLDS)
    assert 1 == status
    assert "ValueError: no such toy" in text
    assert "| holds " in text


def test_named_parts_run_alone():
    status, text = outcome(HOLDS, FAILS, names=["holds"])
    assert 0 == status
    assert "fails" not in text


def test_unknown_part_lists_the_parts():
    message = r"unknown part hods; expected one of\nholds  claim of holds\nfails  claim of fails"
    with pytest.raises(HarnessError, match=message):
        outcome(HOLDS, FAILS, names=["hods"])


def test_out_writes_the_printed_table(tmp_path):
    _, printed = outcome(HOLDS, out=tmp_path / "table.md")
    text = (tmp_path / "table.md").read_text()
    assert text.strip() == printed.strip()
    assert f"python -m harness selftest --ship-artifacts kept --out {tmp_path / 'table.md'}" in text


def test_figures_are_printed_immediately():
    lines = []

    def watched(workspace):
        yield REFUSED
        assert any("refused" in line for line in lines)
        (workspace.scratch / "file").write_text("scratch is writable")
        yield CONTROL

    assert 0 == selftest([Part(name="watched", claim="", run=watched)], [], Path("kept"), lines.append)


@pytest.mark.parametrize(
    ("k", "limits", "passed"),
    [(3, {"at_least": 3}, True), (2, {"at_least": 3}, False), (1, {"at_most": 1}, True), (2, {"at_most": 1}, False)],
    ids=str,
)
def test_limits_are_inclusive(k, limits, passed):
    assert passed == Figure(label="x", k=k, n=3, **limits).passed


def test_counts_without_a_limit_need_every_outcome():
    assert count("x", iter([True, True])).passed
    assert not count("x", iter([True, False])).passed
    assert count("x", iter([True, False]), at_most=1).passed


@pytest.mark.parametrize("limits", [{}, {"at_least": 1, "at_most": 2}], ids=str)
def test_a_figure_has_exactly_one_limit(limits):
    with pytest.raises(HarnessError, match="give either at_least or at_most"):
        Figure(label="x", k=1, n=3, **limits)


@pytest.mark.parametrize(("k", "n"), [(4, 3), (-1, 3), (0, 0)])
def test_a_count_lies_between_0_and_n(k, n):
    with pytest.raises(HarnessError, match="is not a valid count"):
        Figure(label="x", k=k, n=n, at_least=0)


def test_exactly_these_parts_exist():
    names = ["device-truth", "cheats", "collection", "broken-exports", "non-inferiority", "false-alarms", "power",
             "real-workers", "regressions", "worker-deaths", "session-deaths", "overhead", "carry-over"]  # fmt: skip
    assert names == [part.name for part in PARTS]


def test_list_option_runs_no_part(capsys):
    assert 0 == main(["selftest", "--list"])
    assert listing(PARTS) == capsys.readouterr().out.strip()


def test_unknown_part_exits_with_4(capsys):
    assert 4 == main(["selftest", "device-lies"])
    assert "error: unknown part device-lies; expected one of\ndevice-truth" in capsys.readouterr().err
