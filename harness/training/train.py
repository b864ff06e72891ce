"""What a checkpoint's head calls its answers, and which of a task's labels these are.

ALSO: Fine-tuning: rows and a recipe become a checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness import checkpoint
from harness.checkpoint import own_labels
from harness.contracts.kind import IGNORE_INDEX, TARGETS, Arrays, Example, Kind, without
from harness.data import reading, splits
from harness.data.encoding import Encoder
from harness.data.inputs import Inputs
from harness.errors import HarnessError
from harness.evaluation.score import score
from harness.results.schema import Seed
from harness.spec import Model, Task
from harness.training.loops import Job, native_loop, trainer_loop
from harness.util.console import Progress, quiet
from harness.util.fingerprints import file_sha256
from harness.util.store import Store

if TYPE_CHECKING:
    import torch


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


@dataclass(frozen=True)
class Place:
    """Where and how a model is trained."""

    folder: Path
    """The suite's."""
    store: Store
    """Where encoded rows are kept."""
    known: str
    """Changes with what the rows hold."""
    threads: int
    progress: Progress


def fine_tune(task: Task, model: Model, split: splits.Split, place: Place, out: Path) -> dict[str, Any]:
    """Train `model` on `split`, save the checkpoint in `out`, and say how it went.

    A model used as it is is saved as it was; where rows have labels, with `order`: for each of its answers, the index
    of that label.
    """
    import torch
    import transformers

    torch.set_num_threads(place.threads)
    transformers.set_seed(model.recipe.seed)
    with quiet():
        pretrained = reading.pretrained(model.source, place.folder)
        rows = splits.budget(split, model.recipe.rows, model.name)
        processor = task.kind.processor(model.source, pretrained, rows, task.inputs)
        info: dict[str, Any] = {"pickled": pretrained is not None and checkpoint.is_pickled(pretrained)}
        first = task.kind.encode(processor, list(rows.select(range(min(2, len(rows))))), task.inputs, model.max_length)
        if model.is_as_it_is:
            assert pretrained is not None
            module = checkpoint.as_it_is(task.kind, pretrained)
            if split.labels:
                info["order"] = label_order(model, pretrained, split.labels)
        else:
            module = checkpoint.create(model.source, task.kind, place.folder, pretrained, split.labels, processor)
            encoder = Encoder(task.kind, processor, task.inputs, model.max_length, place.store)
            validation = encoder.asked(split.validation, f"{place.known} validation")
            job = Job(
                task=task,
                model=model,
                module=module,
                train=encoder.taught(rows, f"{place.known} train"),
                validation=Inputs(task.kind, validation, split.labels),
                collate=lambda examples: _batch(task.kind, processor, examples),
                progress=place.progress,
                device="cuda" if torch.cuda.is_available() else "cpu",
                artifacts=place.store.root,
                out=out,
            )
            loop = trainer_loop if model.recipe.loop == "trainer" else native_loop
            info |= {"rows": len(rows), "validation": loop(job), "steps": job.steps, "device": job.device}
        example = _given(task.kind, processor, [example for examples in first for example in examples])
        checkpoint.save(module.cpu(), model.source, place.folder, out, processor, example)
    return {**info, "threads": place.threads, "weights_sha256": file_sha256(out / checkpoint.WEIGHTS)}


def _given(kind: Kind, processor: Any, examples: list[Example]) -> Arrays:
    """What the model is given of a batch."""
    return without(kind.collate(processor, examples), kind.aside)


def _batch(kind: Kind, processor: Any, examples: list[Example]) -> dict[str, torch.Tensor]:
    """What the model is given, and what it is taught."""
    import torch

    known = _given(kind, processor, [{n: v for n, v in example.items() if n not in TARGETS} for example in examples])
    found = {name: torch.from_numpy(array) for name, array in known.items()}
    for name in TARGETS:
        if name in examples[0]:
            found[name] = torch.from_numpy(_padded([np.asarray(example[name]) for example in examples]))
    return found


def _padded(targets: list[NDArray[Any]]) -> NDArray[Any]:
    """Targets as one array; lists on the right, where kinds that teach tokens pad these too."""
    longest = max(target.size for target in targets)
    if targets[0].ndim:
        targets = [np.pad(one, (0, longest - one.size), constant_values=IGNORE_INDEX) for one in targets]
    return np.stack(targets)
