"""Write a suite for a model and a data set: guess what is not given, say why, and check that the suite can run."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import MISSING, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harness.backends import PYTORCH
from harness.commands.collection import stderr_progress
from harness.contracts.kind import Kind
from harness.contracts.sources import Folder, Hub, Local, Native
from harness.data import hub, inspection, layout, sources, splits
from harness.errors import HarnessError
from harness.evaluation.score import unseen_change
from harness.kinds import KINDS
from harness.metrics import in_points, less_is_better
from harness.metrics.entities import is_outside
from harness.pytest_plugin.preflight import check_cases
from harness.spec import SETTINGS, Case, Gate, Model, Recipe, Task
from harness.stats.intervals import rare_event_bound, smallest_margin
from harness.training.folder_checks import heads
from harness.util.console import quiet
from harness.util.files import write_atomically

DROPS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)  # of max_drop, to choose from
METRICS = {"chrf": "suits every script and length", "word-accuracy": "suits tags without O"}
"""Metric that is not its kind's usual one → its advantage."""
EPOCHS, LENGTH, PROMPT, NEW_TOKENS = 3, 128, 1024, 32
FINISHED = ("feature-extraction", "language-modeling")  # kinds that need no head of their own
PERPLEXITY = 500.0  # half of the placeholder for the largest, as no row says what may be expected
SLUG = re.compile(r"[^A-Za-z0-9_-]+").sub
SUITE = '''"""{name}: {kind}, written by shipbench new."""

import pytest

from harness import {imports}

TASK = Task(
    {task},
)
# {placeholder}
MODELS = {{{model}: {gate}}}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_{function}(case, bench):
    bench(case)
'''


def declare_new(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench new`."""
    add = parser.add_argument
    add("--model", required=True, help="folder that save_pretrained wrote, owner/name of the Hub, or file.py:Class")
    add("--data", required=True, help="file or folder of rows or images, or owner/name[:config] of the Hub")
    add("--kind", choices=KINDS, metavar="KIND", help=f"kind of the task: {', '.join(KINDS)}")
    add("--inputs", nargs="+", default=(), metavar="COLUMN", help="columns that the model is given")
    add("--label", nargs="+", metavar="COLUMN", help="column with the expected answer; or one of 0 and 1 a label")
    add("--labels", nargs="+", default=(), metavar="NAME", help="the data's names for the model's labels, in its order")
    add("--metric", help="metric that the gate is about")
    for name in SETTINGS:
        add(f"--{name}", nargs="+" if name == "order" else None, help=f"as in Task({name}=…)")
    add("--epochs", type=int, metavar="N", help="fine-tune the model, as in Recipe(epochs=…); 0 uses it as it is")
    add("--max-length", type=int, metavar="N", help="longest text in tokens, as in Model(max_length=…)")
    add("--new-tokens", type=int, metavar="N", help="tokens to write after a prompt, as in Model(new_tokens=…)")
    add("--encoding", help="encoding of text files, as in Folder(encoding=…)")
    add("--quotes", choices=("yes", "no"), help="whether quotation marks enclose cells, as in Folder(quotes=…)")
    add("--splits", nargs="+", default=(), metavar="PART=SPLIT", help="of the Hub: train=train test=validation")
    add("--name", help="name of the task (default: that of the data)")
    add("--out", type=Path, metavar="FILE", help="write the suite to FILE (default: test_NAME.py)")
    add("--run", dest="runs_suite", action="store_true", help="run the suite at once")


def run_new(options: Namespace) -> int:
    """Write the suite, print what was decided and how to run it; with --run, run it and return pytest's status."""
    name = options.name or SLUG("-", layout.stem_of(Path(options.data).resolve())).strip("-_") or "task"
    out = options.out or Path(f"test_{name.replace('-', '_')}.py")
    if out.exists() or not out.parent.is_dir():
        problem = "exists and is not overwritten" if out.exists() else "lies in a folder that does not exist"
        raise HarnessError(f"{out} {problem}; name another file with --out")
    if options.label:
        options.label = options.label[0] if len(options.label) == 1 else tuple(options.label)
    why: list[str] = []
    try:
        with quiet():
            case = _draft(options, name, out.parent, why)
        notes = check_cases([(case, out.parent)], stderr_progress(), {})
    except HarnessError as error:
        flags = [f"--{name.replace('_', '-')}" for name in vars(options) if f"{name}=" in str(error)]
        flags += [
            f"--{n}" for n in ("data", "model", "name", "label") if str(getattr(options, n) or "\0") in str(error)
        ]
        advice = f"\n(flags for this: {', '.join(dict.fromkeys(flags))})" if flags and "--" not in str(error) else ""
        raise HarnessError(f"{error}{advice}") from error
    write_atomically(out, _suite(case).encode())
    print(f"{out} is written. Guessed or chosen:", *why, *(f"note: {note}" for note in notes), sep="\n  ")
    command = ["pytest", *(["--ship-hub"] if case.reads_hub else []), str(out)]
    print(f"Run it: {' '.join(command)}", flush=True)
    return subprocess.run([sys.executable, "-m", *command], check=False).returncode if options.runs_suite else 0


def _draft(options: Namespace, name: str, folder: Path, why: list[str]) -> Case:
    """Return the reference's case of a suite in `folder`; add a line to `why` for each choice that no flag made."""
    file, _, model_name = options.model.rpartition(":")
    is_native = file.endswith(".py")
    place = _locate(file if is_native else options.model, "--model", folder)
    source = Native(f"{place}:{model_name}") if is_native else place if isinstance(place, Hub) else Local(place)
    place, chosen = _locate(options.data, "--data", folder), dict(pair.partition("=")[::2] for pair in options.splits)
    text: Any = {"encoding": options.encoding, "quotes": {"yes": True, "no": False}.get(options.quotes)}
    dataset = replace(place, splits=chosen) if isinstance(place, Hub) else Folder(place, **text)
    inputs, label = tuple(options.inputs), options.label
    names = (*inputs, *(label if isinstance(label, tuple) else (label,))) if inputs and label else ()
    columns = inspection.read_columns(dataset, folder, names, label)
    pretrained = sources.pretrained(source, folder)
    own, config, kinds = heads(pretrained) if pretrained else ([], None, [])
    kind = KINDS[options.kind] if options.kind else _guess_kind(options, config, kinds, columns, why)
    epochs = options.epochs
    if epochs is None:
        epochs = 0 if kind.name in (*kinds, *FINISHED) else EPOCHS
        why.append(f"--epochs {epochs}: the model is {'fine-tuned first' if epochs else 'used as it is'}")
    answers = options.labels or own if not epochs and kind.counts_labels and kind.has_head_of_labels else []
    inputs, label, labels = inspection.guess(kind, columns, answers, inputs, label, why)
    if labels and not options.labels:
        why.append(f"--labels {' '.join(labels)}: the data's names for the model's {', '.join(own)}")
    tags = [tag for column in columns if column.name == label for tag in column.distinct]
    is_bare = kind.label == "each" and not any(map(is_outside, tags))  # tags of speech, for instance
    metric = options.metric or kind.metrics[1 if is_bare or "chrf" in kind.metrics else 0]
    if not options.metric:
        why.append(f"--metric {metric}: of {', '.join(kind.metrics)} the one that {METRICS.get(metric, 'is usual')}")
    settings: Any = {n: tuple(v) if n == "order" else v for n in SETTINGS if (v := getattr(options, n))}
    if kind.media == "audio" and pretrained:
        settings["rate"] = kind.load_processor(pretrained).sampling_rate
        why.append(f"rate={settings['rate']}: what the model reads; recordings of another rate are resampled to it")
    task = Task(name=name, kind=kind, dataset=dataset, inputs=inputs, label=label, metric=metric, **settings)
    recipe = Recipe(epochs=epochs) if config else Recipe(epochs=epochs, loop="native", learning_rate=1e-3)
    # Some models leave two of their positions out.
    new_tokens = options.new_tokens or (NEW_TOKENS if kind.continues else None)
    longest = PROMPT if kind.continues else LENGTH
    positions = (getattr(config, "max_position_embeddings", None) or 512) - 2 - (new_tokens or 0)
    length = options.max_length or min(longest, positions)
    if not kind.media and len(kind.axes) > 1 and not options.max_length:
        why.append(f"--max-length {length}: longer {'prompts are refused' if kind.continues else 'texts are cut'}")
    if new_tokens != options.new_tokens:
        why.append(f"--new-tokens {new_tokens}: every answer is so long")
    labels, model_name = labels or tuple(options.labels), SLUG("-", Path(model_name).resolve().name).strip("-_")
    settings = {"max_length": length, "new_tokens": new_tokens, "labels": labels}
    model = Model(name=model_name or "mine", source=source, recipe=recipe, **settings)
    gate = _gate(task, splits.load(task, folder), why)
    return Case(task=task, model=model, backend=PYTORCH, device="cpu", gate=gate)


def _gate(task: Task, split: splits.Split, why: list[str]) -> Gate:
    """Return a gate whose limit of the score is a placeholder, and whose max_drop the test rows can prove."""
    rows, scale = len(split.test), 1.0
    if in_points(task.metric):
        margin, provided = smallest_margin(math.ceil(rows / 100), rows), "even if one answer in a hundred changes"
    else:
        truths = split.test["label"][:] if task.label else []
        scale = PERPLEXITY if not truths else 1.0
        if task.kind.label == "number" and less_is_better(task.metric):
            scale = max(truths) - min(truths)
        margin, provided = scale / 100, ""
        if truths:
            margin = 2 * unseen_change(split.metrics[task.metric], truths, truths, rare_event_bound(0, rows))
            provided = "with room for as much again as they leave unseen"
    drop = float(f"{scale * next((drop for drop in DROPS if margin < scale * drop), DROPS[-1]):.3g}")
    bound: Any = {"max_score": float(f"{2 * scale:.3g}")} if less_is_better(task.metric) else {"min_score": 0.0}
    gate = Gate(**bound, max_drop=drop)
    change = "lower" if gate.max_score is not None else "raise"
    limit, sort = ("min_score=0.0", "score") if in_points(task.metric) else (gate.limit, "sound score")
    why.append(f"{limit}: a placeholder, which every {sort} reaches; {change} it in the suite")
    reason = f"the smallest round one that {rows:,} test rows prove {provided}" if provided else "a placeholder, too"
    why.append(f"max_drop={drop:g}: {reason}")
    return gate


def _locate(text: str, flag: str, folder: Path) -> Any:
    """Return a path relative to the suite's folder, or a repository of the Hub at its newest commit."""
    path, name = Path(text), re.fullmatch(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?", text)
    if path.exists():
        return Path(os.path.relpath(path, folder)).as_posix()
    if name and not path.parent.exists():
        return hub.pin(Hub(name[1], name[2]), "model" if flag == "--model" else "dataset")
    close = get_close_matches(path.name, [other.name for other in path.parent.glob("*")], n=1)
    hint = f"; did you mean {path.parent / close[0]}?" if close else ""
    raise HarnessError(f"{flag} {text}: no such file or folder; give a path, or owner/name of the Hub{hint}")


def _guess_kind(
    options: Namespace, config: Any, heads: list[str], columns: list[inspection.Column], why: list[str]
) -> Kind:
    """Return the kind that the model's head or, without one, the data suits; a head of words gives way to labels."""
    reason = f"the model is {next(iter(getattr(config, 'architectures', None) or ()), 'without a head')}"
    if heads == ["fill-mask"] and any(column.is_label or column.sort == "answers" for column in columns):
        heads, reason = [], f"{reason}, and the data has labels"
    if len(heads) > 1:
        raise HarnessError(f"{reason}, for {' or '.join(heads)}; name the kind with --kind")
    kind = KINDS[heads[0]] if heads else inspection.guess_kind(columns, tuple(options.inputs), options.label)
    why.append(f"--kind {kind.name}: {reason}{'' if heads else '; the data suits this kind'}")
    return kind


def _suite(case: Case) -> str:
    task, model, classes = case.task, case.model, {Gate, Model, Task, type(case.task.dataset), type(case.model.source)}
    names = sorted(cls.__name__ for cls in classes | ({Recipe} if not model.is_used_as_is else set()))
    own = {"name": task.name, "kind": task.kind.name, "function": task.name.replace("-", "_")}
    imports, arguments = ", ".join([*names, "cases"]), ",\n    ".join(_arguments(task))
    is_upper = case.gate is not None and case.gate.max_score is not None
    limit, change = (case.gate.limit, "lower") if case.gate and is_upper else ("min_score=0.0", "raise")
    sort = "sound score" if is_upper or not in_points(task.metric) else "score"
    own["placeholder"] = f"Every {sort} reaches {limit}: {change} it to the score that the model must keep."
    return SUITE.format(**own, imports=imports, task=arguments, model=_code(model), gate=_code(case.gate))


def _arguments(value: Any) -> list[str]:
    """Return the arguments of a declaration that are not the default, as code."""
    given = [(field, own) for field in fields(value) if (own := getattr(value, field.name)) != field.default]
    given = [(field, own) for field, own in given if own or field.default_factory is MISSING]
    return [f"{f'{field.name}=' if field.kw_only else ''}{_code(own)}" for field, own in given]


def _code(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_code, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, str | Kind):
        return json.dumps(getattr(value, "name", value), ensure_ascii=False)
    return f"{type(value).__name__}({', '.join(_arguments(value))})" if is_dataclass(value) else repr(value)
