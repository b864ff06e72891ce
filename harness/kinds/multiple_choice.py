"""Multiple choice: a question, and which of several texts answers it.

Each choice is an entry of the batch, with the question before it, so that rows may differ in how many they have. Arrays
have shape (entries, 1, length), logits (entries, 1); a row's answer is its choice with the largest. Only training sees
all choices of a row at once, as Transformers' loss compares them: shape (batch, choices, length).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from harness.contracts.kind import IGNORE_INDEX, Arrays, EncodedRows, Example, Kind
from harness.contracts.sources import Row
from harness.kinds import common


def read_row(row: Row, inputs: tuple[str, ...]) -> tuple[str, list[str]]:
    """Return the question and its choices: a column of lists after columns of text, or a column for each choice."""
    if isinstance(last := row[inputs[-1]], str):
        return row[inputs[0]], [row[name] for name in inputs[1:]]
    return " ".join(row[name] for name in inputs[:-1]), list(last)


def answer_index(label: Any, choices: Sequence[str]) -> int:
    """Return the place of the correct choice, counted from 0; -1 unless the label says clearly which it is."""
    by_text = [place for place, choice in enumerate(choices) if choice == label]
    number = int(label) if str(label).isdecimal() else -1
    places = {*by_text, *([number] if 0 <= number < len(choices) else [])}
    return places.pop() if len(places) == 1 else -1


def _problem(row: Row, inputs: tuple[str, ...]) -> str:
    values = [row[name] for name in inputs]
    texts = values[:-1] + (values[-1] if isinstance(values[-1], list) else [values[-1]])
    if not all(isinstance(text, str) for text in texts):
        return f"inputs={inputs} must be texts, the last may be a list of choices; it has {str(values)[:80]}"
    _, choices = read_row(row, inputs)
    if len(choices) < 2:
        return f"it has {len(choices)} choices, and needs two at least: a list in the last of inputs=, or a column each"
    if blank := [place for place, choice in enumerate(choices) if not choice.strip()]:
        return f"its choice {blank[0]} is blank"
    if len({*choices}) < len(choices):
        return f"it has the choice {max(choices, key=choices.count)[:80]!r} more than once"
    if answer_index(row["label"], choices) < 0:
        return (
            f"its label {str(row['label'])[:80]!r} must be the text of one of its choices, or its place from 0 to "
            f"{len(choices) - 1}, and not be read as two of them"
        )
    return ""


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    read = [read_row(row, inputs) for row in rows]
    questions = [question for question, choices in read for _ in choices]
    encoded = tokenizer(questions, list(chain(*(own for _, own in read))), truncation=True, max_length=max_length)
    entries = ({name: values[at] for name, values in encoded.items()} for at in range(len(questions)))
    return [[next(entries) for _ in choices] for _, choices in read]


def _collate(tokenizer: Any, examples: list[Example]) -> Arrays:
    """Return arrays of shape (examples, choices, longest), int64; rows with fewer choices get some of one token."""
    rows = [_choices(example) for example in examples]
    most = max(map(len, rows))
    filled = [[*row, *[{name: ids[:1] for name, ids in row[0].items()}] * (most - len(row))] for row in rows]
    batch = common.collate(tokenizer, list(chain(*filled)))
    return {name: values.reshape(len(rows), most, -1) for name, values in batch.items()}


def _choices(example: Example) -> list[Example]:
    """Return the choices of an example for training, which holds lists of them; any other is one choice."""
    if isinstance(example["input_ids"][0], int | np.integer):
        return [example]
    return [dict(zip(example, values, strict=True)) for values in zip(*example.values(), strict=True)]


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    """Return all choices and the place of the correct one in the first entry of each row; the others are left out."""
    targets = []
    for row, entries in zip(encoded.rows, encoded.examples, strict=True):
        whole = {name: [entry[name] for entry in entries] for name in entries[0]}
        answer = answer_index(row["label"], read_row(row, encoded.inputs)[1])
        others = [{**whole, "labels": IGNORE_INDEX}] * (len(entries) - 1)
        targets.append([{**whole, "labels": answer}, *others])
    return targets


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[int]:
    """Return the place of the choice with the largest of `logits`; a tie goes to the first."""
    return [int(common.output(row, "logits")[:, 0].argmax()) for row in outputs]


def _truths(encoded: EncodedRows) -> list[int]:
    return [answer_index(row["label"], read_row(row, encoded.inputs)[1]) for row in encoded.rows]


multiple_choice = Kind(
    name="multiple-choice",
    auto_class="AutoModelForMultipleChoice",
    metrics=("accuracy",),
    label="free",
    load_processor=common.load_tokenizer,
    encode=_encode,
    collate=_collate,
    problem=_problem,
    targets=_targets,
    predict=_predict,
    truths=_truths,
    axes=("batch", "choices", "sequence"),
)
