"""The label rule: the drop of every label's recall, answers that are never given, and references that know nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.contracts.backend import REFERENCE
from harness.errors import name_some
from harness.results.schema import Answers, Constant, LabelRows, Result
from harness.stats.intervals import Interval, drop_interval, rare_event_bound
from harness.verdicts.accuracy import collapse_sentence, format_drop, is_collapsed

ERROR_RATE = 0.05
"""Chance that some label is called worse wrongly. It is split evenly over the labels of the test rows (Bonferroni):
O. J. Dunn, Journal of the American Statistical Association 56, 52-64 (1961).
"""
FEW = 3
"""A label has few rows if not even unchanged answers could exclude a drop of this many times `max_drop`."""
RECALL = "recall"
"""No metric of a task; given in points."""
SHOWN = 3
"""Labels that a sentence names one by one."""


def label_drops(answers: Answers) -> Iterator[tuple[LabelRows, Interval]]:
    """Yield every label of the test rows with the drop of its recall; the intervals hold for all of them at once."""
    labels = [label for label in answers.labels if label.rows]
    for label in labels:
        yield label, drop_interval(label.lost, label.gained, label.rows, 1 - 2 * ERROR_RATE / len(labels))


def worse_labels(result: Result) -> list[str]:
    """Say which labels' recall is proven to drop by more than the gate's max_drop."""
    answers, gate = result.answers, result.gate
    if answers is None or gate is None or result.backend == REFERENCE:
        return []
    worse = [(label, drop) for label, drop in label_drops(answers) if drop.low > gate.max_drop]
    worse.sort(key=lambda pair: -pair[1].low)
    sentences = [
        f"recall of label {label.label!r} {format_drop(drop, RECALL)}, more than the {100 * gate.max_drop:g} allowed "
        f"({label.lost:.4g} of its {label.rows} rows lost, {label.gained:.4g} gained)"
        for label, drop in worse[:SHOWN]
    ]
    rest = ", ".join(repr(label.label) for label, _ in worse[SHOWN:])
    return [*sentences, f"the recall of these labels drops by more than that, too: {rest}"] if rest else sentences


def own_collapse(answers: Answers | None) -> str | None:
    """Say which answers the reference gives and this backend never does; None if there are none."""
    if answers is None:
        return None
    if answers.constant and not answers.reference_constant:
        return f"gives the same {answers.constant} for every row"
    silent = [label for label in answers.labels if label.rows and label.reference_answered and not label.answered]
    if not silent:
        return None
    given = [label.label for label in answers.labels if label.answered]
    only = f"answers only {given[0]!r}, and " if len(given) == 1 else ""
    return f"{only}never answers {_with_rows(silent)}, which the reference does"


def reference_collapse(result: Result) -> str | None:
    """Say how the reference of this result knows nothing; None if it does. A drop against it would mean nothing."""
    constant: Constant = result.answers.reference_constant if result.answers else ""
    if result.seeds and is_collapsed(result.seeds[0]):
        return collapse_sentence(result.seeds[0], is_trained=False)
    return f"the reference gives the same {constant} for every row" if constant else None


def label_notes(result: Result) -> list[str]:
    """Name what the backend never answers, and the labels whose rows are too few to see a drop."""
    answers, collapse = result.answers, own_collapse(result.answers)
    if answers is None or result.backend == REFERENCE:
        return []
    notes = [f"{result.backend} {collapse}"] if collapse else []
    limit = FEW * result.gate.max_drop if result.gate else 1.0
    few = [label for label in answers.labels if label.rows and rare_event_bound(0, label.rows) > limit]
    few.sort(key=lambda label: label.rows)
    if few:
        points = 100 * rare_event_bound(0, few[0].rows)
        drop = f"a drop of {'' if len(few) == 1 else 'one of them by '}up to {points:.0f} points of its recall"
        notes.append(f"few test rows for {_with_rows(few)}: {drop} cannot be excluded")
    return notes


def _with_rows(labels: Sequence[LabelRows]) -> str:
    """Name labels with their test rows, the first ones one by one."""
    rows = [f"{label.label!r} ({label.rows} test row{'' if label.rows == 1 else 's'})" for label in labels]
    return name_some(rows, SHOWN)
