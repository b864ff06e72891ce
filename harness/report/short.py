"""A run in a few lines, for a pull request and the page of a CI job: what failed first, then what may ship."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from harness.compare import comparisons, recommend
from harness.contracts import REFERENCE
from harness.finals import Finals
from harness.judge import shortfalls, verdict
from harness.loss import loss
from harness.phrases import points, times
from harness.report import cells
from harness.report.models import finals_sentence
from harness.schema import Result
from harness.speed import own_speedup


def short(results: Iterable[Result], finals: Iterable[Finals] = (), link: str | None = None) -> str:
    """Markdown of at most a screen or two; `link` is where the whole report lies."""
    groups = list(comparisons(results))
    parts = [f"### {status(groups)}"]
    red = [told for group in groups for result in group if (told := _red(result))]
    parts += ["\n".join(red)] if red else []
    if groups:
        view = pd.DataFrame([_row(group) for group in groups]).map(cells.inert)
        parts.append(view.to_markdown(index=False, disable_numparse=True, colalign=["left"] * len(view.columns)))
    parts += [f"{found.task} on {found.device}: {cells.inert(finals_sentence(found, mark=''))}" for found in finals]
    parts += [f"[The whole report]({link})"] if link else []
    return "\n\n".join(parts) + "\n"


def status(groups: Sequence[Sequence[Result]]) -> str:
    """The run in one line."""
    found = [result for group in groups for result in group]
    words = [said.word for result in found if (said := verdict(result))]
    faster = sum(chosen is not None and chosen.backend != REFERENCE for chosen, _ in map(recommend, map(list, groups)))
    told = [f"{faster} of {len(groups)} comparisons may ship a faster backend"]
    broken = sum(bool(shortfalls(result)) for result in found)
    told += [f"{broken} cases break their gate"] if broken else []
    told += [f"{count} {word}" for word in ("undecided", "invalid") if (count := words.count(word))]
    return "; ".join(told)


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
    if result.series:
        gain = own_speedup(result.series[0])
        known |= _numbers("ship_speedup", (gain.estimate, gain.low, gain.high))
    if result.answers is not None and result.answers.score is not None:
        known["ship_score"] = f"{result.answers.score:.6g}"
    lost = loss(result)
    return known | (_numbers("ship_loss", (lost.estimate, lost.low, lost.high)) if lost else {})


def _numbers(name: str, values: Sequence[float]) -> dict[str, str]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), (f"{value:.6g}" for value in values), strict=True))


def _red(result: Result) -> str:
    """A failed case or a broken gate, as a line of a list."""
    problems = shortfalls(result)
    if not problems:
        return ""
    word = "failed" if result.status == "failed" else "breaks its gate"
    return f"- :x: **{cells.inert(result.name)}** {word}: {cells.inert(cells.first_line('; '.join(problems)))}"


def _row(group: Sequence[Result]) -> dict[str, str]:
    chosen, why = recommend(list(group))
    first = group[0]
    gain = own_speedup(chosen.series[0]) if chosen and chosen.backend != REFERENCE else None
    lost = loss(chosen) if chosen else None
    others = [f"{r.backend} {said.word}" for r in group if r is not chosen and (said := verdict(r))]
    return {
        "task / model": f"{first.task} / {first.model}",
        "on": f"{first.device}, {first.environment.machine}",
        "ship": chosen.backend if chosen else "nothing",
        "speed-up, batch 1": times(gain) if gain else "1x" if chosen else why,
        "loss": points(lost) if lost and gain else "",
        "others": ", ".join(others),
    }
