"""A published model's card: what it is, what it scores and how sure that is, how it is loaded, and whose it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import checkpoint, kinds
from harness.backends.usage import loading
from harness.judge import verdict
from harness.kinds.usage import USAGE
from harness.licences import Licence, hub_dataset
from harness.loss import loss, score_interval
from harness.phrases import ends, points, times
from harness.report import cells, sentences
from harness.report.tables import section
from harness.schema import Data, Result
from harness.speed import own_speedup
from harness.stats import Interval

KINDS = {kind.name: kind for kind in (getattr(kinds, name) for name in kinds.__all__)}
CARD = "README.md"
EVIDENCE = "shipbench"
"""Sub-folder with the results that the card is made of."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a card is of."""

    result: Result
    group: list[Result]
    """Its comparison."""
    folder: Path
    """With the model's files."""
    called: str
    """What the folder is called where it will lie."""
    repo: str | None
    """`owner/name` on the Hub, if it goes there."""
    model_licence: Licence
    data_licence: Licence

    @property
    def data(self) -> Data:
        """The task's rows; a measured case has them."""
        assert self.result.data is not None
        return self.result.data


def card(subject: Subject) -> str:
    """The whole card: metadata, then text in which nothing of others is live."""
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(**_metadata(subject), ignore_metadata_errors=False)
    return f"---\n{metadata.to_yaml()}\n---\n\n" + "\n".join(_body(subject))


def code(subject: Subject) -> str:
    """How the model is loaded and asked."""
    data, kind = subject.data, KINDS.get(subject.data.kind)
    usage = USAGE.get(data.kind)
    known = json.loads((subject.folder / "config.json").read_text()) if _is_transformers(subject) else {}
    auto = kind.auto_class if kind else known.get("architectures", [""])[0]
    found = loading(subject.folder, auto)
    native = checkpoint.is_native(subject.folder)
    if subject.repo and (native or "path}" in "".join(found.lines)):
        path = ["from huggingface_hub import snapshot_download"], f'path = snapshot_download("{subject.repo}")'
    else:
        path = [], f"path = {json.dumps(subject.repo or subject.called)}"
    comment = "" if subject.repo else "  # where this folder is"
    cut = f", truncation=True, max_length={subject.result.recipe['max_length']}" if _max_length(subject) else ""
    processor = _processor(subject) if usage else None
    names = _names(subject, known)
    lines = [
        *found.imports,
        *path[0],
        *([f"from transformers import {processor}"] if processor else []),
        "",
        f"{path[1]}{comment}",
        *([f"processor = {processor}.from_pretrained(path{usage.loading})"] if processor and usage else []),
        *found.lines,
    ]
    if usage and processor:
        if names != "model.config.id2label":
            lines.append(f"labels = {names}")
            names = "labels"
        asked = usage.answer.format(
            tensors=found.tensors, logits=found.logits, labels=names, cut=cut or ", truncation=True"
        )
        lines += ["", "", asked.rstrip()]
    return "\n".join(lines)


def evaluation(subject: Subject) -> str:
    """What the Hub reads as an evaluation's result, of `.eval_results/`; empty where its data is not the Hub's."""
    from huggingface_hub.utils._fixes import yaml_dump

    data, answers = subject.data, subject.result.answers
    repo = hub_dataset(data.source, data.source_sha256)
    if repo is None or answers is None or answers.score is None:
        return ""
    entry: dict[str, Any] = {
        "dataset": {"id": repo, "revision": data.source_sha256},
        "value": answers.score,
        "date": subject.result.created,
        "notes": f"{_told(subject)}; {data.source}, by shipbench",
    }
    if subject.repo:
        from huggingface_hub import constants

        url = f"{constants.ENDPOINT}/{subject.repo}/tree/main/{EVIDENCE}"
        entry["source"] = {"url": url, "name": "Rows, samples and verdicts"}
    return str(yaml_dump([entry], sort_keys=False))


def _metadata(subject: Subject) -> dict[str, Any]:
    from huggingface_hub import EvalResult

    result, data, answers = subject.result, subject.data, subject.result.answers
    repo = hub_dataset(data.source, data.source_sha256)
    source = result.recipe.get("source") or {}
    licence = subject.model_licence
    known = score_interval(result)
    bounds = {"confidence": 0.95, "low": known.low, "high": known.high} if known else {}
    assert answers is not None
    found = EvalResult(
        task_type=data.kind,
        task_name=result.task,
        dataset_type=repo or data.source,
        dataset_name=result.task,
        dataset_revision=data.source_sha256,
        dataset_split="test",
        metric_type=data.metric,
        metric_name=f"{data.metric} on {answers.rows} rows",
        metric_value=answers.score,
        metric_args={"rows": answers.rows} | bounds,
    )
    graphs = (subject.folder / "onnx").exists()
    optional = {
        "license_name": cells.plain(licence.name) if licence.identifier == "other" else None,
        "base_model": source["repo"] if source.get("type") == "Hub" else None,
        "datasets": [repo] if repo else None,
        "pipeline_tag": data.kind if data.kind in KINDS else None,
        "library_name": "transformers" if _is_transformers(subject) else "onnx" if graphs else None,
    }
    return {
        "license": licence.identifier,
        "metrics": [data.metric, *answers.others],
        "tags": [*(["onnx"] if graphs else []), "shipbench", result.backend],
        "model_name": f"{result.model} for {result.task}",
        "eval_results": [found],
        **{name: value for name, value in optional.items() if value is not None},
    }


def _body(subject: Subject) -> Iterator[str]:
    result, data = subject.result, subject.data
    yield f"# {result.model} for {result.task}\n"
    yield (
        f"{_quoted(data.kind)}, as backend **{result.backend}** on {result.device}: {_quoted(_told(subject))}. "
        "Everything below was measured by shipbench, and its evidence lies in "
        f"[{EVIDENCE}/]({EVIDENCE}/{Path(result.name).name}.json).\n"
    )
    yield "## Load it\n"
    yield f"```python\n{code(subject)}\n```\n"
    yield from _notes(subject)
    yield "## What was measured\n"
    yield "| | |\n| --- | --- |"
    for name, value in _facts(subject):
        yield f"| {name} | {_quoted(value)} |"
    yield f"\n{section(subject.group)}"
    yield "## Licences\n"
    yield f"- Base model, {_quoted(_origin(result))}: {_quoted(str(subject.model_licence))}."
    yield f"- Data, {_quoted(data.source)}: {_quoted(str(subject.data_licence))}."
    yield (
        "\nThe metadata above names the base model's licence. What else holds for this folder is its publisher's to "
        "say.\n"
    )


def _notes(subject: Subject) -> Iterator[str]:
    known = KINDS.get(subject.data.kind)
    if known is None:
        yield f"What goes in and comes out, the suite that declares {_quoted(subject.data.kind)} says.\n"
    elif not _max_length(subject) and USAGE[known.name].text:
        yield "At how many tokens texts were cut is not on record: the tokenizer's own limit need not be that.\n"


def _facts(subject: Subject) -> Iterator[tuple[str, str]]:
    result, data, said = subject.result, subject.data, verdict(subject.result)
    of = f", columns {', '.join(data.inputs)}" if data.inputs else ""
    yield "task", f"{result.task}, {data.kind}{of}"
    yield "data", data.source
    yield "its revision", data.source_sha256
    sizes = ", ".join(f"{name} {size:,}" for name, size in data.sizes.items())
    yield "rows", f"{sizes}; test rows have sha256 {data.sha256.get('test', 'unknown')}"
    if data.labels:
        yield "labels", ", ".join(data.labels)
    yield "score", _told(subject)
    lost = loss(result)
    if lost is not None and said is not None:
        yield "lost against PyTorch on the same rows", points(lost)
    if result.series and said is not None:
        batch = result.series[0].workload.batch
        yield f"speed against PyTorch, batch {batch}", times(own_speedup(result.series[0]))
    yield "verdict", f"{said.word}: {'; '.join(said.reasons)}" if said else "reference"
    yield "environment", sentences.origin(result.environment)
    yield "measured", result.created


def _told(subject: Subject) -> str:
    """The score, how sure it is, and of how many rows."""
    answers, known = subject.result.answers, score_interval(subject.result)
    assert answers is not None
    if answers.score is None:
        return f"{subject.data.metric} is undefined on these {answers.rows} test rows"
    return f"{subject.data.metric} {answers.score:.4f}{_sure(known)} on {answers.rows} test rows"


def _sure(known: Interval | None) -> str:
    return f" {ends(known.low, known.high, 4)}, 95 % interval," if known else " (no interval is on record)"


def _origin(result: Result) -> str:
    source = result.recipe.get("source") or {}
    match source.get("type"):
        case "Package":
            return f"{source['distribution']}: {source['path']}"
        case "Hub":
            return f"{source['repo']} at {source.get('revision') or result.recipe.get('source_content')}"
        case "Native" | "Scratch":
            return "none, trained from random weights"
    return "a folder of its author's own"


def _is_transformers(subject: Subject) -> bool:
    return (subject.folder / "config.json").exists()


def _max_length(subject: Subject) -> bool:
    return "max_length" in subject.result.recipe


def _processor(subject: Subject) -> str:
    """Class that loads what comes before the model."""
    if USAGE[subject.data.kind].text:
        return "AutoTokenizer"
    # By name, since AutoImageProcessor insists on torchvision's variants where they exist.
    return str(json.loads((subject.folder / "preprocessor_config.json").read_text())["image_processor_type"])


def _names(subject: Subject, config: dict[str, Any]) -> str:
    """Expression for the names of labels by index: the model's own, where the task calls them the same."""
    labels, made = subject.data.labels, subject.result.checkpoint
    order = (made.info if made else {}).get("order") or list(range(len(labels)))
    told = [labels[index] if 0 <= index < len(labels) else None for index in order]
    own = [name for _, name in sorted((int(at), name) for at, name in config.get("id2label", {}).items())]
    return "model.config.id2label" if not labels or own == told else json.dumps(told).replace("null", "None")


def _quoted(text: str) -> str:
    return cells.quoted(text)
