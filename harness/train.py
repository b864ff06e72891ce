"""Fine-tuning: rows and a recipe become a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import checkpoint, data, reading
from harness.cache import file_sha256
from harness.loops import Encoded, Job, native_loop, trainer_loop
from harness.progress import Progress
from harness.quiet import quiet
from harness.spec import Model, Task

if TYPE_CHECKING:
    import torch


def fine_tune(
    task: Task, model: Model, split: data.Split, folder: Path, out: Path, threads: int, progress: Progress
) -> dict[str, Any]:
    """Train `model` on `split`, save the checkpoint in `out`, and say how it went; `folder` is the suite's.

    A model used as it is is saved as it was, with `order`: for each of its answers, the index of that label.
    """
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.set_seed(model.recipe.seed)
    with quiet():
        pretrained = reading.pretrained(model.source, folder)
        rows = data.budget(split, model.recipe.rows, model.name)
        processor = task.kind.processor(model.source, pretrained, list(rows), task.inputs)
        first = task.kind.encode(processor, list(rows.select(range(2))), task.inputs, model.max_length)
        if model.is_as_it_is:
            assert pretrained is not None
            module = checkpoint.as_it_is(task.kind, pretrained)
            info: dict[str, Any] = {"order": checkpoint.label_order(model, pretrained, split.labels)}
        else:
            module = checkpoint.create(model.source, task.kind, folder, pretrained, split.labels, processor)
            job = Job(
                task=task,
                model=model,
                module=module,
                train=_encode(task, model, processor, rows),
                validation=_encode(task, model, processor, split.validation),
                collate=lambda encoded: _batch(task, processor, encoded),
                progress=progress,
                device="cuda" if torch.cuda.is_available() else "cpu",
                out=out,
            )
            loop = trainer_loop if model.recipe.loop == "trainer" else native_loop
            info = {"rows": len(rows), "validation": loop(job), "steps": job.steps, "device": job.device}
        checkpoint.save(module.cpu(), model.source, folder, out, processor, task.kind.collate(processor, first))
    return {**info, "threads": threads, "weights_sha256": file_sha256(out / checkpoint.WEIGHTS)}


def _encode(task: Task, model: Model, processor: Any, rows: Any) -> Encoded:
    encoded = task.kind.encode(processor, list(rows), task.inputs, model.max_length)
    return [{**row, "labels": label} for row, label in zip(encoded, rows["label"], strict=True)]


def _batch(task: Task, processor: Any, encoded: Encoded) -> dict[str, torch.Tensor]:
    import torch

    inputs = [{name: value for name, value in row.items() if name != "labels"} for row in encoded]
    arrays = task.kind.collate(processor, inputs)
    return {
        **{name: torch.from_numpy(array) for name, array in arrays.items()},
        "labels": torch.tensor([row["labels"] for row in encoded]),
    }
