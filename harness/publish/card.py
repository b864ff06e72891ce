"""What the Hub reads of a published model: the card's metadata with its `model-index`, and `.eval_results`.

ALSO: A published model's card: what it is, what it scores and how sure that is, how it is loaded, and whose it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.publish import demo
from harness.publish.licences import hub_dataset
from harness.publish.snippets import (
    EVIDENCE,
    GRAPHS,
    KINDS,
    USAGE,
    Subject,
    code,
    is_transformers,
    knows_length,
    packages,
)
from harness.report import sentences
from harness.report.tables import section
from harness.results.schema import Result
from harness.stats.intervals import Interval, ends, points, times
from harness.util.text import escape_markdown
from harness.verdicts.accuracy import drop, interval_method, score_interval
from harness.verdicts.speed import own_speedup
from harness.verdicts.verdict import verdict


def metadata(subject: Subject) -> dict[str, Any]:
    """Arguments of `huggingface_hub.ModelCardData`."""
    from huggingface_hub import EvalResult

    result, data, answers = subject.result, subject.data, subject.result.answers
    repo = hub_dataset(data.source, data.source_sha256)
    source = result.recipe.get("source") or {}
    licence = subject.model_licence
    known = score_interval(result)
    method = interval_method(data.metric)
    bounds = {"confidence": 0.95, "low": known.low, "high": known.high, "interval": method} if known else {}
    assert answers is not None
    found = EvalResult(
        task_type=data.kind,
        task_name=result.task,
        dataset_type=repo or _word(data.source),
        dataset_name=data.source,
        dataset_config=_config(data.source) if repo else None,
        dataset_revision=data.source_sha256,
        dataset_split="test",
        metric_type=data.metric,
        metric_name=f"{data.metric} on {answers.rows} rows",
        metric_value=answers.score,
        metric_args={"rows": answers.rows} | bounds,
    )
    graphs = (subject.folder / GRAPHS).exists()
    optional = {
        "license_name": _word(licence.name).lower() if licence.identifier == "other" else None,
        "base_model": source["repo"] if source.get("type") == "Hub" else None,
        "datasets": [repo] if repo else None,
        "pipeline_tag": data.kind if data.kind in KINDS else None,
        "library_name": "transformers" if is_transformers(subject) else "onnx" if graphs else None,
    }
    return {
        "license": licence.identifier,
        "metrics": [data.metric, *answers.others],
        "tags": [*(["onnx"] if graphs else []), "shipbench", result.backend],
        "model_name": f"{result.model} for {result.task}",
        "eval_results": [found] if answers.score is not None else None,
        **demo.space(subject),
        **{name: value for name, value in optional.items() if value is not None},
    }


def evaluation(subject: Subject) -> str:
    """What the Hub reads as an evaluation's result, of `.eval_results/`; empty where its data is not the Hub's."""
    from huggingface_hub.utils._fixes import yaml_dump

    data, answers = subject.data, subject.result.answers
    repo = hub_dataset(data.source, data.source_sha256)
    if repo is None or answers is None or answers.score is None:
        return ""
    entry: dict[str, Any] = {
        # The Hub wants a task's name of the dataset's `eval.yaml`, where it is a benchmark; there, it is the subset's.
        "dataset": {"id": repo, "task_id": _config(data.source) or "default", "revision": data.source_sha256},
        "value": answers.score,
        "date": subject.result.created,
        "notes": f"{told(subject)}; {data.source}, by shipbench",
    }
    if subject.repo:
        from huggingface_hub import constants

        url = f"{constants.ENDPOINT}/{subject.repo}/tree/main/{EVIDENCE}"
        entry["source"] = {"url": url, "name": "Rows, samples and verdicts"}
    return str(yaml_dump([entry], sort_keys=False))


def _word(text: str) -> str:
    """The text in what the Hub takes for a name: where there is another character, it refuses the whole upload."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-") or "unknown"


def _config(source: str) -> str | None:
    """Of a dataset of the Hub that comes in several."""
    return source.partition(" ")[2] or None


def told(subject: Subject) -> str:
    """The score, how sure it is, and of how many rows."""
    answers, known = subject.result.answers, score_interval(subject.result)
    assert answers is not None
    if answers.score is None:
        return f"{subject.data.metric} is undefined on these {answers.rows} test rows"
    return f"{subject.data.metric} {answers.score:.4f}{_sure(known)} on {answers.rows} test rows"


def _sure(known: Interval | None) -> str:
    return f" {ends(known.low, known.high, 4)}, 95 % interval," if known else " (no interval is on record)"


def card(subject: Subject) -> str:
    """The whole card: metadata, then text in which nothing of others is live."""
    from huggingface_hub import ModelCardData

    known = ModelCardData(**metadata(subject))
    return f"---\n{known.to_yaml()}\n---\n\n" + "\n".join(_body(subject))


def _body(subject: Subject) -> Iterator[str]:
    result, data = subject.result, subject.data
    yield f"# {result.model} for {result.task}\n"
    yield (
        f"{escape_markdown(data.kind)}, as backend **{result.backend}** on {result.device}: {escape_markdown(told(subject))}. "
        "Everything below was measured by shipbench, and its evidence lies in "
        f"[{EVIDENCE}/]({EVIDENCE}/{Path(result.name).name}.json).\n"
    )
    yield f"## Load it\n\nIt needs `pip install {packages(subject)}`.\n"
    yield f"```python\n{code(subject)}\n```\n"
    yield from _notes(subject)
    if demo.space(subject):
        yield (
            f"## Try it\n\n`pip install -r {demo.REQUIREMENTS}`, then `python {demo.APP}`: a page on this machine that "
            "asks it beside PyTorch, and shows both answers and times. As a Space, this folder runs as it is.\n"
        )
    yield "## What was measured\n"
    yield "| | |\n| --- | --- |"
    for name, value in _facts(subject):
        yield f"| {name} | {escape_markdown(value)} |"
    yield f"\n{section(subject.group)}"
    yield "## Licences\n"
    yield f"- Base model, {escape_markdown(_origin(result))}: {escape_markdown(str(subject.model_licence))}."
    yield f"- Data, {escape_markdown(data.source)}: {escape_markdown(str(subject.data_licence))}."
    yield (
        "\nThe metadata above names the base model's licence. What else holds for this folder is its publisher's to "
        "say.\n"
    )


def _notes(subject: Subject) -> Iterator[str]:
    known = KINDS.get(subject.data.kind)
    if known is None:
        yield f"What goes in and comes out, the suite that declares {escape_markdown(subject.data.kind)} says.\n"
    elif not knows_length(subject) and USAGE[known.name].text:
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
    yield "score", told(subject)
    if score_interval(result) is not None:
        yield "its interval", interval_method(data.metric)
    lost = drop(result)
    if lost is not None and said is not None:
        yield "lost against PyTorch on the same rows", points(lost)
    if result.series and said is not None:
        batch = result.series[0].workload.batch
        yield f"speed against PyTorch, batch {batch}", times(own_speedup(result.series[0]))
    yield "verdict", f"{said.word}: {'; '.join(said.reasons)}" if said else "reference"
    options = result.process.settings.get("options") if result.process else None
    if options:
        yield "measured with", f"{options}, where the lines that load it leave the defaults"
    yield "environment", sentences.origin(result.environment)
    yield "measured", result.created


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
