"""What fine-tuning with one seed led to, and whether it led anywhere: pure functions of answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from harness.accuracy.score import score
from harness.records.schema import Seed

if TYPE_CHECKING:
    from harness.dataset.inputs import Inputs


def seed_of(number: int, predictions: Sequence[Any], scored: float | None, inputs: Inputs, metric: str) -> Seed:
    """The seed `number`, whose model gave `predictions` on the rows of `inputs`.

    `scored` is what they scored by `metric`; None where that is undefined.
    """
    if not inputs.labels:
        return Seed(seed=number, score=scored)
    truths, each = inputs.truths(), inputs.kind.label == "each"
    counts = Counter(label for parts in truths for label in parts) if each else Counter(truths)
    frequent = min(counts, key=lambda label: (-counts[label], label))
    given = {label for parts in predictions for label in parts} if each else set(predictions)
    constant = [[frequent] * len(parts) for parts in truths] if each else [frequent] * len(truths)
    return Seed(
        seed=number,
        score=scored,
        majority=score(metric, constant, truths),
        frequent=inputs.tell(frequent) if not each else frequent,
        only=(given.pop() if each else inputs.tell(given.pop())) if len(given) == 1 else None,
    )


def is_collapsed(seed: Seed) -> bool:
    """Whether the model scores no more than always giving the most frequent label, or always gives one label."""
    beaten = seed.majority is None or seed.score is None or seed.score > seed.majority
    return seed.only is not None or not beaten


def collapse(seed: Seed) -> str:
    """How it collapsed, in words."""
    reached = "its score is undefined" if seed.score is None else f"score {seed.score:.4f}"
    if seed.only is not None:
        return f"seed {seed.seed} collapsed: {reached}, and every answer is {seed.only!r}"
    return (
        f"seed {seed.seed} collapsed: {reached} is no more than the {seed.majority:.4f} of always answering "
        f"{seed.frequent!r}"
    )


def sound(seeds: Iterable[Seed]) -> list[float]:
    """The scores of the seeds that did not collapse, where they are defined."""
    return [seed.score for seed in seeds if seed.score is not None and not is_collapsed(seed)]
