"""Changes as a table, as Markdown and as a page: regressions first, repeated reasons once, hostile text inert."""

from pathlib import Path

import pytest
from html_reader import Reader
from runs import run

from harness.commands.cli import main
from harness.regression.changes import find_changes, left_out
from harness.report.regressions import github_summary, page, status, terminal_text
from harness.results.schema import Failure
from harness.results.store import save
from harness.verdicts.comparability import by_case


@pytest.fixture(scope="module")
def outcome():
    """One regressed case, one unchanged, one new."""
    stored = by_case([*(run(n, (2.0,)) for n in range(6)), *(run(n, (2.0,), model="other") for n in range(6))])
    today = by_case([run(9, (1.5,)), run(9, (2.0,), model="other"), run(9, model="new")])
    return find_changes(stored, today), list(left_out(stored, today))


def test_page_lists_every_change_regressions_first(outcome):
    changes, left = outcome
    read = Reader(page(changes, left, Path("before"), Path("after")))
    assert [] == read.open
    assert len(changes) == len([row for row in read.all("tr") if "data-word" in row])
    assert "toy/bag.numpy.cpu regressed at batch 1" in read.text[:600]
    assert "it has no stored run" in read.text


def test_summary_leaves_out_the_unchanged(outcome):
    text = github_summary(*outcome)
    assert text.startswith("### 1 regressed, ")
    assert "toy/bag.numpy.cpu regressed at batch 1: speed-up 1.50x" in text
    assert "unchanged" not in text.split("\n", 1)[1]


def test_status_of_nothing():
    assert "nothing was compared" == status([])


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "a\n::error::x", "| `x` |"])
def test_hostile_reasons_stay_inert(hostile):
    broken = run(9, status="failed", error=Failure(stage="build", message=hostile), series=())
    changes = find_changes(by_case([run(number) for number in range(6)]), by_case([broken]))
    text = github_summary(changes, [hostile])
    assert not [line for line in text.splitlines() if line.strip().startswith("::")]
    assert "<script" not in text.replace(r"\<", "")
    assert 1 == len(Reader(page(changes, [hostile], Path("before"), Path("after"))).all("script"))


def test_a_shared_reason_is_given_once():
    stored = by_case([run(0, (2.0,)), run(0, (2.0,), model="other")])
    changes = find_changes(stored, by_case([run(9, (2.0,)), run(9, (2.0,), model="other")]))
    for text in (terminal_text(changes, []), github_summary(changes, [])):
        assert 1 == text.count("5 are needed")
        assert "undecided, 2 rows: 1 stored run; 5 are needed" in text


def test_command_writes_page_and_summary(tmp_path, capsys):
    for number in range(6):
        save(tmp_path / "stored" / str(number), run(number, (2.0,)))
    save(tmp_path / "today", run(9, (1.5,)))
    file = tmp_path / "changes.html"
    command = ["compare", str(tmp_path / "stored"), str(tmp_path / "today"), "--short", "--html", str(file)]
    assert 1 == main(command)
    assert capsys.readouterr().out.startswith("### 1 regressed")
    assert "regressed at batch 1" in Reader(file.read_text()).text


@pytest.mark.parametrize("place", ["a folder", "below a file"])
def test_unwritable_page_is_an_error(tmp_path, capsys, place):
    save(tmp_path / "stored", run(1))
    save(tmp_path / "today", run(9))
    (tmp_path / "file").write_text("")
    file = {"a folder": tmp_path, "below a file": tmp_path / "file" / "page.html"}[place]
    assert 4 == main(["compare", str(tmp_path / "stored"), str(tmp_path / "today"), "--html", str(file)])
    assert capsys.readouterr().err.startswith("error: ")
