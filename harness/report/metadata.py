"""What the Hub reads of a published model: the card's metadata with its `model-index`, and `.eval_results`."""

from __future__ import annotations

import re
from typing import Any

from harness.accuracy.loss import interval_method, score_interval
from harness.backends.usage import GRAPHS
from harness.origins.licences import hub_dataset
from harness.report import demo
from harness.report.instructions import EVIDENCE, KINDS, Subject, is_transformers
from harness.statistics.stats import Interval
from harness.verdicts.phrases import ends


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
