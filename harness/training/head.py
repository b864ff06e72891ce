"""What a checkpoint's head calls its answers, and which of a task's labels these are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.errors import HarnessError
from harness.spec import Model


def own_labels(pretrained: Path) -> list[str]:
    """What a checkpoint calls its answers, in their order; HarnessError if its config cannot be read."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(pretrained, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise HarnessError(f"{pretrained}: no usable config.json: {error}") from error
    return [str(config.id2label[index]) for index in sorted(config.id2label)]


def label_order(model: Model, pretrained: Path, labels: tuple[str, ...]) -> list[int]:
    """For each answer of a model used as it is, its index in `labels`; below 0, and another each, for one of no row.

    HarnessError where the model cannot answer one of `labels`.
    """
    own = own_labels(pretrained)
    named = tuple(_named(model, own))
    missing = [label for label in labels if label not in named]
    if missing:
        raise HarnessError(
            f"model {model.name}: as it is, it answers {', '.join(named[:10])}{', …' if len(named) > 10 else ''}, and "
            f"no {', '.join(missing)}; name its answers, in their order, with Model(labels=…), or give it a Recipe "
            "with epochs"
        )
    return [labels.index(name) if name in labels else -1 - at for at, name in enumerate(named)]


def _named(model: Model, own: list[str]) -> Iterable[str]:
    """What the task calls each of the model's answers."""
    if isinstance(model.labels, Mapping):
        unknown = sorted(set(model.labels) - set(own))
        if unknown:
            raise HarnessError(f"model {model.name}: labels= names {', '.join(unknown[:5])}, which it never answers")
        return (model.labels.get(name, name) for name in own)
    if model.labels and len(model.labels) != len(own):
        raise HarnessError(f"model {model.name}: labels= names {len(model.labels)} answers, it has {len(own)}")
    return model.labels or own
