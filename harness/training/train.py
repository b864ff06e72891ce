"""Fine-tune a model: rows and a recipe become a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import checkpoint
from harness.contracts.kind import TARGETS, EncodedRows, omit
from harness.contracts.sources import Native
from harness.data import sources, splits
from harness.data.encoding import Encoder
from harness.data.inputs import Inputs
from harness.errors import HarnessError, brief_error
from harness.training import lora, untrained
from harness.training.job import Job
from harness.training.keras_loop import keras_loop
from harness.training.loops import native_loop, trainer_loop
from harness.util.console import quiet
from harness.util.forward import check_native, ignored_names
from harness.util.identity import file_sha256
from harness.util.machine import processor_name

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from harness.contracts.kind import Arrays, Example, Kind
    from harness.spec import Model, Task
    from harness.util.console import Progress
    from harness.util.store import Store

LOOPS = {"trainer": trainer_loop, "native": native_loop, "keras": keras_loop}
"""A recipe's loop → the function that runs it."""


@dataclass(frozen=True)
class Workspace:
    """Where and how a model is trained."""

    folder: Path
    """The suite's."""
    store: Store
    content: str
    """Identifies what the rows hold."""
    threads: int
    progress: Progress


def fine_tune(task: Task, model: Model, split: splits.Split, workspace: Workspace, out: Path) -> dict[str, Any]:
    """Train `model` on `split`, save the checkpoint in `out`, and return a record of the training.

    A model that is used as it is is saved unchanged. If the rows have labels, the record then holds `order`: for each
    label of the model's head, its index among the task's.
    """
    import torch
    import transformers

    kind = task.kind
    torch.set_num_threads(workspace.threads)
    transformers.set_seed(model.recipe.seed)
    with quiet():
        pretrained = sources.pretrained(model.source, workspace.folder)
        rows = splits.take_training_rows(split, model.recipe.rows, model.name)
        processor = kind.processor(model.source, pretrained, rows, task.inputs)
        if kind.prepare is not None:
            kind.prepare(processor, split.labels, model.labels)
        info: dict[str, Any] = {"pickled": pretrained is not None and untrained.is_pickled(pretrained), "notes": []}
        first = list(rows.select(range(min(2, len(rows)))))
        module = _module(task, model, split, workspace, pretrained, processor, info)
        examples = kind.encode(processor, first, task.inputs, model.max_length)
        probed = Inputs(kind, EncodedRows(processor, first, task.inputs, examples, model.max_length))
        batch = probed.batch(range(len(first)))
        ignored = _fit_inputs(model, module, processor, list(omit(batch, kind.reduce_inputs)), info["notes"])
        example = omit(batch, (*kind.reduce_inputs, *ignored))
        if isinstance(model.source, Native):
            tensors = {name: torch.from_numpy(array) for name, array in example.items()}
            rank = {"one": 2, "each": 3, "many": 2, "number": 2}.get(kind.label, 0)
            count = 1 if kind.label == "number" else len(split.labels)
            check_native(f"model {model.name}", module, tensors, count, rank)
        if not model.is_used_as_is:
            info |= _train(task, model, split, rows, workspace, processor, module, ignored, out, info["notes"])
        if reason := _fixed_length(probed, module.cpu()):
            info |= {"fixed_length": True}
            info["notes"].append(
                f"no probe cuts rows to other lengths, because the model itself fails on them: {reason}"
            )
        checkpoint.save(module, model.source, workspace.folder, out, processor, example)
        if isinstance(model.source, Native):
            _check_saved(f"model {model.name}", module, out, example)
    return {**info, "threads": workspace.threads, "weights_sha256": file_sha256(out / checkpoint.WEIGHTS)}


def _module(
    task: Task,
    model: Model,
    split: splits.Split,
    workspace: Workspace,
    pretrained: Path | None,
    processor: Any,
    info: dict[str, Any],
) -> torch.nn.Module:
    """Return the model to train, or the one that is used as it is, whose order of labels goes into `info`."""
    kind = task.kind
    if model.is_used_as_is:
        assert pretrained is not None
        module = untrained.load_as_is(kind, pretrained)
        if kind.has_head_of_labels:
            info["order"] = label_order(model, pretrained, split.labels)
    else:
        names = (model.source, kind, workspace.folder, pretrained, split.labels, processor)
        module = untrained.create(*names, model.recipe.dropout)
    if kind.tokens is not None or kind.is_causal:
        untrained.state_length(module, processor, model.new_tokens)
    return module


def _train(
    task: Task,
    model: Model,
    split: splits.Split,
    rows: Dataset,
    workspace: Workspace,
    processor: Any,
    module: torch.nn.Module,
    ignored: list[str],
    out: Path,
    notes: list[str],
) -> dict[str, Any]:
    """Run the recipe's loop on the rows, and return its part of the record; what a reader must hear goes to `notes`."""
    import torch

    kind, recipe = task.kind, model.recipe
    adapter = lora.attach(f"model {model.name}", module, recipe.lora) if recipe.lora else None
    _check_trainable(f"model {model.name}", module)
    encoder = Encoder(kind, processor, task.inputs, model.max_length, workspace.store)
    padding = copy(processor)
    if kind.continues:
        padding.padding_side = "right"  # as targets are padded
    validation = encoder.encode(split.validation, f"{workspace.content} validation")
    job = Job(
        task=task,
        model=model,
        module=module,
        train=encoder.encode_targets(rows, f"{workspace.content} train"),
        validation=Inputs(kind, validation, split.labels, metrics=split.metrics),
        collate=lambda examples: _collate(kind, padding, examples, ignored),
        progress=workspace.progress,
        device="cuda" if torch.cuda.is_available() else "cpu",
        artifacts=workspace.store.root,
        out=out,
    )
    job.check_single_rows()
    if job.drops_last:
        notes.append("one training row of each epoch is left out: it would be a batch of its own")
    score = LOOPS[recipe.loop](job)
    if adapter is not None:
        notes.append(lora.merge(adapter, model.source, out))
    place = processor_name(job.device)
    return {"rows": len(rows), "validation": score, "steps": job.steps, "device": job.device, "trained_on": place}


def processor_notes(info: Mapping[str, Any]) -> list[str]:
    """Return a sentence if the record of a checkpoint says that another processor trained it."""
    place = info.get("trained_on")
    return [f"the checkpoint was trained on {place}"] if place and place != processor_name(info["device"]) else []


def _check_trainable(owner: str, module: torch.nn.Module) -> None:
    """Raise HarnessError for a model that training could not change."""
    frozen = [name for name, value in module.named_parameters() if not value.requires_grad]
    if len(frozen) == sum(1 for _ in module.parameters()):
        first = f"its parameters have requires_grad=False, the first is {frozen[0]}" if frozen else "it has none"
        raise HarnessError(
            f"{owner}: {type(module).__name__} has no parameter to train: {first}; leave those of its head trainable"
        )


def _check_saved(owner: str, module: torch.nn.Module, out: Path, example: Arrays) -> None:
    """Raise HarnessError unless a native module answers the same once saved and loaded."""
    run = checkpoint.make_run(module.eval(), "cpu")
    first, again = run(example)["logits"], run(example)["logits"]
    try:
        loaded = checkpoint.make_run(checkpoint.load(out), "cpu")(example)["logits"]
        reason = "" if np.allclose(first, loaded, rtol=1e-4, atol=1e-4, equal_nan=True) else "it answers differently"
    except Exception as error:  # whatever a user's module raises
        reason = brief_error(error)
    if reason and np.array_equal(first, again):  # else it is random in itself, as its worker will say
        raise HarnessError(
            f"{owner}: {type(module).__name__} is not the same once saved and loaded: {reason}; create all layers in "
            "__init__, hold tensors as parameters or persistent buffers, and lists of layers as a ModuleList"
        )


def _fit_inputs(model: Model, module: Any, processor: Any, names: list[str], notes: list[str]) -> list[str]:
    """Return the arrays of a batch that the model does not take, which the processor no longer makes; note them."""
    if ignored := ignored_names(f"model {model.name}", module, names):
        notes.append(
            f"{', '.join(ignored)} of {type(processor).__name__} is left out: {type(module).__name__}.forward does not "
            "take it"
        )
        if hasattr(processor, "init_kwargs"):  # kinds read the mask, too
            kept = [name for name in processor.model_input_names if name not in ignored or name == "attention_mask"]
            processor.model_input_names = processor.init_kwargs["model_input_names"] = kept
    return ignored


def _fixed_length(inputs: Inputs, module: torch.nn.Module) -> str:
    """Return why the model fails on rows cut to another length though it answers them whole; empty if it does not."""
    if checkpoint.generates(module) or not (probes := inputs.probes()):
        return ""
    run, whole = checkpoint.make_run(module.eval(), "cpu"), inputs.batch(range(len(inputs)))

    def is_finite(batch: Arrays) -> bool:
        outputs = run(omit(batch, inputs.kind.reduce_inputs))
        return all(np.isfinite(values).all() for values in outputs.values())

    try:
        reason = "" if is_finite(probes[-1]) else "it answers NaN or infinity"
    except Exception as error:  # whatever a user's module raises
        reason = brief_error(error)
    return reason if reason and is_finite(whole) else ""


def label_order(model: Model, pretrained: Path, labels: tuple[str, ...]) -> list[int]:
    """Return the index in `labels` of each label of a model that is used as it is.

    A label that no row has gets a negative number of its own. HarnessError if the model's head lacks one of `labels`.
    """
    own = checkpoint.read_labels(pretrained)
    if isinstance(model.labels, Mapping):
        if unknown := sorted(set(model.labels) - set(own)):
            raise HarnessError(
                f"model {model.name}: labels= names {', '.join(unknown[:5])}, which its head lacks; "
                f"it has {', '.join(own[:50])}"
            )
        names = [model.labels.get(name, name) for name in own]
    elif model.labels and len(model.labels) != len(own):
        raise HarnessError(
            f"model {model.name}: labels= has {len(model.labels)} names, its head {len(own)} labels; give one for each"
        )
    else:
        names = list(model.labels or own)
    if missing := [label for label in labels if label not in names]:
        raise HarnessError(
            f"model {model.name}: its head answers {', '.join(names[:10])}{', …' if len(names) > 10 else ''}, but not "
            f"{', '.join(missing)}; map its labels, in their order, with Model(labels=…), or train a new head"
        )
    return [labels.index(name) if name in labels else -1 - index for index, name in enumerate(names)]


def _collate(kind: Kind, processor: Any, examples: list[Example], ignored: list[str]) -> dict[str, Any]:
    """Return a batch for training: the model's inputs without those that it ignores, and its targets."""
    inputs = [omit(example, TARGETS) for example in examples]
    batch = omit(kind.collate(processor, inputs), (*kind.reduce_inputs, *ignored))
    targets = [{name: example[name] for name in TARGETS if name in example} for example in examples]
    return {name: _tensors(value) for name, value in (batch | kind.batch_targets(targets)).items()}


def _tensors(value: Any) -> Any:
    """Return arrays, alone or in lists and mappings, as tensors."""
    import torch

    if isinstance(value, dict):
        return {name: _tensors(part) for name, part in value.items()}
    return [*map(_tensors, value)] if isinstance(value, list) else torch.from_numpy(np.ascontiguousarray(value))
