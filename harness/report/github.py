"""A run in a few lines, for a pull request, the page of a CI job and JUnit's XML: failures first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import pandas as pd

from harness.contracts.backend import REFERENCE
from harness.report.sentences import finals_recommendation
from harness.report.tables import first_line, render, signed_points
from harness.results.schema import Finals, Result
from harness.stats.intervals import Interval, format_ratio
from harness.util.text import escape_markdown, one_line
from harness.verdicts.accuracy import score_drop
from harness.verdicts.comparability import comparisons
from harness.verdicts.recommendation import recommend
from harness.verdicts.speed import own_speedup
from harness.verdicts.verdict import shortfalls, verdict

NO_REGRESSIONS: Mapping[str, Sequence[str]] = MappingProxyType({})


def github_summary(
    results: Iterable[Result],
    finals: Iterable[Finals] = (),
    link: str | None = None,
    regressions: Mapping[str, Sequence[str]] = NO_REGRESSIONS,
) -> str:
    """Return Markdown of at most a screen or two.

    `link` is the page of the job that made it; `regressions` maps a case's name to what stored runs prove against it.
    """
    groups = list(comparisons(results))
    parts = [f"### {status_line(groups, regressions)}", bullet_list(failures(groups, regressions))]
    if groups:
        view = pd.DataFrame([_row(group) for group in groups]).map(escape_markdown)
        parts.append(render(view, "pipe", left=view.columns))
    for entries in finals:
        recommended = escape_markdown(finals_recommendation(entries, mark=""))
        parts.append(f"{entries.task} on {entries.device}: {recommended}")
    return "\n\n".join(part for part in [*parts, artifacts_link(link)] if part) + "\n"


def bullet_list(lines: Iterable[str], bullet: str = "- :x:") -> str:
    """Return sentences as a list in Markdown, inert."""
    return "\n".join(f"{bullet} {escape_markdown(line)}" for line in lines)


def artifacts_link(link: str | None) -> str:
    """Return a link to the job's artifacts, if there is a job."""
    return f"[Artifacts of this job]({link})" if link else ""


def _row(group: Sequence[Result]) -> dict[str, str]:
    best, reason = recommend(group)
    first = group[0]
    gain = own_speedup(best.series[0]) if best and best.backend != REFERENCE else None
    drop = score_drop(best) if best and gain else None
    others = [f"{r.backend}: {judgement.word}" for r in group if r is not best and (judgement := verdict(r))]
    return {
        "task / model": f"{first.task} / {first.model}",
        "on": f"{first.device}, {first.environment.machine}",
        "ship": best.backend if best else f"nothing: {reason}",
        "speed-up, batch 1": format_ratio(gain) if gain else "1x" if best else "",
        "drop (points)": signed_points(drop) if drop else "",
        "other backends": ", ".join(others),
    }


def status_line(groups: Sequence[Sequence[Result]], regressions: Mapping[str, Sequence[str]] = NO_REGRESSIONS) -> str:
    """Summarise a run in one line."""
    results = [result for group in groups for result in group]
    words = [judgement.word for result in results if (judgement := verdict(result))]
    faster = sum(best is not None and best.backend != REFERENCE for best, _ in map(recommend, groups))
    broken = sum(result.status == "ok" and bool(shortfalls(result)) for result in results)
    counts = {
        "failed": sum(result.status == "failed" for result in results),
        f"break{'s its' if broken == 1 else ' their'} gate": broken,
        "regressed": sum(bool(regressions.get(result.name)) for result in results),
        "undecided": words.count("undecided"),
        "invalid": words.count("invalid"),
    }
    cases = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    line = f"{faster} of {len(groups)} comparisons may ship a faster backend"
    return f"{line}; of {len(results)} cases, {cases}" if cases else line


def failures(
    groups: Iterable[Sequence[Result]], regressions: Mapping[str, Sequence[str]] = NO_REGRESSIONS
) -> Iterator[str]:
    """Yield a sentence for every failed case, broken gate and proven regression."""
    for result in (result for group in groups for result in group):
        problems = shortfalls(result)
        if problems:
            word = "" if result.status == "failed" else " breaks its gate:"
            yield f"{result.name}{word} {first_line('; '.join(problems))}"
        yield from (f"{result.name} {sentence}" for sentence in regressions.get(result.name, ()))


def run_link(environment: Mapping[str, str]) -> str | None:
    """Return the page of the GitHub job that this process belongs to, where its artifacts lie; None elsewhere."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    if not all(environment.get(name) for name in names):
        return None
    server, repository, run = (environment[name] for name in names)
    return f"{server}/{repository}/actions/runs/{run}#artifacts"


def junit_properties(result: Result) -> dict[str, str]:
    """Return a case's status, verdict and figures as plain numbers, for tools that read JUnit's XML."""
    judgement, drop = verdict(result), score_drop(result)
    properties = {"ship_status": result.status, "ship_measurement": result.measurement}
    if judgement:
        properties["ship_verdict"] = judgement.word
    if result.status == "ok" and (broken := shortfalls(result)):
        properties["ship_broken_gate"] = one_line("; ".join(broken))
    if result.series:
        properties |= _interval("ship_speedup", own_speedup(result.series[0]))
    if result.answers is not None and result.answers.score is not None:
        properties["ship_score"] = f"{result.answers.score:.6g}"
    return properties | (_interval("ship_drop", drop) if drop else {})


def _interval(name: str, interval: Interval) -> dict[str, str]:
    values = {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {name: f"{value:.6g}" for name, value in values.items()}
