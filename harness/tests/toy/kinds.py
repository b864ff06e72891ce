"""Every kind that no embedded suite has, on tiny models: `tiny_kinds.write` makes what this reads."""

import pytest

from harness.contracts.sources import Folder, Local
from harness.kinds import fill_mask, question_answering, summarization, translation
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, Task, cases

PARTS = {"test": 400, "validation": 60, "calibration": 40}
TASKS = (
    Task(
        name="longest-word", kind=question_answering, dataset=Folder("questions.jsonl"),
        inputs=("question", "context"), label="answers", metric="token-f1", also=("exact-match",), **PARTS,
    ),
    Task(
        name="gaps", kind=fill_mask, dataset=Folder("sentences.jsonl", keep_text=True), inputs=("text",),
        metric="top-5", also=("top-1",), **PARTS,
    ),
    Task(
        name="translated", kind=translation, dataset=Folder("desks.jsonl"), inputs=("texts.long",),
        label="texts.short", metric="bleu", also=("chrf",), **PARTS,
    ),
    Task(
        name="summed-up", kind=summarization, dataset=Folder("desks.jsonl", keep_text=True), inputs=("texts.long",),
        label="texts.short", metric="chrf", **PARTS,
    ),
)  # fmt: skip
RECIPE = Recipe(epochs=4, learning_rate=3e-3, batch_size=16)
GATE = Gate(min_score=0.0, max_drop=0.1)


def models(task):
    if task.kind in (translation, summarization):
        return {Model(name="tiny", source=Local("writer"), recipe=RECIPE, max_length=32): GATE}
    # Windows of 20 tokens: most contexts take two.
    return {Model(name="tiny", source=Local("encoder"), recipe=RECIPE, max_length=20): GATE}


@pytest.mark.parametrize("case", [case for task in TASKS for case in cases(task, models(task))], ids=str)
def test_kind(case: Case, bench: Bench) -> None:
    bench(case)
