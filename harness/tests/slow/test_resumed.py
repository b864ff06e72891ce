"""Whole sessions that repeat measurements whose results are no longer valid."""

import json
import re

from test_resume import NAMES, again, measured  # noqa: F401  # a fixture

from conftest import Toy

pytest_plugins = "pytester"


def edit(toy: Toy, name: str, change: dict[str, object]) -> None:
    """Change fields of a stored result."""
    path = toy.folder / "results" / "local" / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_failed_and_outdated_results_are_measured_again(measured: Toy) -> None:  # noqa: F811
    edit(measured, NAMES[0], {"status": "failed", "error": {"stage": "build", "message": "no", "status": "failed"}})
    edit(measured, NAMES[3], {"schema": 1})
    run, changed = again(measured)
    assert (0, NAMES) == (run.status, changed)
    assert f"toy/bag on cpu: measured again: {NAMES[0]} failed" in run.out
    assert re.search(r"^toy/other on cpu: measured again: .*schema 1, this version reads \d", run.text, re.MULTILINE)


def test_changed_suite_is_measured_again_as_a_whole(measured: Toy) -> None:  # noqa: F811
    with (measured.folder / "own.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    run, changed = again(measured)
    assert (0, NAMES) == (run.status, changed)
    assert 2 == run.text.count("the code, declarations or options of ")
