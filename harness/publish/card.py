"""The model card: metadata with the `model-index`, text for people, and the `.eval_results` that the Hub reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.kinds import KINDS
from harness.publish import demo
from harness.publish.licences import hub_dataset
from harness.publish.snippets import EVIDENCE, GRAPHS, Publication, code, packages
from harness.report import sentences
from harness.report.tables import section
from harness.results.schema import Result
from harness.stats.intervals import format_bounds, format_ratio
from harness.util.text import escape_markdown
from harness.verdicts.accuracy import format_drop, interval_method, score_drop, score_interval
from harness.verdicts.speed import own_speedup
from harness.verdicts.verdict import verdict


def card(publication: Publication) -> str:
    """Return the whole card. Names and texts of others are escaped in it."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(**metadata(publication))
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(_body(publication))


def metadata(publication: Publication) -> dict[str, Any]:
    """Return the arguments of `huggingface_hub.ModelCardData`."""
    from huggingface_hub import EvalResult

    result, data, answers = publication.result, publication.data, publication.result.answers
    repo = hub_dataset(data.source, data.source_sha256)
    source = result.recipe.get("source") or {}
    licence = publication.model_licence
    bounds: dict[str, Any] = {}
    if interval := score_interval(result):
        method = interval_method(data.metric)
        bounds = {"confidence": 0.95, "low": interval.low, "high": interval.high, "interval": method}
    assert answers is not None
    evaluated = EvalResult(
        task_type=data.kind,
        task_name=result.task,
        dataset_type=repo or _hub_name(data.source),
        dataset_name=data.source,
        dataset_config=_config(data.source) if repo else None,
        dataset_revision=data.source_sha256,
        dataset_split="test",
        metric_type=data.metric,
        metric_name=f"{data.metric} on {answers.rows} rows",
        metric_value=answers.score,
        metric_args={"rows": answers.rows} | bounds,
    )
    graphs = (publication.folder / GRAPHS).exists()
    optional = {
        "license_name": _hub_name(licence.name).lower() if licence.identifier == "other" else None,
        "base_model": source["repo"] if source.get("type") == "Hub" else None,
        "datasets": [repo] if repo else None,
        "pipeline_tag": data.kind if data.kind in KINDS else None,
        "library_name": "transformers" if publication.config is not None else "onnx" if graphs else None,
    }
    return {
        "license": licence.identifier,
        "metrics": [data.metric, *answers.other_scores],
        "tags": [*(["onnx"] if graphs else []), "shipbench", result.backend],
        "model_name": publication.title,
        "eval_results": [evaluated] if answers.score is not None else None,
        **demo.space(publication),
        **{name: value for name, value in optional.items() if value is not None},
    }


def evaluation(publication: Publication) -> str:
    """Return the YAML of an `.eval_results` file; empty if the data is not a dataset of the Hub."""
    from huggingface_hub.utils._fixes import yaml_dump

    data, answers = publication.data, publication.result.answers
    repo = hub_dataset(data.source, data.source_sha256)
    if repo is None or answers is None or answers.score is None:
        return ""
    entry: dict[str, Any] = {
        # The Hub wants the name of a task in the dataset's `eval.yaml`; in a benchmark that is the subset's name.
        "dataset": {"id": repo, "task_id": _config(data.source) or "default", "revision": data.source_sha256},
        "value": answers.score,
        "date": publication.result.created,
        "notes": f"{_score(publication)}; {data.source}, by shipbench",
    }
    if publication.repo:
        from huggingface_hub import constants

        url = f"{constants.ENDPOINT}/{publication.repo}/tree/main/{EVIDENCE}"
        entry["source"] = {"url": url, "name": "Rows, samples and verdicts"}
    return str(yaml_dump([entry], sort_keys=False))


def _hub_name(text: str) -> str:
    """Return the text as a name for the Hub, which refuses an upload with any other character."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-") or "unknown"


def _config(source: str) -> str | None:
    """Return the subset of a Hub dataset that has several."""
    return source.partition(" ")[2] or None


def _score(publication: Publication) -> str:
    """Return the score, its interval and the number of rows."""
    metric, answers, interval = publication.data.metric, publication.result.answers, score_interval(publication.result)
    assert answers is not None
    if answers.score is None:
        return f"{metric} is undefined on these {answers.rows} test rows"
    bounds = "(without an interval)"
    if interval:
        bounds = f"{format_bounds(interval.low, interval.high, 4)}, 95 % interval,"
    return f"{metric} {answers.score:.4f} {bounds} on {answers.rows} test rows"


def _body(publication: Publication) -> Iterator[str]:
    result, data = publication.result, publication.data
    yield f"# {publication.title}\n"
    yield (
        f"{escape_markdown(data.kind)} with the backend **{result.backend}** on {result.device}: "
        f"{escape_markdown(_score(publication))}. All figures below were measured by shipbench; the evidence is in "
        f"[{EVIDENCE}/]({EVIDENCE}/{Path(result.name).name}.json).\n"
    )
    yield f"## Load it\n\n`pip install {packages(publication)}`\n\n```python\n{code(publication)}\n```\n"
    usage = publication.usage
    if usage is None:
        yield f"The suite that declares {escape_markdown(data.kind)} says what its inputs and outputs are.\n"
    elif usage.text and "max_length" not in result.recipe:
        yield "The number of tokens at which texts were cut is unknown; it may differ from the tokenizer's own limit.\n"
    if demo.space(publication):
        yield (
            f"## Try it\n\n`pip install -r {demo.REQUIREMENTS}`, then `python {demo.APP}`: a local page that asks this "
            "model and PyTorch, and shows both answers and times. The folder also runs as a Space, unchanged.\n"
        )
    yield "## What was measured\n\n| | |\n| --- | --- |"
    for name, value in _facts(publication):
        yield f"| {name} | {escape_markdown(value)} |"
    yield f"\n{section(publication.comparison)}"
    yield "## Licences\n"
    yield f"- Base model, {escape_markdown(_base_model(result))}: {escape_markdown(str(publication.model_licence))}."
    yield f"- Data, {escape_markdown(data.source)}: {escape_markdown(str(publication.data_licence))}."
    yield "\nThe metadata above names the base model's licence. The publisher decides the terms of this folder.\n"


def _facts(publication: Publication) -> Iterator[tuple[str, str]]:
    result, data, judged = publication.result, publication.data, verdict(publication.result)
    columns = f", columns {', '.join(data.inputs)}" if data.inputs else ""
    yield "task", f"{result.task}, {data.kind}{columns}"
    yield "data", data.source
    yield "data revision", data.source_sha256
    sizes = ", ".join(f"{name} {size:,}" for name, size in data.sizes.items())
    yield "rows", f"{sizes}; test rows have sha256 {data.sha256.get('test', 'unknown')}"
    if data.labels:
        yield "labels", ", ".join(data.labels)
    yield "score", _score(publication)
    if score_interval(result) is not None:
        yield "interval", interval_method(data.metric)
    drop = score_drop(result)
    if drop is not None and judged is not None:
        yield "against PyTorch on the same rows", f"{data.metric} {format_drop(drop)}"
    if result.series and judged is not None:
        batch = result.series[0].workload.batch
        yield f"speed-up over PyTorch, batch {batch}", format_ratio(own_speedup(result.series[0]))
    yield "verdict", f"{judged.word}: {'; '.join(judged.reasons)}" if judged else "reference"
    options = result.process.settings.get("options") if result.process else None
    if options:
        yield "measured with", f"{options}; the lines that load it use the defaults"
    yield "environment", sentences.origin(result.environment)
    yield "measured", result.created


def _base_model(result: Result) -> str:
    source = result.recipe.get("source") or {}
    match source.get("type"):
        case "Package":
            return f"{source['distribution']}: {source['path']}"
        case "Hub":
            return f"{source['repo']} at {source.get('revision') or result.recipe.get('source_content')}"
        case "Native" | "Scratch":
            return "none (trained from random weights)"
    return "a local folder"
