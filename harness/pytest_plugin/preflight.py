"""Everything that can be known to be wrong before anything expensive starts, all of it at once."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from harness.contracts.backend import Backend
from harness.contracts.kind import EncodedRows
from harness.contracts.sources import Hub, Local, Native, Package, Scratch
from harness.data import reading, splits
from harness.environments.interpreters import describe_interpreter
from harness.errors import HarnessError
from harness.spec import Case, Gate, Model, Task
from harness.stats.intervals import rare_event_bound, rows_needed
from harness.training.train import label_order
from harness.util.console import quiet
from harness.util.machine import check_installed, check_onnxruntime
from harness.util.symbols import symbol_of

OWNED = frozenset(
    ("num_train_epochs", "max_steps", "learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps",
     "warmup_ratio", "warmup_steps", "weight_decay", "seed", "bf16", "fp16", "output_dir", "eval_strategy",
     "save_strategy", "load_best_model_at_end", "metric_for_best_model", "report_to")
)  # fmt: skip
"""TrainingArguments that would make a recipe's record untrue."""


def check_cases(selected: Sequence[tuple[Case, Path]]) -> None:
    """HarnessError that lists every problem of the selected cases; each is a case and its suite's folder."""
    with quiet():
        problems = list(dict.fromkeys(_problems(selected)))
    if problems:
        raise HarnessError("\n".join(problems))


def _problems(selected: Sequence[tuple[Case, Path]]) -> Iterator[str]:
    if selected:
        yield from _complaint(check_onnxruntime)
    for task, folder in dict.fromkeys((case.task, folder) for case, folder in selected):
        yield from _complaint(partial(splits.load, task, folder))
    for task, model, folder in dict.fromkeys((case.task, case.model, folder) for case, folder in selected):
        yield from _complaint(partial(_check_source, task, model, folder))
        yield from _complaint(partial(_check_recipe, task, model, folder))
    for task, model, gate, folder in dict.fromkeys((case.task, case.model, case.gate, f) for case, f in selected):
        if gate is not None:
            yield from _complaint(partial(_check_gate, task, model, gate, folder))
    for backend in dict.fromkeys(case.backend for case, _ in selected):
        yield from _complaint(partial(_check_backend, backend))


def _check_backend(backend: Backend) -> None:
    """HarnessError for functions that no other process finds, and for environments that nobody could use."""
    symbol_of(backend.load)
    if backend.build:
        symbol_of(backend.build)
    for python in filter(None, (backend.builds_in, backend.runs_in)):
        if python.interpreter is not None:
            describe_interpreter(python)
        for text in python.requirements:
            try:
                Requirement(text)
            except InvalidRequirement as error:
                raise HarnessError(f"backend {backend.name}: pip would not understand {text!r}: {error}") from error


def _complaint(check: Callable[[], object]) -> Iterator[str]:
    try:
        check()
    except HarnessError as error:
        yield str(error)
    except Exception as error:  # a library's own opinion of the input, or a user's file that does not parse
        yield f"{type(error).__name__}: {error}"


def _check_gate(task: Task, model: Model, gate: Gate, folder: Path) -> None:
    """HarnessError for a largest drop that these test rows could not exclude though none of them flipped."""
    rows = len(splits.load(task, folder).test)
    best = rare_event_bound(0, rows)
    if best >= gate.max_drop:
        enough = f"it takes {rows_needed(gate.max_drop):,} rows" if gate.max_drop else "no number rules out any"
        raise HarnessError(
            f"{task.name}/{model.name}: {rows:,} test rows of which not one is answered differently still leave "
            f"room for a drop of {best:.4f}, and the gate allows {gate.max_drop:g}; {enough}"
        )


def _check_source(task: Task, model: Model, folder: Path) -> None:
    match model.source:
        case Native():
            if task.kind.native_arguments is None:
                raise HarnessError(f"model {model.name}: there are no native modules for {task.kind.name}")
            path, name = model.source.locate(folder)
            classes = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
            if name not in classes:
                raise HarnessError(f"model {model.name}: {path} has no class {name}; it has {', '.join(classes)}")
        case Scratch():
            _check_architecture(task, model, model.source)
        case Package() | Hub() | Local():
            pretrained = reading.pretrained(model.source, folder)
            assert pretrained is not None
            processor = task.kind.load_processor(pretrained)
            split = splits.load(task, folder)
            row = split.test[0]
            examples = task.kind.encode(processor, [row], task.inputs, model.max_length)
            if not model.is_as_it_is:
                task.kind.targets(EncodedRows(processor, [row], task.inputs, examples))
            elif split.labels:
                label_order(model, pretrained, split.labels)


def _check_architecture(task: Task, model: Model, source: Scratch) -> None:
    from transformers import CONFIG_MAPPING

    known = source.config.get("model_type")
    if known not in CONFIG_MAPPING:
        raise HarnessError(f"model {model.name}: Scratch(config=…): transformers has no model_type {known!r}")
    task.kind.processor(source, None, [], task.inputs)


def _check_recipe(task: Task, model: Model, folder: Path) -> None:
    for name in model.recipe.report_to:
        check_installed(name, f"model {model.name}: Recipe(report_to=…)")
    if model.recipe.trainer:
        from transformers import TrainingArguments

        owned = sorted(set(model.recipe.trainer) & OWNED)
        if owned:
            raise HarnessError(
                f"model {model.name}: Recipe(trainer=…) has {', '.join(owned)}; Recipe has its own for them"
            )
        known = {field.name for field in dataclasses.fields(TrainingArguments)}
        unknown = sorted(set(model.recipe.trainer) - known)
        if unknown:
            raise HarnessError(
                f"model {model.name}: Recipe(trainer=…) has {', '.join(unknown)}, which TrainingArguments does not know"
            )
    if model.recipe.rows is not None:
        splits.budget(splits.load(task, folder), model.recipe.rows, model.name)
