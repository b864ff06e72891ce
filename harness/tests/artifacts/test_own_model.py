"""A user's CSV and checkpoint in a folder outside the repository: the README's suite, word for word."""

import re
from dataclasses import replace

import pytest
from ticket_suite import save_suite, suite

from conftest import Once, Run, Toy

pytest_plugins = "pytester"
CASE = "tickets/mine.pytorch.cpu"


@pytest.fixture
def measured(once: Once) -> tuple[Toy, Run]:
    def make(toy: Toy) -> Run:
        # Not in alphabetical order, which is that of the task's labels.
        save_suite(toy.folder, ("repairs", "billing", "delivery"))
        only = ("--ship-backends=pytorch", "-m", "not cuda", "--ship-launches=1", "--ship-budget=5")
        return toy.run("test_tickets.py", "-p", "no:randomly", *only)

    return once("tickets", make)


def test_readme_suite_is_short() -> None:
    assert 21 >= len(suite().splitlines())


def test_local_model_is_judged_untrained_in_its_own_label_order(measured: tuple[Toy, Run]) -> None:
    toy, run = measured
    assert 0 == run.status, run.text
    result = toy.results[CASE]
    assert result.answers is not None
    assert 1.0 == result.answers.reference_score
    assert result.checkpoint is not None
    assert [2, 0, 1] == result.checkpoint.info["order"]


def test_results_hold_none_of_the_rows_text(measured: tuple[Toy, Run]) -> None:
    files = [path for path in (measured[0].folder / "results").rglob("*") if path.is_file()]
    assert files
    assert [] == [path for path in files if b"please help" in path.read_bytes()]


def test_result_records_the_hash_of_a_local_model(measured: tuple[Toy, Run]) -> None:
    recipe = measured[0].results[CASE].recipe
    assert re.fullmatch("[0-9a-f]{64}", recipe["source_content"])


def test_model_with_other_labels_is_refused_before_building(toy: Toy) -> None:
    toy = replace(toy, artifacts=toy.folder / "artifacts")
    save_suite(toy.folder, ("LABEL_0", "LABEL_1", "LABEL_2"))
    run = toy.run("test_tickets.py", "-p", "no:randomly", "-m", "not cuda")
    assert 4 == run.status
    assert "model mine: its head answers LABEL_0, LABEL_1, LABEL_2, but not billing, delivery, repairs" in run.text
    assert not list(toy.artifacts.glob("tickets*"))
