"""`shipbench tune`, from a suite to the line that a user pastes into it."""

import json
import re
import sys

import pytest

from conftest import Once, Run, Toy
from harness.util.machine import usable_cores

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
        return command(toy, "test_toy.py", "-k", "eager", "--budget=60")

    return once("tuned", make)


def test_faster_setting_is_proven_and_printed(tuned: tuple[Toy, Run]) -> None:
    _, run = tuned
    assert 0 == run.status, run.text
    (verdict,) = [line for line in run.out if line.startswith("eager with ")]
    match = re.fullmatch(
        r"eager with threads=1, spinning=on: [\d.]+x \[([\d.]+), [\d.]+\] the default, "
        r"from (\d+) fresh rounds in (\d+) launches",
        verdict,
    )
    assert match is not None
    low, rounds, launches = map(float, match.groups())
    assert low > 1.02
    assert rounds >= 30
    assert launches >= 4
    assert "In the suite: cases(…, backends=[…, tuned(EAGER, threads=1, spinning=True)])" == run.out[-1]


def test_only_validation_rows_are_answered(tuned: tuple[Toy, Run]) -> None:
    toy, run = tuned
    assert run.out[0].startswith("toy/bag.eager.cpu: ")
    assert run.out[0].endswith("against the default (threads=1, spinning=off), batch 1, 24 validation rows")
    answers = toy.artifacts.glob("toy/bag/eager-tuned.answers-*/shipbench.json")
    assert {24} == {len(json.loads(path.read_text())["info"]["predictions"]) for path in answers}


@pytest.mark.skipif(usable_cores() < 2, reason="two threads are only tried on two cores")
def test_setting_with_other_answers_fails(tuned: tuple[Toy, Run]) -> None:
    _, run = tuned
    assert re.search(
        r"^ *threads=2, spinning=on +failed: .*timed outputs differ from the scored ones: logits of validation row",
        run.text,
        re.MULTILINE,
    )


def test_settings_without_effect_prove_nothing(tuned: tuple[Toy, Run], toy: Toy) -> None:
    there = Toy(tuned[0].folder, tuned[0].artifacts, toy.pytester)
    run = command(there, "test_toy.py", "-k", "choosy.cpu", "--budget=60")
    assert 0 == run.status, run.text
    assert run.out[-1].startswith("no setting is proven faster than the default")
    assert "In the suite" not in run.text


def test_variants_record_their_options(tuned: tuple[Toy, Run], toy: Toy) -> None:
    there = Toy(tuned[0].folder, tuned[0].artifacts, toy.pytester)
    run = there.run("test_toy.py", "-m", "not cuda", "--ship-budget=1")
    assert 1 == run.status
    little, default = (there.results[f"toy/bag.{name}.cpu"] for name in ("choosy-tuned", "choosy"))
    assert "ok" == little.status
    assert little.answers is not None
    assert ("choosy", 0.0) == (little.answers.compared_with, little.answers.largest_difference)
    assert little.process is not None
    assert default.process is not None
    settings = {name: little.process.settings[name] for name in ("options", "work", "threads")}
    assert {"options": "threads=1, work=little", "work": "little", "threads": "1"} == settings
    assert "options" not in default.process.settings
    assert (little.artifact, little.measurement) == (default.artifact, default.measurement)
    wrong = there.results["toy/bag.choosy-wrong.cpu"]
    assert wrong.error is not None
    assert "the export does not answer as choosy does" in wrong.error.message
