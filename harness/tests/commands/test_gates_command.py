# the expectation stands on the left
"""`shipbench gates`: the proposed min_score, seeds that do not count, and bad input; collecting cases."""

import re
from pathlib import Path

import pytest

from conftest import REPOSITORY, Once, Run, Toy
from harness.commands.collection import collect
from harness.errors import HarnessError

pytest_plugins = "pytester"


def gates(toy: Toy, *words: str) -> Run:
    return toy.command("harness", "gates", *words, f"--ship-artifacts={toy.artifacts}")


@pytest.fixture
def proposed(once: Once) -> tuple[Toy, Run]:
    """A proposal for a model that goes well with seeds 0, 2 and 4, diverges with 1 and collapses with 3."""

    def make(toy: Toy) -> Run:
        toy.copy("seeded.py", "own.py", "moody.py")
        return gates(toy, "test_toy.py", "--seeds=5", "-k", "moody")

    return once("proposed", make)


def test_proposal_stands_beside_the_present_gate(proposed: tuple[Toy, Run]) -> None:
    _, run = proposed
    assert 0 == run.status, run.text
    (line,) = [line for line in run.out if line.startswith("toy ")]
    fields = line.split(maxsplit=11)
    assert ["toy", "moody", "3"] == fields[:3]
    lowest, middle, highest, _, bound, allowed, min_score, present = map(float, fields[3:11])
    assert lowest <= middle <= highest
    assert min_score <= min(lowest, bound - allowed)
    assert (0.1, 0.9) == (allowed, present)
    assert "provisional: under 10 seeds" == fields[11]


def test_collapsed_and_failed_seeds_are_explained(proposed: tuple[Toy, Run]) -> None:
    _, run = proposed
    assert re.search(r"^toy/moody: seed 3 collapsed: .*; it is left out of the proposal$", run.text, re.MULTILINE)
    assert re.search(r"^toy/moody: seed 1 has no score: .*training diverged", run.text, re.MULTILINE)
    assert not (proposed[0].folder / "results").exists()


def test_single_seed_is_reused_and_gives_no_proposal(proposed: tuple[Toy, Run], toy: Toy) -> None:
    toy.copy("seeded.py", "own.py", "moody.py")
    stored = set(proposed[0].artifacts.glob("toy/moody/checkpoint-*"))
    run = gates(Toy(toy.folder, proposed[0].artifacts, toy.pytester), "test_toy.py", "--seeds=1", "-k", "moody")
    assert 0 == run.status
    assert re.search("^toy/moody: no min_score: .*3 seeds, and 1 count", run.text, re.MULTILINE)
    assert stored == set(proposed[0].artifacts.glob("toy/moody/checkpoint-*"))


BAD = {
    "missing suite": (["test_nowhere.py"], "test_nowhere.py: no such suite"),
    "no case selected": (["test_toy.py", "-k", "nobody"], "test_toy.py: no case matches -k 'nobody'"),
    "malformed -k": (["test_toy.py", "-k", "not ("], "Wrong expression passed to '-k': not ("),
    "no seed": (["test_toy.py", "--seeds=0"], "--seeds 0: must be positive"),
    "seeds in words": (["test_toy.py", "--seeds=many"], "invalid int value: 'many'"),
    "more threads than cores": (["test_toy.py", "--ship-threads=5000"], "--ship-threads 5000: must be at most"),
    "file without cases": (["own.py"], "own.py: no test is parametrized with"),
    "suite that does not import": (["test_broken.py"], "no_such_module"),
    "missing model": (["test_lost.py"], "nowhere.py"),
}


def test_bad_input_is_refused_before_fine_tuning(toy: Toy) -> None:
    toy.copy("seeded.py", "own.py", "moody.py")
    (toy.folder / "test_broken.py").write_text("import no_such_module\n")
    suite = (toy.folder / "test_toy.py").read_text()
    (toy.folder / "test_lost.py").write_text(suite.replace("moody.py:Moody", "nowhere.py:Moody"))
    own = f"--ship-artifacts={toy.folder / 'artifacts'}"
    runs = toy.commands(*(("harness", "gates", *words, own) for words, _ in BAD.values()))
    for (mistake, (_, message)), run in zip(BAD.items(), runs, strict=True):
        assert (2 if mistake == "seeds in words" else 4) == run.status, mistake
        assert message in run.text
        assert "Traceback" not in "".join(run.err[:1])
    assert not (toy.folder / "artifacts").exists()


def test_collecting_returns_cases_with_their_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    collection = collect("suites/test_digits.py", "cpu")
    assert {"digits"} == {case.task.name for case, _ in collection.cases}
    assert {REPOSITORY / "suites"} == {folder for _, folder in collection.cases}
    assert REPOSITORY / ".artifacts" == collection.artifacts


def test_collecting_prints_nothing(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_a():\n    pass\n")
    with pytest.raises(HarnessError, match="no test is parametrized with"):
        collect(str(tmp_path))
    assert ("", "") == capfd.readouterr()
