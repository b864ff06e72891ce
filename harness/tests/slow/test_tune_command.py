"""The command that tunes, from a suite to the line that a user pastes."""

import json
import re
import sys

import pytest

from conftest import Once, Run, Toy

pytest_plugins = "pytester"


def command(toy: Toy, *words: str) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(toy.folder)
        line = [sys.executable, "-m", "harness", "tune", *words, f"--ship-artifacts={toy.artifacts}"]
        done = toy.pytester.run(*line, "--ship-threads=1", timeout=500)
    return Run(int(done.ret), done.outlines, done.errlines)


@pytest.fixture
def tuned(once: Once) -> tuple[Toy, Run]:
    def make(toy: Toy) -> Run:
        toy.copy("choosy.py", "own.py", "bag.py")
        return command(toy, "test_toy.py", "-k", "choosy.cpu", "--budget=120")

    return once("tuned", make)


def test_the_command_says_what_the_best_setting_is_worth_and_how_to_have_it(tuned: tuple[Toy, Run]) -> None:
    _, run = tuned
    assert 0 == run.status
    (said,) = [line for line in run.out if line.startswith("choosy with ")]
    found = re.fullmatch(
        r"choosy with [^:]*work=little: ([\d.]+)x \[([\d.]+), ([\d.]+)\] the default, "
        r"from (\d+) fresh rounds in (\d+) starts",
        said,
    )
    assert found is not None
    _, low, _, rounds, starts = map(float, found.groups())
    assert low > 1.02
    assert rounds >= 30
    assert starts >= 4
    assert re.fullmatch(r"In the suite: cases\(…, backends=\[…, tuned\(CHOOSY, .*work='little'\)\]\)", run.out[-1])
    assert any(line.startswith("The default against itself in the same rounds: ") for line in run.out)


def test_the_command_asks_for_validation_rows(tuned: tuple[Toy, Run]) -> None:
    toy, run = tuned
    assert run.out[0].startswith("toy/bag.choosy.cpu: ")
    assert run.out[0].endswith("against the default (threads=1, spinning=off), batch 1, 24 validation rows")
    assert {48, 24} == sizes(toy, "choosy")
    assert 24 in sizes(toy, "choosy-tuned")  # and of what other tests of the same store asked for


def sizes(toy: Toy, backend: str) -> set[int]:
    kept = toy.artifacts.glob(f"toy/bag/{backend}.answers-*/shipbench.json")
    return {len(json.loads(path.read_text())["info"]["predictions"]) for path in kept}


def test_a_setting_that_answers_otherwise_leaves_and_says_why(tuned: tuple[Toy, Run]) -> None:
    _, run = tuned
    assert re.search(r"^wrong=on +left$", run.text, re.MULTILINE)
    (line,) = [line for line in run.out if "left: " in line]
    assert re.match(
        r"(.*; )?wrong=on(; .*)? left: what was timed is not what was scored: logits of validation row", line
    )


def test_settings_that_change_nothing_prove_nothing(tuned: tuple[Toy, Run], toy: Toy) -> None:
    there = Toy(tuned[0].folder, tuned[0].artifacts, toy.pytester)
    run = command(there, "test_toy.py", "-k", "idle", "--budget=120")
    assert 0 == run.status
    assert run.out[-1].startswith("no setting was proven faster than the default: ")
    assert "In the suite" not in run.text


def test_variants_are_measured_beside_their_default_and_record_what_was_chosen(
    tuned: tuple[Toy, Run], toy: Toy
) -> None:
    there = Toy(tuned[0].folder, tuned[0].artifacts, toy.pytester)
    run = there.run("test_toy.py", "-m", "not cuda", "--ship-budget=1")
    little, default = (there.results[f"toy/bag.{name}.cpu"] for name in ("choosy-tuned", "choosy"))
    assert ("ok", "choosy", 0.0) == (
        little.status, little.answers and little.answers.compared_with,
        little.answers and little.answers.largest_difference,
    )  # fmt: skip
    assert little.process is not None
    assert default.process is not None
    chosen = {name: little.process.settings[name] for name in ("options", "work", "threads")}
    assert {"options": "threads=1, work=little", "work": "little", "threads": "1"} == chosen
    assert "options" not in default.process.settings
    assert little.artifact == default.artifact
    assert little.measurement == default.measurement
    wrong = there.results["toy/bag.choosy-wrong.cpu"]
    assert wrong.error is not None
    assert "the export does not answer as choosy does" in wrong.error.message
    assert 1 == run.status


def test_a_budget_too_small_is_refused_before_any_round(tuned: tuple[Toy, Run], toy: Toy) -> None:
    there = Toy(tuned[0].folder, tuned[0].artifacts, toy.pytester)
    run = command(there, "test_toy.py", "-k", "choosy.cpu", "--budget=0.5")
    assert 4 == run.status
    assert re.search(r"error: --budget 0.5: a worker takes .* take \d+ s; give more", run.text)
    assert "rung" not in run.text.replace("one rung", "")
