"""What became of cases, as a page and in a few lines: all of it, the worst first, and nothing that does anything."""

from pathlib import Path

import pytest
from runs import run
from test_page import Reader

from harness.commands.cli import main
from harness.regression.changes import left_out, regressions
from harness.report import regressions as regressions_module
from harness.report.regressions import short, status, table
from harness.results.schema import Failure
from harness.results.store import save
from harness.verdicts.comparability import by_case


def found():
    stored = by_case([*(run(n, (2.0,)) for n in range(6)), *(run(n, (2.0,), model="other") for n in range(6))])
    today = by_case([run(9, (1.5,)), run(9, (2.0,), model="other"), run(9, model="new")])
    return regressions(stored, today), list(left_out(stored, today))


def test_the_page_holds_every_line_and_says_the_worst_first():
    lines, left = found()
    read = Reader(regressions_module.page(lines, left, Path("before"), Path("after")))
    assert [] == read.open
    assert len(lines) == len([row for row in read.all("tr") if "data-word" in row])
    assert "toy/bag.numpy.cpu regressed at batch 1" in read.text[:600]
    assert "there is no stored run of it" in read.text


def test_in_a_few_lines_what_did_not_change_is_left_out():
    lines, left = found()
    text = short(lines, left)
    assert text.startswith("### 1 regressed, ")
    assert "toy/bag.numpy.cpu regressed at batch 1: speed-up 1.50x" in text
    assert "unchanged" not in text.split("\n", 1)[1]


def test_nothing_held_against_anything_says_so():
    assert "nothing was held against anything" == status([])


@pytest.mark.parametrize("nasty", ["<script>alert(1)</script>", "a\n::error::x", "| `x` |"])
def test_reasons_of_others_do_nothing(nasty):
    stored = by_case([run(number) for number in range(6)])
    broken = run(9, status="failed", error=Failure(stage="build", message=nasty), series=())
    lines = regressions(stored, by_case([broken]))
    text = short(lines, [nasty])
    assert not [line for line in text.splitlines() if line.strip().startswith("::")]
    assert "<script" not in text.replace(r"\<", "")
    read = Reader(regressions_module.page(lines, [nasty], Path("before"), Path("after")))
    assert 1 == len(read.all("script"))


def test_the_command_writes_the_page_and_prints_the_lines(tmp_path, capsys):
    for number in range(6):
        save(tmp_path / "stored" / str(number), run(number, (2.0,)))
    save(tmp_path / "today", run(9, (1.5,)))
    page = tmp_path / "changes.html"
    command = ["compare", str(tmp_path / "stored"), str(tmp_path / "today"), "--short", "--html", str(page)]
    assert 1 == main(command)
    assert capsys.readouterr().out.startswith("### 1 regressed")
    assert "regressed at batch 1" in Reader(page.read_text()).text


def test_what_is_said_of_many_lines_alike_is_said_once():
    stored = by_case([run(0, (2.0,)), run(0, (2.0,), model="other")])
    today = by_case([run(9, (2.0,)), run(9, (2.0,), model="other")])
    lines = regressions(stored, today)
    for text in (table(lines), short(lines, [])):
        assert 1 == text.count("it takes 5")
        assert "undecided, 2 lines: 1 stored run, it takes 5" in text


NOWHERE = ("a folder", "below a file")


@pytest.mark.parametrize("where", NOWHERE)
def test_a_page_that_cannot_be_written_is_a_sentence(tmp_path, capsys, where):
    save(tmp_path / "stored", run(1))
    save(tmp_path / "today", run(9))
    (tmp_path / "file").write_text("")
    page = {"a folder": tmp_path, "below a file": tmp_path / "file" / "page.html"}[where]
    assert 4 == main(["compare", str(tmp_path / "stored"), str(tmp_path / "today"), "--html", str(page)])
    assert capsys.readouterr().err.startswith("error: ")


def test_names_of_files_do_nothing_to_the_terminal(tmp_path, capsys):
    nasty = tmp_path / "toy" / "\x1b[2J\n::error::x.json"
    nasty.parent.mkdir()
    nasty.write_text("{")
    assert 4 == main(["report", "--ship-results", str(tmp_path)])
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert not [line for line in said.splitlines() if line.strip().startswith("::")]


def test_tables_of_nothing_are_not_written_in_silence(tmp_path, capsys):
    assert 4 == main(["report", "--ship-results", str(tmp_path)])
    assert "holds no results; run pytest suites first" in capsys.readouterr().err
