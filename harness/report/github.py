"""A run in a few lines, for a pull request and the page of a CI job: what failed first, then what may ship."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import pandas as pd

from harness.contracts.backend import REFERENCE
from harness.report import cells
from harness.report.tables import finals_sentence
from harness.results.schema import Finals, Result
from harness.stats.intervals import points, times
from harness.util import text
from harness.verdicts.accuracy import drop
from harness.verdicts.comparability import comparisons
from harness.verdicts.recommendation import recommend
from harness.verdicts.speed import own_speedup
from harness.verdicts.verdict import shortfalls, verdict

NOTHING: Mapping[str, Sequence[str]] = MappingProxyType({})


def short(
    results: Iterable[Result],
    finals: Iterable[Finals] = (),
    link: str | None = None,
    regressed: Mapping[str, Sequence[str]] = NOTHING,
) -> str:
    """Markdown of at most a screen or two.

    `link` is the page of the job that made it; `regressed` says of a case, by name, what is proven against stored runs.
    """
    groups = list(comparisons(results))
    parts = [f"### {status(groups, regressed)}"]
    lines = [f"- :x: {text.escape_markdown(told)}" for told in red(groups, regressed)]
    parts += ["\n".join(lines)] if lines else []
    if groups:
        view = pd.DataFrame([_row(group) for group in groups]).map(text.escape_markdown)
        parts.append(view.to_markdown(index=False, disable_numparse=True, colalign=["left"] * len(view.columns)))
    parts += [
        f"{found.task} on {found.device}: {text.escape_markdown(finals_sentence(found, mark=''))}" for found in finals
    ]
    parts += [f"[What this job made]({link})"] if link else []
    return "\n\n".join(parts) + "\n"


def status(groups: Sequence[Sequence[Result]], regressed: Mapping[str, Sequence[str]] = NOTHING) -> str:
    """The run in one line."""
    found = [result for group in groups for result in group]
    words = [said.word for result in found if (said := verdict(result))]
    faster = sum(chosen is not None and chosen.backend != REFERENCE for chosen, _ in map(recommend, map(list, groups)))
    told = [f"{faster} of {len(groups)} comparisons may ship a faster backend"]
    failed = sum(result.status == "failed" for result in found)
    broken = sum(result.status == "ok" and bool(shortfalls(result)) for result in found)
    worse = sum(bool(regressed.get(result.name)) for result in found)
    counts = {"failed": failed, f"break{'s its' if broken == 1 else ' their'} gate": broken, "regressed": worse}
    counts |= {word: words.count(word) for word in ("undecided", "invalid")}
    cases = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return "; ".join([*told, *([f"of {len(found)} cases, {cases}"] if cases else [])])


def run_link(environment: Mapping[str, str]) -> str | None:
    """Page of the GitHub job that this process belongs to, where its artifacts lie; None elsewhere."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    if not all(environment.get(name) for name in names):
        return None
    server, repository, run = (environment[name] for name in names)
    return f"{server}/{repository}/actions/runs/{run}#artifacts"


def properties(result: Result) -> dict[str, str]:
    """What a tool that reads JUnit's XML is told of a case, as plain numbers."""
    said = verdict(result)
    known = {"ship_status": result.status, "ship_measurement": result.measurement}
    known |= {"ship_verdict": said.word} if said else {}
    broken = shortfalls(result) if result.status == "ok" else []
    known |= {"ship_broken_gate": text.one_line("; ".join(broken))} if broken else {}
    if result.series:
        gain = own_speedup(result.series[0])
        known |= _numbers("ship_speedup", (gain.estimate, gain.low, gain.high))
    if result.answers is not None and result.answers.score is not None:
        known["ship_score"] = f"{result.answers.score:.6g}"
    lost = drop(result)
    return known | (_numbers("ship_drop", (lost.estimate, lost.low, lost.high)) if lost else {})


def _numbers(name: str, values: Sequence[float]) -> dict[str, str]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), (f"{value:.6g}" for value in values), strict=True))


def red(groups: Iterable[Sequence[Result]], regressed: Mapping[str, Sequence[str]] = NOTHING) -> Iterator[str]:
    """Every failed case, broken gate and proven regression, in a sentence."""
    for result in (result for group in groups for result in group):
        problems = shortfalls(result)
        if problems:
            word = "" if result.status == "failed" else " breaks its gate:"
            yield f"{result.name}{word} {cells.first_line('; '.join(problems))}"
        yield from (f"{result.name} {told}" for told in regressed.get(result.name, ()))


def _row(group: Sequence[Result]) -> dict[str, str]:
    chosen, why = recommend(list(group))
    first = group[0]
    gain = own_speedup(chosen.series[0]) if chosen and chosen.backend != REFERENCE else None
    lost = drop(chosen) if chosen else None
    others = [f"{r.backend} {said.word}" for r in group if r is not chosen and (said := verdict(r))]
    return {
        "task / model": f"{first.task} / {first.model}",
        "on": f"{first.device}, {first.environment.machine}",
        "ship": chosen.backend if chosen else "nothing",
        "speed-up, batch 1": times(gain) if gain else "1x" if chosen else why,
        "drop": points(lost) if lost and gain else "",
        "others": ", ".join(others),
    }
