"""Guess from a data set's columns what a model reads and answers: by the model's labels, else by names and contents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from harness.contracts.kind import Kind
from harness.contracts.sources import Folder, Hub
from harness.data import boxes, reading
from harness.errors import HarnessError
from harness.kinds import KINDS

Label = str | tuple[str, ...] | None
"""As `Task.label`."""
SAMPLE = 5_000  # rows, drawn at random, whose values are looked at
FEW, FEW_SHARE = 20, 0.05
"""Different values that a label may have, or this share of the rows if they are no numbers."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column of the data, or a field `a.b` of one."""

    name: str
    sort: str
    """`value` (a text, number or label), `list` of such, `answers` as SQuAD has them, `objects` in an image, `image`,
    `audio`, or `other`."""
    values: Sequence[Any] = ()
    """Those of the sampled rows that have one, as text, and the parts of lists; labels by name."""

    @cached_property
    def distinct(self) -> set[str]:
        """The different values or parts."""
        return {*self.values} if self.sort in ("value", "list") else set()

    def is_called(self, *names: str) -> bool:
        """Return whether a word of the column's name is one of these or its plural."""
        return any({word, word.removesuffix("s")} & {*names} for word in re.split(r"[^a-z]+", self.name.lower()))

    @cached_property
    def is_text(self) -> bool:
        """True if most values are of several words, or long without spaces as in Chinese, or if it is called a text."""
        long = sum(value.count(" ") > 1 or (len(value) > 9 and not value.isascii()) for value in self.distinct)
        is_long = 2 * long > len(self.distinct) or self.is_called(*TEXT.names)
        return self.sort == "value" and is_long and 4 * len(self.distinct) > len(self.values)

    @cached_property
    def is_number(self) -> bool:
        """True if every value is a number."""
        return all(re.fullmatch(r"[-+]?[\d.,]+(e[-+]?\d+)?", value) for value in self.distinct)

    @cached_property
    def is_measure(self) -> bool:
        """True if the values are numbers, and some have a fraction, or the column is called a score."""
        is_score = self.is_called(*NUMBER.names) or any("." in value for value in self.distinct)
        return self.sort == "value" and self.is_number and len(self.distinct) > 2 and is_score

    @cached_property
    def is_label(self) -> bool:
        """True if the values are few and come again; more may be different in a column that is called a label."""
        share = 1 if self.is_called(*LABEL.names) else 0 if self.is_number else FEW_SHARE
        return 2 <= len(self.distinct) <= min(max(FEW, share * len(self.values)), len(self.values) / 2)


class Role(NamedTuple):
    """A part that a column plays in a task; names are words for such columns, the likeliest first."""

    title: str
    names: tuple[str, ...]
    accepts: Callable[[Column], bool] = lambda column: column.is_text

    def pick(self, columns: Iterable[Column], flag: str) -> tuple[str, str]:
        """Return the name of the only column that can be it, or of the one with the likeliest name, and the reason."""
        candidates = [column for column in columns if self.accepts(column)]
        if len(candidates) == 1:
            return candidates[0].name, f"the only column that can be {self.title}"
        listed = ", ".join(column.name for column in candidates or columns)
        for name in self.names:
            named = [column for column in candidates if column.is_called(name)]
            if len(named := [column for column in named if column.name.lower() == name] or named) == 1:
                return named[0].name, f"by its name {self.title}, of {listed}"
        problem = f"{listed} can each be" if candidates else f"no column{f' of {listed}' if listed else ''} can be"
        raise HarnessError(f"{problem} {self.title}; name it with {flag}")


TEXT = Role("the text", ("text", "sentence", "content", "body", "review", "comment", "message", "description"))
LABELS = ("label", "target", "class", "category", "intent", "sentiment", "topic")
LABEL = Role("the label, of few different values", LABELS, lambda column: column.sort == "value" and column.is_label)
SOURCE = Role("the text to read", ("source", "src", "article", "document", "dialogue", "text"))
TARGET = Role("the text to write", ("summary", "highlight", "abstract", "target", "translation"))
QUESTION = Role("the question", ("question", "query"))
CONTEXT = Role("the context of the answer", ("context", "passage", "paragraph", "document", "text"))
QUERY = Role("the query", ("query", "question", "anchor", "title", "headline"))
DOCUMENT = Role("the document", ("document", "passage", "positive", "answer", "text", "body"))
TAGS = Role("the list of tags", ("ner", "tag", "label"), lambda column: column.sort == "list" and column.is_label)
NAMES = Role("the list of labels", ("label", "tag"), lambda column: column.sort == "list" and column.is_label)
FLAGS = ({"0", "1"}, {"false", "true"})
NUMBER = Role("the number", ("score", "similarity", "rating", "target"), lambda column: column.is_measure)
ANSWER = Role("the answer", (), lambda one: one.sort == "answers" or one.name.lower() in ("answer", "answers"))
PROMPT = Role("the prompt", ("prompt", "instruction", "request", "input", "question", "text"))
REFERENCE_NAMES = ("completion", "response", "answer", "output", "reference", "target", "headline", "summary", "label")
REFERENCE = Role("the expected text", REFERENCE_NAMES, lambda column: column.sort == "value")
IMAGE = Role("the image", ("image",), lambda column: column.sort == "image")
OBJECTS = Role("the objects, each with a box", ("object", "annotation"), lambda column: column.sort == "objects")
MASK = Role("the mask", ("mask", "annotation", "segmentation"), lambda column: column.sort == "image")
RECORDING = Role("the recording", ("audio",), lambda column: column.sort == "audio")
TRANSCRIPT_NAMES = ("transcription", "transcript", "sentence", "text", "label")
TRANSCRIPT = Role("the text that is said", TRANSCRIPT_NAMES, lambda column: column.sort == "value")
CAPTION_NAMES = ("caption", *TRANSCRIPT_NAMES)
CAPTION = Role("the text about the image", CAPTION_NAMES, lambda column: column.sort == "value")
CHOICES = Role("the list of choices", ("choice", "option", "ending"), lambda column: column.sort == "list")
CHOSEN = Role("the right choice", ("answer", "label", "correct", "target"), lambda column: column.sort == "value")
CELLS = Role("the column of numbers", (), lambda column: column.sort == "value" and column.is_number)
ROLES: dict[str, tuple[tuple[Role, ...], Role | None]] = {
    "audio-classification": ((RECORDING,), LABEL),
    "object-detection": ((IMAGE,), OBJECTS),
    "semantic-segmentation": ((IMAGE,), MASK),
    "image-classification": ((IMAGE,), LABEL),
    "token-classification": ((Role("the list of words", ("token", "word"), lambda one: one.sort == "list"),), TAGS),
    "question-answering": ((QUESTION, CONTEXT), ANSWER),
    "text-classification": ((TEXT,), LABEL),
    "multi-label-classification": ((TEXT,), NAMES),
    "text-regression": ((TEXT,), NUMBER),
    "feature-extraction": ((QUERY, DOCUMENT), None),
    "fill-mask": ((TEXT,), None),
    "language-modeling": ((TEXT,), None),
    "translation": ((SOURCE,), TARGET),
    "summarization": ((SOURCE,), TARGET),
    "text-generation": ((PROMPT,), REFERENCE),
    "chat-completion": ((PROMPT,), REFERENCE),
    "tabular-classification": ((CELLS,), LABEL),
    "tabular-regression": ((CELLS,), NUMBER),
    "zero-shot-classification": ((TEXT,), LABEL),
    "zero-shot-image-classification": ((IMAGE,), LABEL),
    "multiple-choice": ((QUESTION, CHOICES), CHOSEN),
    "image-to-text": ((IMAGE,), CAPTION),
    "automatic-speech-recognition": ((RECORDING,), TRANSCRIPT),
    "ctc-speech-recognition": ((RECORDING,), TRANSCRIPT),
}
"""Kind → the roles of its inputs and of its label; first those that data can tell from each other."""


def read_columns(dataset: Folder | Hub, folder: Path, names: tuple[str, ...], label: Label) -> list[Column]:
    """Return the columns of the training rows for a suite in `folder`, those called `names`, or all without names."""
    kind = SimpleNamespace(label="none", media="any")
    task: Any = SimpleNamespace(name="new", dataset=dataset, columns=names, label=label, kind=kind)
    rows = reading.read_tables(task, folder)[0]["train"].rows
    sample = rows.shuffle(seed=0).select(range(min(len(rows), SAMPLE)))
    parts = {name: part for part in (sample.flatten(), sample) for name in part.column_names}
    return [_column(part, name) for name, part in parts.items()]


def _column(rows: Any, name: str) -> Column:
    from datasets import Audio, ClassLabel, Image, LargeList, List, Value

    feature = rows.features[name]
    inner = feature.feature if (is_list := isinstance(feature, List | LargeList)) else feature
    if isinstance(inner, Audio):
        return Column(name, "audio")
    if isinstance(inner, Image) or (isinstance(inner, dict) and "bytes" in inner) or "binary" in str(inner):
        return Column(name, "image")
    if not isinstance(inner, Value | ClassLabel):
        fields = {*inner} if isinstance(inner, dict) else set[str]()
        is_objects = all(fields & {*boxes.FIELDS[sort]} for sort in ("box", "label"))
        return Column(name, "answers" if {"text", "answer_start"} <= fields else "objects" if is_objects else "other")
    present = [value for value in rows[name] if value is not None]
    parts = [part for value in present for part in value if part is not None] if is_list else present
    parts = [inner.names[part] if isinstance(inner, ClassLabel) and part >= 0 else part for part in parts]
    parts = [part if isinstance(part, str) else json.dumps(part, default=str) for part in parts]
    return Column(name, "list" if is_list else "value", parts)


def guess_kind(columns: Sequence[Column], inputs: tuple[str, ...], label: Label) -> Kind:
    """Return the first kind whose roles the columns fill, given what is decided; HarnessError if there is none."""
    problems, pair = list[str](), inputs if len(inputs) > 1 else ()
    columns = [column for column in columns if column.name in (*inputs, label) or not (inputs and column.is_text)]
    for kind in (KINDS[name] for name in [*ROLES][:10] if len(inputs) <= (KINDS[name].most_inputs or 1)):
        try:
            if isinstance(label, tuple) and kind.label != "many":
                raise HarnessError(f"it takes one label column, not {len(label)}")
            guess(kind, columns, (), pair, None if kind.label in ("text", "free") else label, [])
            return kind
        except HarnessError as error:
            problems.append(f"\n  {kind.name}: {error}")
    raise HarnessError(f"the data suits no kind; name one with --kind:{''.join(problems)}")


def guess(
    kind: Kind,
    columns: Sequence[Column],
    own: Sequence[str],
    inputs: tuple[str, ...],
    label: Label,
    why: list[str],
) -> tuple[tuple[str, ...], Label, tuple[str, ...]]:
    """Return inputs and label, unless given, and the data's names for `own`, a kept head's labels, if they differ."""
    roles, target = ROLES[kind.name]
    free = [column for column in columns if column.name not in inputs]
    flags = tuple(column.name for column in free if column.distinct in FLAGS)
    if target is NAMES and label is None and len(flags) > 1 and not any(map(NAMES.accepts, free)):
        label = flags
        why.append(f"--label {' '.join(flags)}: each column has two values, no and yes")
    elif target and label is None:
        label, reason = _pick_match(target, free, own) if own else target.pick(free, "--label")
        why.append(f"--label {label}: {reason}")
    chosen = label if isinstance(label, tuple) else (label,)
    columns = [*columns, *([Column("", "list", label)] if isinstance(label, tuple) else [])]
    labels = next((match_labels(own, column) for column in columns if column.name in ("", label)), ())
    free = [column for column in free if column.name not in chosen]
    for role in () if inputs else roles:
        name, reason = role.pick(free, "--inputs")
        why.append(f"--inputs {name}: {reason}")
        inputs, free = (*inputs, name), [column for column in free if column.name != name]
    return inputs, label, () if labels == tuple(own) else labels


def _pick_match(role: Role, columns: Sequence[Column], own: Sequence[str]) -> tuple[str, str]:
    """Return the column whose values are the model's labels, and the reason."""
    same = [c for c in columns if c.sort == ("list" if role in (TAGS, NAMES) else "value") and match_labels(own, c)]
    if same := [column for column in same if column.distinct <= {*own}] or same:
        return role._replace(accepts=bool).pick(same, "--label")[0], "its values are the labels of the model"
    values = [f"{c.name} has {', '.join(sorted(c.distinct)[:8])}" for c in columns if role.accepts(c)]
    raise HarnessError(
        f"no column has the model's labels, {', '.join(own[:8])} ({'; '.join(values) or f'none can be {role.title}'}); "
        "name it with --label, the model's labels in its order with --labels, or train a new head with --epochs 3"
    )


def match_labels(own: Sequence[str], column: Column) -> tuple[str, ...]:
    """Return the data's names for a model's labels: equal but for case, or their numbers; empty unless all fit."""
    spelled = {value.casefold(): value for value in column.distinct}
    same, numbers = [spelled.get(name.casefold(), name) for name in own], [str(number) for number in range(len(own))]
    return next((tuple(names) for names in (own, same, numbers) if set() < column.distinct <= {*names}), ())
