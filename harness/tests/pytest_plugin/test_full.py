"""Cases marked `full`: left out of a whole run with a count, and run for whoever names them."""

import re
from pathlib import Path

import pytest

from conftest import Toy
from harness.commands.collection import collect

pytest_plugins = "pytester"

SUITE = '''
"""Two tests of one task: a short one, and one that is marked."""

import pytest
from toydata import TASK

from harness import Gate, Model, Native, Recipe, cases
from harness.backends import PYTORCH

RECIPE = Recipe(loop="native", epochs=1)
SMALL, LARGE = ({Model(name=name, source=Native("bag.py:Bag"), recipe=RECIPE): Gate(min_score=0.1, max_drop=0.1)}
                for name in ("small", "large"))


@pytest.mark.parametrize("case", cases(TASK, SMALL, [PYTORCH]), ids=str)
def test_toy(case, bench):
    bench(case)


@pytest.mark.full
@pytest.mark.parametrize("case", cases(TASK, LARGE, [PYTORCH]), ids=str)
def test_toy_large(case, bench):
    bench(case)
'''
ALONE = '''
"""A suite that is marked as a whole, and a test that has no case."""

import pytest
from toydata import TASK

from harness import Gate, Hub, Model, Native, Recipe, cases
from harness.backends import PYTORCH

pytestmark = pytest.mark.full
RECIPE, GATE = Recipe(loop="native", epochs=1), Gate(min_score=0.1, max_drop=0.1)
OTHER = Model(name="other", source=Native("bag.py:Bag"), recipe=RECIPE)
REMOTE = Model(name="remote", source=Hub("some/body", revision="0" * 40))


@pytest.mark.parametrize("case", cases(TASK, {OTHER: GATE, REMOTE: GATE}, [PYTORCH]), ids=str)
def test_other(case, bench):
    bench(case)


def test_plain():
    pass
'''
PLAIN = ["plain"]
TOUR = ["small.cpu", "small.cuda", *PLAIN]
LARGE = ["large.cpu", "large.cuda"]
OTHER = ["other.cpu", "other.cuda", "remote.cpu", "remote.cuda"]


@pytest.fixture
def suites(toy: Toy) -> Toy:
    toy.copy("bag.py")
    (toy.folder / "test_toy.py").write_text(SUITE)
    (toy.folder / "test_alone.py").write_text(ALONE)
    return toy


SELECTED = [
    ([], TOUR, 2),
    (["."], TOUR, 2),
    (["--ship-full"], [*TOUR, *LARGE, *OTHER], 0),
    # Asked for by name
    (["test_toy.py"], [*TOUR[:2], *LARGE], 0),
    (["test_alone.py"], [*PLAIN, *OTHER], 0),
    ([".", "test_alone.py::test_other"], [*TOUR, *OTHER], 1),
    (["test_toy.py::test_toy_large[toy/large.pytorch.cpu]"], ["large.cpu"], 0),
    (["-k", "large"], LARGE, 0),
    (["-k", "small or large and not cuda"], ["small.cpu", "small.cuda", "large.cpu"], 0),
    (["-m", "full"], [*PLAIN, *LARGE, *OTHER], 0),
    # A selection that names none
    (["-k", "not cuda"], ["small.cpu", *PLAIN], 2),
    (["-k", "not large"], TOUR, 1),
    (["-m", "cuda"], ["small.cuda"], 0),
    (["-m", "not cuda"], ["small.cpu", *PLAIN], 2),
    (["--ship-device=cuda"], ["small.cuda", *PLAIN], 0),
]
"""Options, the cases that they select, and how many of those that could run are left out."""


def test_full_cases_run_for_whoever_names_them(suites: Toy) -> None:
    common = ("pytest", "--collect-only", "-q", "-p", "reported")
    runs = suites.commands(*((*common, *options) for options, _, _ in SELECTED))
    for (options, chosen, left), run in zip(SELECTED, runs, strict=True):
        names = re.findall(r"test_(?:\w+\[toy/)?(\w+)(?:\.pytorch(\.\w+)\])?$", run.text, re.MULTILINE)
        assert sorted(chosen) == sorted(map("".join, names)), options
        assert [f"left out: {left}"] == re.findall("left out: .*", run.text), options


@pytest.fixture(autouse=True)
def reported(suites: Toy) -> None:
    """Print how many cases that could run are left out."""
    (suites.folder / "reported.py").write_text(
        "from harness.pytest_plugin.hooks import session_of\n\n\n"
        "def pytest_collection_finish(session):\n"
        "    print('left out:', session_of(session.config).left_out['--ship-full'])\n"
    )


def test_commands_see_full_cases(suites: Toy, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(suites.folder)
    monkeypatch.syspath_prepend(installed)
    models = {case.model.name for case, _ in collect(".").cases}
    assert {"small", "large", "other", "remote"} == models


def test_name_of_a_machine_is_no_name_of_a_case(toy: Toy) -> None:
    toy.copy("bag.py")
    (toy.folder / "test_toy.py").write_text(SUITE)
    machines = ("pytest", "--collect-only", "-q", "-p", "no:randomly", "--ship-device=cpu", "--ship-machines=c7i,m7a")
    tests = {
        word: [
            line.partition("::")[2]
            for line in toy.command(*machines, *(["-k", word] if word else [])).out
            if "::" in line
        ]
        for word in ("", "m7a", "m7a and large", "not m7a")
    }
    first, second = (f"test_toy[{machine}-toy/small.pytorch.cpu]" for machine in ("c7i", "m7a"))
    assert {
        "": ["test_plain", first, second],
        "m7a": [second],
        "not m7a": ["test_plain", first],
        "m7a and large": ["test_toy_large[m7a-toy/large.pytorch.cpu]"],
    } == tests
