"""What fine-tuning with one seed led to, and whether it led anywhere: pure functions of answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from harness.kinds.labels import label_name
from harness.schema import Seed
from harness.score import score


def seed_of(
    number: int,
    predictions: Sequence[int],
    scored: float | None,
    labels: Sequence[int],
    names: Sequence[str],
    metric: str,
) -> Seed:
    """The seed `number`, whose model gave `predictions` on rows with `labels`, indices into `names`.

    `scored` is what they scored by `metric`; None where that is undefined.
    """
    counts = Counter(labels)
    frequent = min(counts, key=lambda label: (-counts[label], label))
    given = set(predictions)
    return Seed(
        seed=number,
        score=scored,
        majority=score(metric, [frequent] * len(labels), labels),
        frequent=names[frequent],
        only=label_name(names, given.pop()) if len(given) == 1 else None,
    )


def is_collapsed(seed: Seed) -> bool:
    """Whether the model scores no more than always giving the most frequent label, or always gives one label."""
    return seed.only is not None or (seed.score is not None and seed.score <= seed.majority)


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
