"""Extractive question answering: the answer is a span of the context.

A row is a question and a context. A context longer than `max_length` becomes several windows that overlap by a quarter
of it, each an entry of the batch; the answer is the best span of all windows, of any length. Logits have shape
(windows, length).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.kind import Arrays, EncodedRows, Example, Kind, row_labels
from harness.contracts.sources import Row
from harness.errors import HarnessError
from harness.kinds import common

BEST = 20
"""Starts and ends that are combined with each other in a window."""
OUTSIDE = -1
"""Offset of tokens that do not belong to the context."""


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    if len(inputs) != 2:
        raise HarnessError(f"inputs={inputs}: question answering reads two columns, a question and its context")
    questions = [_truncate_question(tokenizer, question, max_length // 2) for question in common.texts(rows, inputs[0])]
    encoded = tokenizer(
        questions,
        common.texts(rows, inputs[1]),
        truncation="only_second",
        max_length=max_length,
        stride=max_length // 4,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    examples: list[list[Example]] = [[] for _ in rows]
    for window, row in enumerate(encoded["overflow_to_sample_mapping"]):
        offsets = [
            list(offset) if sequence == 1 else [OUTSIDE, OUTSIDE]
            for offset, sequence in zip(encoded["offset_mapping"][window], encoded.sequence_ids(window), strict=True)
        ]
        example = {name: encoded[name][window] for name in tokenizer.model_input_names if name in encoded}
        examples[row].append({**example, "offsets": offsets})
    return examples


def _truncate_question(tokenizer: Any, question: str, length: int) -> str:
    """Return the question, cut to `length` tokens, so that some of the context fits in with it."""
    question = question.lstrip()
    offsets = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return question if len(offsets) <= length else question[: offsets[length - 1][1]]


def read_answers(label: Any) -> tuple[list[str], list[int]]:
    """Return the texts of the correct answers and, if the label has them, their starts in the context.

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
    form = {"text": ["…"], "answer_start": [0]}
    try:
        texts, starts = read_answers(row["label"])
    except (KeyError, TypeError):
        return f"its answer {str(row['label'])[:80]} has another form than a text, several, or {form}"
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(start, int) for start in starts):
        return f"its answer {str(row['label'])[:80]} has other types than {form}"
    if not texts or not texts[0].strip():
        return "it has no answer"
    context = row[inputs[-1]]
    is_there = context.startswith(texts[0], starts[0]) if starts else texts[0] in context
    place = f" at answer_start, {starts[0]}" if starts else ""
    return "" if is_there else f"its context does not contain the answer{place}"


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    targets = []
    for row, windows, label in zip(encoded.rows, encoded.examples, row_labels(encoded), strict=True):
        texts, starts = read_answers(label)
        start = starts[0] if starts else row[encoded.inputs[1]].find(texts[0])
        start += len(texts[0]) - len(texts[0].lstrip())  # no token contains the white space around an answer
        targets.append([_find_span(window, start, start + len(texts[0].strip())) for window in windows])
    return targets


def _find_span(window: Example, start: int, end: int) -> Example:
    """Return the first and last token of the characters from `start` to `end`; 0 and 0 if the window lacks some."""
    offsets = np.array(window["offsets"])
    context = offsets[offsets[:, 0] != OUTSIDE]
    inside = np.flatnonzero((offsets[:, 0] < end) & (offsets[:, 1] > start))
    is_whole = inside.size and context[0, 0] <= start and end <= context[-1, 1]
    first, last = (int(inside[0]), int(inside[-1])) if is_whole else (0, 0)
    return {"start_positions": first, "end_positions": last}


def _keep_logits(batch: Arrays, outputs: Arrays) -> Arrays:
    return common.zero_padding(batch, outputs, "start_logits", "end_logits")


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    answers = []
    for row, windows, logits in zip(encoded.rows, encoded.examples, outputs, strict=True):
        starts, ends = common.output(logits, "start_logits"), common.output(logits, "end_logits")
        spans = [_best_span(np.array(window["offsets"]), starts[i], ends[i]) for i, window in enumerate(windows)]
        _, start, end = max(spans, key=lambda span: span[0])
        answers.append(row[encoded.inputs[1]][start:end])
    return answers


def _best_span(offsets: NDArray[Any], starts: NDArray[Any], ends: NDArray[Any]) -> tuple[float, int, int]:
    """Return the highest sum of a span's start and end logits, and the span's characters."""
    context = np.flatnonzero(offsets[:, 0] != OUTSIDE)
    firsts = context[np.argsort(-starts[context], kind="stable")[:BEST]]
    lasts = context[np.argsort(-ends[context], kind="stable")[:BEST]]
    sums = starts[firsts][:, None] + ends[lasts]
    length = lasts - firsts[:, None]
    sums = np.where(length >= 0, sums, -np.inf)
    if not sums.size or np.isneginf(sums).all():
        return -np.inf, 0, 0
    first, last = np.unravel_index(sums.argmax(), sums.shape)
    return float(sums[first, last]), int(offsets[firsts[first], 0]), int(offsets[lasts[last], 1])


def _remark(checkpoint: Path, encoded: EncodedRows, outputs: Sequence[Arrays]) -> str:
    """Count the rows whose answer lies in no window as a whole, which no span can match."""
    lost = sum(all(not target["end_positions"] for target in windows) for windows in _targets(encoded))
    rows = f"{lost:,} of {len(encoded.rows):,} test rows"
    text = f"the answers of {rows} fit into no window of {encoded.max_length} tokens and count as wrong"
    return f"{text}; raise Model(max_length=…)" if lost else ""


def _truths(encoded: EncodedRows) -> list[Any]:
    return [read_answers(label)[0] for label in row_labels(encoded)]


question_answering = Kind(
    name="question-answering",
    auto_class="AutoModelForQuestionAnswering",
    metrics=("exact-match", "token-f1"),
    label="free",
    most_inputs=2,
    load_processor=common.load_aligned_tokenizer,
    encode=_encode,
    collate=common.collate,
    problem=_problem,
    targets=_targets,
    reduce=_keep_logits,
    predict=_predict,
    truths=_truths,
    remark=_remark,
)
