"""A suite with a mistake in every task and every model."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from toydata import TASK, sentences

from harness.backends import PYTORCH
from harness.contracts.backend import Backend, Session, Target
from harness.contracts.sources import Native, Package
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, cases

BAG = Model(name="bag", source=Native("bag.py:Bag"), recipe=Recipe(loop="native"))
LARGE = Model(name="large", source=Native("bag.py:Bag"), recipe=Recipe(loop="native", rows=5000))
FRUGAL = Model(name="frugal", source=Native("bag.py:Bag"), recipe=Recipe(loop="native", rows=2))
LOST = Model(name="lost", source=Native("nowhere.py:Bag"), recipe=Recipe(loop="native"))
SPEECHLESS = Model(name="speechless", source=Package("toydata", "toydata", sha256="SHA256"))
MISSPELT = Model(name="misspelt", source=SPEECHLESS.source, recipe=Recipe(trainer={"learning_rat": 1e-3}))


def rarely_sarcastic(file: Path) -> Iterator[dict[str, str]]:
    yield from sentences(file)
    yield {"text": "what a lovely day", "topic": "sarcasm"}


def nothing(file: Path) -> Iterator[dict[str, str]]:
    yield from ()


def undecodable(file: Path) -> Iterator[dict[str, str]]:
    yield {"text": file.read_text(encoding="cp9"), "topic": "weather"}


def unanimous(file: Path) -> Iterator[dict[str, str]]:
    for row in sentences(file):
        yield row | {"topic": "weather"}


MISSING = replace(TASK, name="missing", dataset=Package("toy-data-of-others", "rows.csv", sha256="0", read=sentences))
CHANGED = replace(TASK, name="changed", dataset=replace(TASK.dataset, sha256="0" * 64))
MOVED = replace(TASK, name="moved", dataset=replace(TASK.dataset, path="toydata/lines.csv"))
NO_INPUT = replace(TASK, name="no-input", inputs=("sentence",))
NO_LABEL = replace(TASK, name="no-label", label="subject")
GREEDY = replace(TASK, name="greedy", test=4000)
RARE = replace(TASK, name="rare", dataset=replace(TASK.dataset, read=rarely_sarcastic))
EMPTY = replace(TASK, name="empty", dataset=replace(TASK.dataset, read=nothing))
GARBLED = replace(TASK, name="garbled", dataset=replace(TASK.dataset, read=undecodable))
UNANIMOUS = replace(TASK, name="unanimous", dataset=replace(TASK.dataset, read=unanimous))
SINGLE = replace(TASK, name="single", test=1)
UNREAD = replace(TASK, name="unread", dataset=replace(TASK.dataset, read=None))


def outer() -> Backend:
    def load(artifact: Path, target: Target) -> Session:
        raise AssertionError("a careless suite is refused before anything is loaded")

    return Backend(name="hidden", load=load, devices=("cpu",))


PICKY = {Model(name="picky", source=BAG.source, recipe=BAG.recipe): Gate(min_score=0.5, max_drop=0.02)}
TASKS = (MISSING, CHANGED, MOVED, NO_INPUT, NO_LABEL, GREEDY, RARE, EMPTY, GARBLED, UNANIMOUS, SINGLE, UNREAD)
CASES = (
    [case for task in TASKS for case in cases(task, [BAG], [PYTORCH])]
    + cases(TASK, [BAG, LARGE, FRUGAL, LOST, SPEECHLESS, MISSPELT], [PYTORCH, outer()])
    + cases(TASK, PICKY, [PYTORCH])
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
