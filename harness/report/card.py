"""A published model's card: what it is, what it scores and how sure that is, how it is loaded, and whose it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.accuracy.loss import interval_method, loss, score_interval
from harness.kinds.usage import USAGE
from harness.records.schema import Result
from harness.report import demo, sentences
from harness.report.cells import quoted
from harness.report.instructions import EVIDENCE, KINDS, Subject, code, knows_length, packages
from harness.report.metadata import metadata, told
from harness.report.tables import section
from harness.verdicts.judge import verdict
from harness.verdicts.phrases import points, times
from harness.verdicts.speed import own_speedup


def card(subject: Subject) -> str:
    """The whole card: metadata, then text in which nothing of others is live."""
    from huggingface_hub import ModelCardData

    known = ModelCardData(**metadata(subject))
    return f"---\n{known.to_yaml()}\n---\n\n" + "\n".join(_body(subject))


def _body(subject: Subject) -> Iterator[str]:
    result, data = subject.result, subject.data
    yield f"# {result.model} for {result.task}\n"
    yield (
        f"{quoted(data.kind)}, as backend **{result.backend}** on {result.device}: {quoted(told(subject))}. "
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
        yield f"| {name} | {quoted(value)} |"
    yield f"\n{section(subject.group)}"
    yield "## Licences\n"
    yield f"- Base model, {quoted(_origin(result))}: {quoted(str(subject.model_licence))}."
    yield f"- Data, {quoted(data.source)}: {quoted(str(subject.data_licence))}."
    yield (
        "\nThe metadata above names the base model's licence. What else holds for this folder is its publisher's to "
        "say.\n"
    )


def _notes(subject: Subject) -> Iterator[str]:
    known = KINDS.get(subject.data.kind)
    if known is None:
        yield f"What goes in and comes out, the suite that declares {quoted(subject.data.kind)} says.\n"
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
    lost = loss(result)
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
