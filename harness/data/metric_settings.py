"""Settle what the metrics of a task assume of its rows: declared by the task, or beyond doubt in the rows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from harness.contracts.declarations import unknown
from harness.errors import HarnessError
from harness.metrics import Metric

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.spec import Task

OPPOSITES = {("0", "1"), ("no", "yes"), ("false", "true"), ("negative", "positive")}
"""Pairs of labels, in small letters, the second of which is the one to be found; so is the second of not_x and x."""
NUMBERED = re.compile(r"([+-]?\d+(?:\.\d+)?)(.*?)s?")
"""A label that is or begins with a number, without the plural of its unit: `3`, `1 star`, `2 stars`."""


def settle(task: Task, labels: tuple[str, ...], parts: Mapping[str, Dataset]) -> tuple[dict[str, Metric], list[str]]:
    """Return each of the task's metrics by name, and notes on what was taken from the rows.

    HarnessError where a metric depends on something that neither the task declares nor the rows decide.
    """
    metrics, notes = {}, []
    for name in task.metrics:
        metric, note = SETTLE[name](task, labels, parts) if name in SETTLE else (Metric(name), "")
        metrics[name] = metric
        notes += [f"{name} {note}"] if note else []
    return metrics, notes


def _f1(task: Task, labels: tuple[str, ...], parts: Mapping[str, Dataset]) -> tuple[Metric, str]:
    listed, note = ", ".join(map(repr, labels)), ""
    positive = task.positive
    if positive is None:
        positive = next((b for a in labels for b in labels if len(labels) == 2 and _is_opposite(a, b)), None)
        note = f"is of {positive!r}; declare Task(positive=…) for another label"
    if positive is None:
        macro = " or take f1-macro, the mean over all labels" if len(labels) > 2 else ""
        raise HarnessError(
            f"task {task.name}: f1 counts one label, and the rows have {listed or 'none'}: "
            f"declare which, as in positive={labels[-1] if labels else '…'!r}{macro}"
        )
    if positive not in labels:
        raise HarnessError(f"task {task.name}: {unknown('label in positive=', positive, labels)}")
    return Metric("f1", labels.index(positive), f"of {positive!r}"), note


def _is_opposite(absent: str, present: str) -> bool:
    absent, present = absent.casefold(), present.casefold()
    return (absent, present) in OPPOSITES or re.fullmatch(rf"(not|no|non)[ _-]{re.escape(present)}", absent) is not None


def _off_by_one(task: Task, labels: tuple[str, ...], parts: Mapping[str, Dataset]) -> tuple[Metric, str]:
    if task.order:
        for name in task.order:
            if name not in labels:
                raise HarnessError(f"task {task.name}: {unknown('label in order=', name, labels)}")
        if missing := [name for name in labels if name not in task.order]:
            raise HarnessError(f"task {task.name}: order= must name every label; it lacks {', '.join(missing)}")
        ranks, step = tuple(map(task.order.index, labels)), ""
    else:
        ranks, step = _numeric_ranks(task, labels)
    ordered = " < ".join(name for _, name in sorted(zip(ranks, labels, strict=True)))
    note = "" if task.order else f"goes by {ordered}{step}; declare Task(order=…) for another order"
    return Metric("off-by-one-accuracy", ranks, f"over {ordered}{step}"), note


def _numeric_ranks(task: Task, labels: tuple[str, ...]) -> tuple[tuple[int, ...], str]:
    """Return each label's place on a scale of even steps, and the step in words where labels leave some out."""
    matches = [NUMBERED.fullmatch(name.strip().casefold()) for name in labels]
    sizes = [Fraction(match[1]) for match in matches if match]
    if len({match[2] if match else None for match in matches}) != 1 or len({*sizes}) != len(labels):
        raise HarnessError(
            f"task {task.name}: off-by-one-accuracy needs an order, which these labels do not have by themselves: "
            f"{', '.join(labels)}; declare it from one end to the other, as in order=('bad', 'fair', 'good')"
        )
    scale = math.lcm(*(size.denominator for size in sizes))
    steps = [int((size - min(sizes)) * scale) for size in sizes]
    step = math.gcd(*steps)
    ranks = tuple(size // step for size in steps)
    return ranks, "" if max(ranks) < len(labels) else f", in steps of {float(Fraction(step, scale)):g}"


SETTLE: dict[str, Callable[[Task, tuple[str, ...], Mapping[str, Dataset]], tuple[Metric, str]]] = {
    "f1": _f1,
    "off-by-one-accuracy": _off_by_one,
}
