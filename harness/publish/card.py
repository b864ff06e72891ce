"""The model card: metadata with the `model-index`, text for people, licences, and the `.eval_results` of the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import metadata as metadata_of
from pathlib import Path
from string import Template
from typing import Any, Literal, NamedTuple

from harness.contracts.sources import COMMIT
from harness.kinds import KINDS
from harness.metrics import in_points
from harness.publish import demo
from harness.publish.publication import ASSETS, EVIDENCE, GRAPHS, Publication
from harness.publish.snippets import code, packages
from harness.report import sentences
from harness.report.documents import section
from harness.stats.intervals import format_bounds, lead_with_bound
from harness.util.text import escape_markdown
from harness.verdicts.accuracy import format_drop, interval_method, score_drop, score_interval
from harness.verdicts.speed import own_speedup
from harness.verdicts.verdict import verdict

UNKNOWN = "unknown"

LONGEST_NAME = 60
"""Characters. Old packages put the licence's whole text in place of its name."""

NOT_STATED = ("", UNKNOWN, "none", "other", "n/a")

IDENTIFIERS = {
    **{name: name for name in (
        "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
        "mpl-2.0", "unlicense",
    )},
    **dict.fromkeys(("apache 2.0", "apache license 2.0", "apache software license"), "apache-2.0"),
    **dict.fromkeys(("gpl-3.0-only", "gpl-3.0-or-later"), "gpl-3.0"),
    "mit license": "mit", "lgpl-3.0-only": "lgpl-3.0",
}  # fmt: skip
"""A package's name for the licence, in lower case → the Hub's identifier."""


class Licence(NamedTuple):
    """A stated licence, or `unknown`."""

    name: str
    source: str
    """The place that states it, or the reason why it is unknown."""

    @property
    def identifier(self) -> str:
        """Return the Hub's identifier: `unknown` for an unknown licence, `other` for one that the Hub does not list."""
        return UNKNOWN if self.name == UNKNOWN else IDENTIFIERS.get(self.name.lower(), "other")

    def __str__(self) -> str:
        return f"{self.name} ({self.source})"


def card(publication: Publication) -> str:
    """Return the whole card. Names and texts of others are escaped in it."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(**_metadata(publication))
    return f"---\n{data.to_yaml()}\n---\n\n" + _body(publication)


def _metadata(publication: Publication) -> dict[str, Any]:
    """Return the arguments of `huggingface_hub.ModelCardData`, which leaves None out."""
    from huggingface_hub import EvalResult

    result, data, answers = publication.result, publication.data, publication.result.answers
    repo, subset = _hub_dataset(data.source, data.source_sha256)
    source, kind = result.recipe.get("source") or {}, KINDS.get(data.kind)
    # The Hub names tasks as exporters do, but for texts that are written from texts.
    exported = kind.export.removesuffix("-with-past") if kind else ""
    hub_task = exported if exported not in ("", "text2text-generation") else data.kind
    licence = base_model(result.recipe)[1]
    assert answers is not None
    arguments: dict[str, Any] = {"rows": answers.rows}
    if interval := score_interval(result):
        arguments |= {"confidence": 0.95, "low": interval.low, "high": interval.high}
        arguments["interval"] = interval_method(data.metric)
    evaluated = EvalResult(
        task_type=hub_task,
        task_name=result.task,
        dataset_type=repo or _hub_name(data.source),
        dataset_name=data.source,
        dataset_config=subset or None,
        dataset_revision=data.source_sha256,
        dataset_split="test",
        metric_type=data.metric,
        metric_name=f"{data.read_metric} on {answers.rows} rows",
        metric_value=answers.score,
        metric_args=arguments,
    )
    graphs = (publication.folder / GRAPHS).exists()
    return {
        "license": licence.identifier,
        "license_name": _hub_name(licence.name).lower() if licence.identifier == "other" else None,
        "base_model": source["repo"] if source.get("type") == "Hub" else None,
        "datasets": [repo] if repo else None,
        "pipeline_tag": hub_task if kind else None,
        "library_name": "transformers" if publication.config is not None else "onnx" if graphs else None,
        "metrics": [data.metric, *answers.other_scores],
        "tags": [*(["onnx"] if graphs else []), "shipbench", result.backend],
        "model_name": publication.title,
        "eval_results": [evaluated] if answers.score is not None else None,
        **demo.space(publication),
    }


def evaluation(publication: Publication) -> str:
    """Return the YAML of an `.eval_results` file; empty if the data is not a dataset of the Hub."""
    from huggingface_hub import constants
    from huggingface_hub.utils._fixes import yaml_dump

    data, answers = publication.data, publication.result.answers
    repo, subset = _hub_dataset(data.source, data.source_sha256)
    if not repo or answers is None or answers.score is None:
        return ""
    entry: dict[str, Any] = {
        # The Hub wants the name of a task in the dataset's `eval.yaml`; in a benchmark that is the subset's name.
        "dataset": {"id": repo, "task_id": subset or "default", "revision": data.source_sha256},
        "value": answers.score,
        "date": publication.result.created,
        "notes": f"{_score(publication)}; {data.source}, by shipbench",
    }
    if publication.repo:
        url = f"{constants.ENDPOINT}/{publication.repo}/tree/main/{EVIDENCE}"
        entry["source"] = {"url": url, "name": "Rows, samples and verdicts"}
    return str(yaml_dump([entry], sort_keys=False))


def _hub_name(text: str) -> str:
    """Return the text as a name for the Hub, which refuses an upload with any other character."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-") or "unknown"


def _score(publication: Publication) -> str:
    """Return the score, its interval and the number of rows."""
    metric, answers, interval = (
        publication.data.read_metric,
        publication.result.answers,
        score_interval(publication.result),
    )
    assert answers is not None
    if answers.score is None:
        return f"{metric} is undefined on these {answers.rows} test rows"
    bounds = "(without an interval)"
    if interval:
        bounds = f"{format_bounds(interval.low, interval.high, 4)}, 95 % interval,"
    return f"{metric} {answers.score:.4f} {bounds} on {answers.rows} test rows"


def _body(publication: Publication) -> str:
    result, data = publication.result, publication.data
    base, base_licence = base_model(result.recipe)
    foreign = {
        "kind": data.kind,
        "score": _score(publication),
        "base": base,
        "base_licence": str(base_licence),
        "data": data.source,
        "data_licence": str(data_licence(data.source, data.source_sha256)),
    }
    return Template((ASSETS / "card.md.txt").read_text("utf-8")).substitute(
        {name: escape_markdown(text) for name, text in foreign.items()},
        title=publication.title,
        backend=result.backend,
        device=result.device,
        evidence=EVIDENCE,
        file=Path(result.name).name,
        packages=packages(publication),
        code=code(publication),
        notes="".join(f"\n{note}\n" for note in _notes(publication)),
        facts="\n".join(f"| {name} | {escape_markdown(value)} |" for name, value in _facts(publication)),
        tables=section(publication.comparison),
    )


def _notes(publication: Publication) -> Iterator[str]:
    usage = publication.usage
    if usage is None:
        yield f"The suite that declares {escape_markdown(publication.data.kind)} says what its inputs and outputs are."
    elif not usage.media and "max_length" not in publication.result.recipe:
        yield "The number of tokens at which texts were cut is unknown; it may differ from the tokenizer's own limit."
    if demo.space(publication):
        yield (
            f"## Try it\n\n`pip install -r {demo.REQUIREMENTS}`, then `python {demo.APP}`: a local page that asks this "
            "model and PyTorch, and shows both answers and times. The folder also runs as a Space, unchanged."
        )


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
        subject = data.metric if in_points(data.metric) else "score"
        yield "against PyTorch on the same rows", f"{subject} {format_drop(drop, data.metric)}"
    if result.series and judged is not None:
        batch = result.series[0].workload.batch
        yield f"speed-up over PyTorch, batch {batch}", lead_with_bound(own_speedup(result.series[0]))
    yield "verdict", f"{judged.word}: {'; '.join(judged.reasons)}" if judged else "reference"
    options = result.process.settings.get("options") if result.process else None
    if options:
        yield "measured with", f"{options}; the lines that load it use the defaults"
    yield "environment", sentences.origin(result.environment)
    yield "measured", result.created


def base_model(recipe: Mapping[str, Any]) -> tuple[str, Licence]:
    """Return the base model that a stored `recipe` names, and its licence."""
    source = recipe.get("source") or {}
    match source.get("type"):
        case "Package":
            distribution = source["distribution"]
            return f"{distribution}: {source['path']}", _package_licence(distribution)
        case "Hub":
            repo, commit = source["repo"], source.get("revision") or recipe.get("source_content") or ""
            return f"{repo} at {commit}", _repository_licence(repo, commit, "model")
        case "Native" | "Scratch":
            licence = Licence(UNKNOWN, "trained from random weights, and its author stated none")
            return "none (trained from random weights)", licence
    return "a local folder", Licence(UNKNOWN, "a local folder, which states none")


def data_licence(source: str, content: str) -> Licence:
    """Return the licence of a task's rows, by their stored source and digest."""
    if repo := _hub_dataset(source, content)[0]:
        return _repository_licence(repo, content, "dataset")
    distribution, _, path = source.partition(": ")
    return _package_licence(distribution) if path else Licence(UNKNOWN, "the author's own rows, which state none")


def _hub_dataset(source: str, content: str) -> tuple[str, str]:
    """Return the Hub repository and the subset that rows came from; empty for others, which no commit identifies."""
    repo, _, subset = source.partition(" ")
    return (repo, subset) if COMMIT.fullmatch(content) else ("", "")


def _package_licence(distribution: str) -> Licence:
    """Return the licence in the metadata of an installed distribution."""
    try:
        fields = metadata_of(distribution)
    except PackageNotFoundError:
        return Licence(UNKNOWN, f"the PyPI package {distribution}, which may state it, is not installed here")
    where = f"metadata of the PyPI package {distribution}"
    classifiers = [line.split(" :: ") for line in fields.get_all("Classifier", [])]
    classified = [parts[-1] for parts in classifiers if parts[0] == "License" and parts[-1] != "OSI Approved"]
    for value in (*fields.get_all("License-Expression", []), *fields.get_all("License", []), *classified):
        name = " ".join(value.split())
        if name.lower() not in NOT_STATED and len(name) <= LONGEST_NAME:
            return Licence(name, where)
    return Licence(UNKNOWN, f"the {where} states none")


def _repository_licence(repo: str, commit: str, sort: Literal["model", "dataset"]) -> Licence:
    """Return the licence in a repository's card, if it was fetched at that commit. Uses no network."""
    from huggingface_hub import metadata_load, try_to_load_from_cache
    from yaml import YAMLError

    path = try_to_load_from_cache(repo, "README.md", revision=commit, repo_type=sort)
    if not isinstance(path, str):
        return Licence(UNKNOWN, f"the card of {repo} was not fetched")
    try:
        stated = (metadata_load(path) or {}).get("license")
    except (ValueError, YAMLError):
        return Licence(UNKNOWN, f"the card of {repo} cannot be read")
    names = [stated] if isinstance(stated, str) else [name for name in stated or () if isinstance(name, str)]
    name = ", ".join(name for name in names if name.lower() not in NOT_STATED)
    return Licence(name, f"card of {repo}") if name else Licence(UNKNOWN, f"the card of {repo} states none")
