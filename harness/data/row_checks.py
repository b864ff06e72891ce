"""Rows that mislead: repeated, contradictory, blank, or unusable; left out with a note, or refused."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import HarnessError

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray

    from harness.spec import Task

MOST_CONTRADICTORY = 0.01
"""Share of the distinct inputs that may have different labels. Such rows are left out; more of them are refused."""
BATCH = 100
"""Rows that are read at a time."""
MOST_COPIED = 1 << 30
"""Bytes of a table up to which chosen rows are copied."""
MANY_REPEATS = 0.1
"""Share of a split that may repeat other rows before a note asks for the reason."""


def check_rows(tables: dict[str, Dataset], task: Task) -> None:
    """Raise HarnessError for the first row that the kind cannot use, with the number of such rows."""
    if (problem_of := task.kind.problem) is None:
        return
    for split, rows in tables.items():
        names = rows.column_names
        examined = (problem_of(dict(zip(names, row, strict=True)), task.inputs) for row in by_row(rows, names))
        problems = {number: text for number, text in enumerate(examined) if text}
        for number, text in problems.items():
            others = f" ({len(problems):,} of {len(rows):,} rows cannot be used)" if len(problems) > 1 else ""
            raise HarnessError(f"task {task.name}: row {number} of {split}: {text}; leave it out{others}")


def blank_notes(tables: dict[str, Dataset], inputs: Sequence[str]) -> list[str]:
    """Return a note for each column with texts that show nothing: their number and the first place."""
    notes = []
    for name in inputs:
        columns = {split: rows[name][:] for split, rows in tables.items() if _holds_texts(rows, name)}
        places = [f"row {row} of {split}" for split, texts in columns.items() for row in _blank_rows(texts)]
        if places:
            count = f"{len(places):,} rows, the first of which is " if len(places) > 1 else ""
            notes.append(f"{name} is blank in {count}{places[0]}")
    return notes


def _blank_rows(texts: Iterable[str]) -> list[int]:
    return [
        row for row, text in enumerate(texts) if not any(char.isprintable() and not char.isspace() for char in text)
    ]


def spelling_twins(labels: Iterable[str]) -> str:
    """Return two labels that differ in case, in spaces or in the encoding of accents only; empty without such."""
    spellings: dict[str, str] = {}
    for label in (label for label in dict.fromkeys(labels) if len(label) > 1):  # A and a are two letters
        shown = "".join(char for char in unicodedata.normalize("NFC", label) if unicodedata.category(char) != "Cf")
        key = " ".join(shown.lower().split())
        if (other := spellings.setdefault(key, label)) != label:
            return f"{other!r} and {label!r}"
    return ""


def equal_numbers(tables: dict[str, Dataset], labels: Iterable[str]) -> list[str]:
    """Return a note for each number that several labels write differently, with the rows of each."""
    spellings = defaultdict[float, list[str]](list)
    for label in sorted(labels):
        with suppress(ValueError):
            spellings[float(label)].append(label)
    groups = [group for group in spellings.values() if len(group) > 1]
    counts = Counter(label for rows in tables.values() for labels in label_lists(rows) if groups for label in labels)
    return [
        f"the labels {', '.join(f'{label!r} ({counts[label]:,})' for label in group)} are one number and stay "
        f"{len(group)} labels; write them alike if they are one"
        for group in groups
    ]


def label_lists(rows: Dataset) -> list[list[Any]]:
    """Return the labels of each row: its one, those of its parts, or the places of the flags that are set."""
    from datasets import List

    values, feature = rows["label"][:], rows.features["label"]
    if isinstance(feature, dict):
        return [value["labels"] for value in values]
    if not isinstance(feature, List):
        return [[value] for value in values]
    if feature.feature.dtype == "bool":
        return [[place for place, flag in enumerate(flags) if flag] for flags in values]
    return values  # type: ignore[no-any-return]


def used_labels(rows: Dataset) -> set[Any]:
    """Return the labels of all rows."""
    return {label for labels in label_lists(rows) for label in labels}


def distinct_rows(tables: dict[str, Dataset], task: Task) -> tuple[dict[str, Dataset], list[str]]:
    """Return the tables with every row once, and notes on the rows that were left out; test rows are kept first.

    Of inputs with different labels no row is kept, since no score could say which is right. HarnessError if they are
    more than `MOST_CONTRADICTORY` of the distinct inputs.
    """
    digests = {split: list(row_digests(rows, task.inputs)) for split, rows in tables.items()}
    contradictory, notes = set[str](), list[str]()
    if task.kind.label not in ("text", "free", "mask", "none"):
        contradictory, notes = _contradictions(tables, digests, task)
    seen: set[str] = set()
    distinct: dict[str, Dataset] = {}
    repeats: dict[str, int] = {}
    for split in reversed(tables):
        kept = []
        for number, digest in enumerate(digests[split]):
            if digest not in seen and digest not in contradictory:
                kept.append(number)
            seen.add(digest)
        distinct[split] = take(tables[split], kept)
        repeats[split] = len(tables[split]) - len(kept) - sum(digest in contradictory for digest in digests[split])
    return distinct, [*notes, *_repeat_notes(tables, repeats)]


def _contradictions(
    tables: dict[str, Dataset], digests: dict[str, list[str]], task: Task
) -> tuple[set[str], list[str]]:
    """Return the digests of inputs that have different labels, and a note on them; HarnessError if they are many."""
    first: dict[str, tuple[str, int, Any]] = {}
    contradictory: dict[str, str] = {}
    for split, rows in tables.items():
        for number, (digest, label) in enumerate(zip(digests[split], rows["label"][:], strict=True)):
            where, row, other = first.setdefault(digest, (split, number, label))
            if label != other:
                pair = f"row {row} of {where} ({_quote(other)}) and row {number} of {split} ({_quote(label)})"
                contradictory.setdefault(digest, pair)
    if not contradictory:
        return set(), []
    pair = next(iter(contradictory.values()))
    text = f"{len(contradictory):,} of {len(first):,} distinct inputs have rows with different labels, as {pair}"
    if len(contradictory) > MOST_CONTRADICTORY * len(first):
        raise HarnessError(
            f"task {task.name}: {text}; keep one row for each input, with the label that counts, or add to inputs= the "
            "columns that tell such rows apart"
        )
    lost = sum(digest in contradictory for split in digests.values() for digest in split)
    return {*contradictory}, [f"{text}; all {lost:,} rows of such inputs are left out"]


def _repeat_notes(tables: dict[str, Dataset], repeats: dict[str, int]) -> list[str]:
    """Return a note on the repeated rows that each split lost; none if there were none."""
    lost = [f"{repeats[split]:,} of {len(rows):,} in {split}" for split, rows in tables.items() if repeats[split]]
    if not lost:
        return []
    many = any(repeats[split] > MANY_REPEATS * len(rows) for split, rows in tables.items())
    question = "; so many may mean that inputs= lacks a column that tells rows apart" if many else ""
    return [f"rows that repeat the inputs of another row are left out: {', '.join(lost)}{question}"]


def _holds_texts(rows: Dataset, name: str) -> bool:
    return getattr(rows.features[name], "dtype", None) in ("string", "large_string")


def _quote(label: object) -> str:
    text = repr(label)
    return text if len(text) <= 60 else f"{text[:60]}…"


def row_digests(rows: Dataset, columns: Sequence[str] = ()) -> Iterator[str]:
    """Yield a digest of these columns, or of all, for each row."""
    from datasets import Audio, Image

    columns = columns or rows.column_names
    for name in columns:
        if isinstance(feature := rows.features[name], Audio | Image):
            rows = rows.cast_column(name, Image(decode=False) if isinstance(feature, Image) else Audio(decode=False))
        elif isinstance(feature, dict) and any(isinstance(part, Image) for part in feature.values()):
            parts = {key: Image(decode=False) if isinstance(part, Image) else part for key, part in feature.items()}
            rows = rows.cast_column(name, parts)
    return map(_row_digest, by_row(rows, columns))


def by_row(rows: Dataset, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield each row's values of these columns; they are read in batches, many times faster than row by row."""
    for batch in rows.select_columns(list(columns)).iter(BATCH):
        yield from zip(*(batch[name] for name in columns), strict=True)


def take(rows: Dataset, numbers: Sequence[int] | NDArray[Any]) -> Dataset:
    """Return the rows with these numbers; unless they are large, as a table of their own, which is read faster."""
    from datasets import Dataset
    from datasets.table import InMemoryTable

    if len(numbers) == len(rows):
        return rows
    numbers = np.asarray(numbers, np.int64)
    if rows.data.nbytes > MOST_COPIED or rows._indices is not None:
        return rows.select(numbers)
    return Dataset(InMemoryTable(rows.data.table.take(numbers)), info=rows.info)


def _row_digest(row: Iterable[Any]) -> str:
    """Return a digest of values: white space folded in texts, shape and values of arrays, bytes of files."""
    digest = hashlib.sha256()
    for value in row:
        if isinstance(value, str):
            digest.update(json.dumps(" ".join(value.split())).encode())
        elif isinstance(value, dict) and "bytes" in value:  # a file: `datasets` has its bytes or its path
            digest.update(value["bytes"] or Path(value["path"]).read_bytes())
        elif isinstance(value, dict) or (array := _numbers(value)) is None:
            digest.update(json.dumps(value, default=bytes.hex).encode())
        else:
            digest.update(f"{array.dtype.kind}{array.shape}".encode() + array.astype(np.float64).tobytes())
    return digest.hexdigest()


def _numbers(value: object) -> NDArray[Any] | None:
    """Return the value as an array if it holds numbers."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        return None
    return None if array.dtype.kind in "OSU" else array
