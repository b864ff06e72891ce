"""Question answering, extractive: the answer is a stretch of the context.

A row is a question and a context; one longer than `max_length` becomes several windows that overlap by a quarter of it,
each an entry of the batch. The answer is the best stretch of all windows. Logits are of shape (windows, length).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.kind import Arrays, EncodedRows, Example, Kind, own_label
from harness.contracts.sources import Row, Source
from harness.errors import HarnessError
from harness.kinds import common
from harness.kinds.common import output

LONGEST = 30
"""Tokens of an answer."""

BEST = 20
"""Beginnings and ends that are tried with each other in a window."""

OUTSIDE = -1
"""Offset of tokens that are none of the context's."""


def _processor(source: Source, pretrained: Path | None, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    return common.load_aligned(common.folder_of(source, pretrained))


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    if len(inputs) != 2:
        raise HarnessError(f"inputs={inputs}: question answering reads two columns, a question and its context")
    questions = [_cut(tokenizer, question, max_length // 2) for question in common.texts(rows, inputs[0])]
    encoded = tokenizer(
        questions,
        common.texts(rows, inputs[1]),
        truncation="only_second",
        max_length=max_length,
        stride=max_length // 4,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    found: list[list[Example]] = [[] for _ in rows]
    for window, row in enumerate(encoded["overflow_to_sample_mapping"]):
        offsets = [
            list(offset) if sequence == 1 else [OUTSIDE, OUTSIDE]
            for offset, sequence in zip(encoded["offset_mapping"][window], encoded.sequence_ids(window), strict=True)
        ]
        example = {name: encoded[name][window] for name in tokenizer.model_input_names if name in encoded}
        found[row].append({**example, "offsets": offsets})
    return found


def _cut(tokenizer: Any, question: str, length: int) -> str:
    """The question, of no more than `length` tokens, so that some of the context fits beside it."""
    question = question.lstrip()
    offsets = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return question if len(offsets) <= length else question[: offsets[length - 1][1]]


def answers_of(label: Any) -> tuple[list[str], list[int]]:
    """Texts that are right, and where in the context each begins if that is known.

    A label is a text, several, or as SQuAD has it `{"text": […], "answer_start": […]}` or a list of such with one each.
    """
    if isinstance(label, Mapping):
        texts, starts = label["text"], label.get("answer_start", [])
        return ([texts], [starts]) if isinstance(texts, str) else (list(texts), list(starts))
    parts = label if isinstance(label, list) else [label]
    if parts and all(isinstance(part, Mapping) for part in parts):
        return [part["text"] for part in parts], [part["answer_start"] for part in parts]
    return [str(part) for part in parts], []


def _problem(row: Row, inputs: tuple[str, ...]) -> str:
    texts, starts = answers_of(row["label"])
    if not texts:
        return "it has no answer; leave such rows out"
    if not texts[0].strip():
        return "its answer is empty; leave such rows out"
    context = row[inputs[-1]]
    if starts:
        told = context[starts[0] : starts[0] + len(texts[0])]
        return "" if told == texts[0] else f"its answer does not stand in its context at answer_start, {starts[0]}"
    return "" if texts[0] in context else "its answer does not stand in its context"


def _targets(asked: EncodedRows) -> list[list[Example]]:
    found = []
    for row, windows, label in zip(asked.rows, asked.examples, own_label(asked), strict=True):
        texts, starts = answers_of(label)
        start = starts[0] if starts else row[asked.inputs[1]].find(texts[0])
        start += len(texts[0]) - len(texts[0].lstrip())  # no token holds the white space around an answer
        found.append([_stretch(window, start, start + len(texts[0].strip())) for window in windows])
    return found


def _stretch(window: Example, start: int, end: int) -> Example:
    """First and last token of the characters from `start` to `end`; the window's first where they are not in it."""
    offsets = np.array(window["offsets"])
    context = offsets[offsets[:, 0] != OUTSIDE]
    inside = np.flatnonzero((offsets[:, 0] < end) & (offsets[:, 1] > start))
    whole = inside.size and context[0, 0] <= start and end <= context[-1, 1]
    first, last = (int(inside[0]), int(inside[-1])) if whole else (0, 0)
    return {"start_positions": first, "end_positions": last}


def _of_tokens(batch: Arrays, outputs: Arrays) -> Arrays:
    return common.without_padding(batch, {name: output(outputs, name) for name in ("start_logits", "end_logits")})


def _predict(asked: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    found = []
    for row, windows, answered in zip(asked.rows, asked.examples, outputs, strict=True):
        starts, ends = output(answered, "start_logits"), output(answered, "end_logits")
        best = max(
            (_best(np.array(window["offsets"]), starts[at], ends[at]) for at, window in enumerate(windows)),
            key=lambda stretch: stretch[0],
        )
        found.append(row[asked.inputs[1]][best[1] : best[2]])
    return found


def _best(offsets: NDArray[Any], starts: NDArray[Any], ends: NDArray[Any]) -> tuple[float, int, int]:
    """The highest sum of logits of a stretch of the context, and its characters."""
    context = np.flatnonzero(offsets[:, 0] != OUTSIDE)
    begin = context[np.argsort(-starts[context], kind="stable")[:BEST]]
    finish = context[np.argsort(-ends[context], kind="stable")[:BEST]]
    sums = starts[begin][:, None] + ends[finish]
    length = finish - begin[:, None]
    sums = np.where((length >= 0) & (length < LONGEST), sums, -np.inf)
    if not sums.size or np.isneginf(sums).all():
        return -np.inf, 0, 0
    one, other = np.unravel_index(sums.argmax(), sums.shape)
    return float(sums[one, other]), int(offsets[begin[one], 0]), int(offsets[finish[other], 1])


def _truths(asked: EncodedRows) -> list[Any]:
    return [answers_of(label)[0] for label in own_label(asked)]


question_answering = Kind(
    name="question-answering",
    auto_class="AutoModelForQuestionAnswering",
    metrics=("exact-match", "token-f1"),
    label="free",
    processor=_processor,
    load_processor=common.load_aligned,
    encode=_encode,
    collate=common.collate,
    problem=_problem,
    targets=_targets,
    reduce=_of_tokens,
    predict=_predict,
    truths=_truths,
    axes=("batch", "sequence"),
)
