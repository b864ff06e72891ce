"""Fine-tuning: rows and a recipe become a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.cache import Store
from harness.contracts import Arrays
from harness.dataset import data, reading
from harness.dataset.encoding import Encoder
from harness.dataset.inputs import Inputs
from harness.fingerprints import file_sha256
from harness.kind import NOT_TAUGHT, TARGETS, Example, Kind, without
from harness.progress import Progress
from harness.quiet import quiet
from harness.spec import Model, Task
from harness.training import checkpoint, head
from harness.training.job import Job
from harness.training.loops import native_loop, trainer_loop

if TYPE_CHECKING:
    import torch


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


def fine_tune(task: Task, model: Model, split: data.Split, place: Place, out: Path) -> dict[str, Any]:
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
        rows = data.budget(split, model.recipe.rows, model.name)
        processor = task.kind.processor(model.source, pretrained, rows, task.inputs)
        info: dict[str, Any] = {"pickled": pretrained is not None and checkpoint.is_pickled(pretrained)}
        first = task.kind.encode(processor, list(rows.select(range(min(2, len(rows))))), task.inputs, model.max_length)
        if model.is_as_it_is:
            assert pretrained is not None
            module = checkpoint.as_it_is(task.kind, pretrained)
            if split.labels:
                info["order"] = head.label_order(model, pretrained, split.labels)
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
        targets = [np.pad(one, (0, longest - one.size), constant_values=NOT_TAUGHT) for one in targets]
    return np.stack(targets)
