"""The preflight: every problem that can be found before anything expensive starts, reported at once."""

from __future__ import annotations

import ast
import dataclasses
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from harness.contracts.backend import Backend
from harness.contracts.declarations import unknown
from harness.contracts.sources import Hub, Local, Native, Package, Scratch
from harness.data import audio, images, sources, splits
from harness.environments.interpreters import describe_interpreter
from harness.errors import HarnessError, brief_error
from harness.evaluation.score import unseen_change
from harness.spec import Case, Gate, Model, Task
from harness.stats.intervals import rare_event_bound, rows_needed
from harness.training import fit
from harness.training.keras_loop import check_keras
from harness.util import locks
from harness.util.console import Progress, quiet, showing
from harness.util.files import check_writable
from harness.util.identity import symbol_of
from harness.util.machine import check_installed, check_onnxruntime, missing_module
from harness.util.remote import Remote

OWNED = frozenset(
    ("num_train_epochs", "max_steps", "learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps",
     "warmup_steps", "weight_decay", "seed", "bf16", "fp16", "output_dir", "eval_strategy",
     "save_strategy", "load_best_model_at_end", "metric_for_best_model", "report_to")
)  # fmt: skip
"""TrainingArguments that would contradict the recorded recipe."""

TESTED = ("5.23", "5.24")
"""The oldest and the newest minor release of Transformers that the tests run with."""

FEW_ROWS = 50
"""Rows; a model fine-tuned on fewer gets a note."""


def check_cases(
    selected: Sequence[tuple[Case, Path]], progress: Progress, places: Mapping[Path, str], remote: Remote | None = None
) -> list[str]:
    """Return notes on the selected cases, each given with its suite's folder; `places` and `remote` must be writable.

    HarnessError with every problem of the places, else of the cases. Cheap checks come first, and a model waits until
    its task's rows are read: whoever misspelt a column need not wait for Transformers.
    """
    tasks = dict.fromkeys((case.task, folder) for case, folder in selected)
    progress.say(f"checking the rows and models of {', '.join(dict.fromkeys(task.name for task, _ in tasks))}")
    readable: set[tuple[Task, Path]] = set()
    with quiet(), showing(progress):
        notes = _run(_place_checks(places, remote, [task for task, _ in tasks]))
        notes += _run(_checks(selected, readable))
        spaces = (partial(_check_space, place, selected) for place in places if places[place] == "--ship-artifacts")
        return notes + _run(spaces)


def _run(checks: Iterable[Callable[[], Sequence[str] | None]]) -> list[str]:
    """Return the notes of all checks; HarnessError with the problems of all."""
    problems: dict[str, None] = {}  # each once
    notes: list[str] = []
    for check in checks:
        try:
            notes += check() or ()
        except HarnessError as error:
            problems[str(error)] = None
        except Exception as error:  # raised by a library, or by a user's file that does not parse
            problems[brief_error(error)] = None
    if problems:
        raise HarnessError("\n".join(problems))
    return list(dict.fromkeys(notes))


def _place_checks(
    places: Mapping[Path, str], remote: Remote | None, tasks: Iterable[Task]
) -> Iterator[Callable[[], Sequence[str] | None]]:
    by_name = {task.name: task for task in tasks}
    for place, option in places.items():
        yield partial(check_writable, place, option)
        if option == "--ship-results" and place.name in by_name:
            yield partial(_check_earlier, place, by_name[place.name])
    if remote is not None:
        yield remote.check
    yield lambda: check_writable(Path(tempfile.gettempdir()), "TMPDIR")
    yield lambda: check_writable(locks.machine_folder(), locks.FOLDER)
    if any(not isinstance(task.dataset, Package) for task in by_name.values()):
        yield _check_cache


def _check_earlier(place: Path, task: Task) -> list[str]:
    """Return a note if a folder holds results of another task of this name, which the session replaces."""
    from harness.results import store

    names, now = ("dataset", "kind", "inputs", "metric"), (str(task.dataset), task.kind.name, task.inputs, task.metric)
    for file in sorted(place.glob("*.json")):
        with suppress(HarnessError):  # the report names files that cannot be read
            if store.is_finals(file) or (data := store.load(file).data) is None:
                continue
            before = (data.source, data.kind, data.inputs or task.inputs, data.metric)
            pairs = zip(names, before, now, strict=True)
            if changes := [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new]:
                problem = f"{file} is of another task {task.name}: {', '.join(changes)}"
                return [f"{problem}; its results are replaced: rename one of the tasks to keep both"]
    return []


def _check_space(place: Path, selected: Sequence[tuple[Case, Path]]) -> list[str]:
    """Return a note if checkpoints and artifacts may not fit into a folder: each has about the size of the weights."""
    copies = Counter((case.model.source, folder) for case, folder in selected)  # an artifact each
    trained = {(case.task, case.model, folder) for case, folder in selected}
    copies.update((model.source, folder) for _, model, folder in trained)  # a checkpoint each
    needed = 0
    for (source, folder), count in copies.items():
        files = pretrained.iterdir() if (pretrained := sources.pretrained(source, folder)) else ()
        needed += count * sum(file.stat().st_size for file in files if file.suffix in (".safetensors", ".bin"))
    free = shutil.disk_usage(next(one for one in (place, *place.parents) if one.exists())).free
    sizes = f"{free / 1e9:.1f} GB free, and the checkpoints and artifacts of this run may take {needed / 1e9:.1f} GB"
    return [f"{place} has {sizes}; make room, or set --ship-artifacts"] if free < needed else []


def _check_transformers() -> list[str]:
    """Return a note if Transformers is newer than any that was tested."""
    release = Version(version("transformers"))
    if release.release[:2] <= Version(TESTED[1]).release:
        return []
    tested = f"shipbench is tested with {' to '.join(TESTED)}"
    return [f"transformers {release} is installed, and {tested}; answers are compared with the reference's as always"]


def _checks(
    selected: Sequence[tuple[Case, Path]], readable: set[tuple[Task, Path]]
) -> Iterator[Callable[[], Sequence[str] | None]]:
    """Yield the checks, which return notes; those of models only for tasks in `readable`, which those of rows fill."""
    yield check_onnxruntime
    yield _check_transformers
    models = dict.fromkeys((case.task, case.model, folder) for case, folder in selected)
    for backend in dict.fromkeys(case.backend for case, _ in selected):
        yield partial(_check_backend, backend)
    for source, folder in dict.fromkeys((m.source, f) for _, m, f in models if isinstance(m.source, Local | Native)):
        yield partial(_locate, source, folder)
    for task, folder in dict.fromkeys((task, folder) for task, _, folder in models):
        yield partial(_check_rows, task, folder, readable)
    for task, model, folder in models:
        if (task, folder) in readable:
            yield partial(_check_source, task, model, folder)
            yield partial(_check_recipe, task, model, folder)
    for task, model, gate, folder in dict.fromkeys((case.task, case.model, case.gate, f) for case, f in selected):
        if gate is not None and (task, folder) in readable:
            yield partial(_check_gate, task, model, gate, folder)


def _locate(source: Local | Native, folder: Path) -> None:
    source.locate(folder)


def _check_cache() -> None:
    """Raise HarnessError unless `datasets` can write its cache."""
    from datasets import config

    check_writable(Path(config.HF_DATASETS_CACHE), "HF_HOME or HF_DATASETS_CACHE")


def _check_rows(task: Task, folder: Path, readable: set[tuple[Task, Path]]) -> list[str]:
    """Return the notes on a task's rows, and add it to `readable`."""
    split = splits.load(task, folder)
    readable.add((task, folder))
    return [f"{task.name}: {note}" for note in split.notes]


def _check_backend(backend: Backend) -> None:
    """Raise HarnessError for functions that other processes cannot find, and for environments that cannot work."""
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
                raise HarnessError(
                    f"backend {backend.name}: invalid requirement {text!r}; write it as pip does: {error}"
                ) from error


def _check_gate(task: Task, model: Model, gate: Gate, folder: Path) -> None:
    """Raise HarnessError if this many test rows could not prove the gate's max_drop even without a single flip."""
    split = splits.load(task, folder)
    rows = len(split.test)
    if task.kind.label == "number":
        _check_own_gate(task, model, gate, split)
    elif rare_event_bound(0, rows) >= gate.max_drop:
        needed = f"at least {rows_needed(gate.max_drop):,}" if gate.max_drop else "infinitely many"
        raise HarnessError(
            f"{task.name}/{model.name}: max_drop={gate.max_drop:g} needs {needed} test rows; this task has {rows:,}"
        )


def _check_own_gate(task: Task, model: Model, gate: Gate, split: splits.Split) -> None:
    """Raise HarnessError if a drop in the metric's unit could not be proven even of the very same answers.

    How far unseen rows could move a mean error depends on the numbers alone; other metrics depend on the answers.
    """
    truths = split.test["label"][:]
    unseen = unseen_change(split.metrics[task.metric], truths, truths, rare_event_bound(0, len(truths)))
    if gate.max_drop == 0 or (task.metric == "mae" and unseen >= gate.max_drop):
        raise HarnessError(
            f"{task.name}/{model.name}: max_drop={gate.max_drop:g} cannot be proven with {len(truths):,} test rows: "
            f"rows that these do not show could change {task.metric} by {unseen:.3g}; allow more, or ask for more rows"
        )


def _check_source(task: Task, model: Model, folder: Path) -> list[str]:
    """Return notes on how a model and its rows fit."""
    match model.source:
        case Native():
            if task.kind.native_arguments is None:
                raise HarnessError(f"model {model.name}: {task.kind.name} takes no native modules")
            path, name = model.source.locate(folder)
            tree = ast.parse(path.read_bytes())
            _check_imports(model.name, path, tree)
            makers = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
            if name not in makers:
                raise HarnessError(
                    f"model {model.name}: {path} has no class {name}; expected one of {', '.join(makers)}"
                )
            _check_media(task, model, folder)
        case Scratch(config=config):
            from transformers import CONFIG_MAPPING

            if (kind := config.get("model_type")) not in CONFIG_MAPPING:
                problem = unknown("model_type", kind, get_close_matches(str(kind), CONFIG_MAPPING, n=5, cutoff=0))
                raise HarnessError(f"model {model.name}: Scratch(config=…): {problem}")
            _check_media(task, model, folder)
        case Package() | Hub() | Local():
            return [f"{task.name}/{model.name}: {note}" for note in fit.check(task, model, folder)]
    return []


def _check_imports(model: str, path: Path, tree: ast.Module) -> None:
    """Raise HarnessError for a native module's imports of files beside it, which do not travel with the checkpoint."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += ["." * node.level + (node.module or "")] if isinstance(node, ast.ImportFrom) else []
        for top in (name.partition(".")[0] for name in names):
            if top == "keras":
                check_keras(f"model {model}: {path}")
            if not top or (path.parent / f"{top}.py").is_file() or (path.parent / top / "__init__.py").is_file():
                problem = f"model {model}: {path} imports {top or names[0]} beside it, but travels alone"
                raise HarnessError(f"{problem}; move what it needs into it, or install that as a package")


def _check_media(task: Task, model: Model, folder: Path) -> None:
    """Raise HarnessError if a model from scratch has no processor, or images or recordings do not fit it."""
    if not task.kind.media and isinstance(model.source, Native):
        return
    split = splits.load(task, folder)
    processor = task.kind.processor(model.source, None, split.train, task.inputs)
    if task.kind.media == "audio":
        audio.check_fit(f"model {model.name}", processor, split, task)
    else:
        images.check_fit(f"model {model.name}", processor, split, task.inputs[0])


def _check_recipe(task: Task, model: Model, folder: Path) -> list[str]:
    """Return a note if the training rows are very few; HarnessError for arguments that contradict the recipe."""
    for name in model.recipe.report_to:
        check_installed(name, f"model {model.name}: Recipe(report_to=…)")
    if model.recipe.lora and (advice := missing_module("peft", '"shipbench[lora]"')):
        raise HarnessError(f"model {model.name}: Recipe(lora=…): {advice}")
    if model.recipe.loop == "keras":
        check_keras(f"model {model.name}: Recipe(loop='keras')")
    if model.recipe.trainer:
        from transformers import TrainingArguments

        arguments = [field.name for field in dataclasses.fields(TrainingArguments)]
        for name in sorted(model.recipe.trainer):
            problem = f"sets {name}, which Recipe itself sets; leave it out" if name in OWNED else ""
            if name not in arguments:
                close = get_close_matches(name, arguments, n=5, cutoff=0.5)
                problem = f"sets {name}, unknown to TrainingArguments; did you mean {' or '.join(close) or 'another'}?"
            if problem:
                raise HarnessError(f"model {model.name}: Recipe(trainer=…) {problem}")
    rows = len(splits.take_training_rows(splits.load(task, folder), model.recipe.rows, model.name))
    if model.is_used_as_is or rows >= FEW_ROWS:
        return []
    return [f"{task.name}/{model.name}: only {rows} rows to train on; its score may differ much from seed to seed"]
