"""OPUS-100: Spanish into English, by a translation model as it is. Needs the Hub."""

import pytest

from harness import Gate, Hub, Model, Task, cases

TASK = Task(
    name="opus",
    kind="translation",
    # The Hub's own conversion to parquet.
    dataset=Hub(
        "Helsinki-NLP/opus-100",
        "en-es",
        revision="cf21cf4f88c8bb6bcad8cc4fc62a977e24639c6c",
        sample={"train": 400, "validation": 200, "test": 1_000},
    ),
    inputs=("translation.es",),
    label="translation.en",
    metric="bleu",
    also=("chrf",),
    calibration=120,
)
OPUS_MT = Model(
    name="opus-mt-es-en",
    source=Hub("Helsinki-NLP/opus-mt-es-en", revision="c96e2c5399ebfae4fc43d9669556b9afa74bb69d"),
    max_length=128,
)
# Provisional, not run here yet.
MODELS = {OPUS_MT: Gate(min_score=0.3, max_drop=0.01)}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_opus(case, bench):
    bench(case)
