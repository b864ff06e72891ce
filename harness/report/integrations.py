"""Results for other tools: a few lines for a pull request or a CI job, JUnit's XML, a run in an experiment tracker."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from harness.contracts.backend import REFERENCE
from harness.errors import HarnessError
from harness.report.documents import section
from harness.report.matrix import matrices
from harness.report.rendering import first_line, is_missing, named_unit, render, signed_drop
from harness.report.sentences import finals_recommendation
from harness.results.schema import Finals, Result
from harness.stats.intervals import Interval, lead_with_bound
from harness.training.loops import RUNS
from harness.util.text import error_text, escape_markdown, one_line
from harness.verdicts.accuracy import score_drop
from harness.verdicts.comparability import comparisons, judged_batch
from harness.verdicts.machines import Prices, candidates
from harness.verdicts.recommendation import recommend
from harness.verdicts.speed import own_speedup
from harness.verdicts.table import shown_rows
from harness.verdicts.verdict import shortfalls, verdict

TITLE = "comparison"
FIGURES = ("speedup", "median_ms", "score", "drop")  # columns of the tidy table that trackers get
PROJECT = "huggingface"  # Trainer's default in W&B and Trackio
NO_REGRESSIONS: Mapping[str, Sequence[str]] = MappingProxyType({})


def github_summary(
    results: Iterable[Result],
    finals: Iterable[Finals] = (),
    link: str | None = None,
    regressions: Mapping[str, Sequence[str]] = NO_REGRESSIONS,
    prices: Prices = MappingProxyType({}),
    max_cost: float | None = None,
) -> str:
    """Return Markdown of at most a screen or two.

    `link` is the page of the job that made it; `regressions` maps a result's `stored_name` to what stored runs prove.
    """
    groups = sorted(comparisons(results), key=lambda group: (group[0].task, group[0].model))
    several = (one for group in groups for one in candidates(group))
    choices = [f"{one.title}: {' '.join(one.choices)}" for one in matrices(several, prices, max_cost)]
    view = pd.DataFrame([_row(group) for group in groups]).map(escape_markdown)
    parts = [
        f"### {status_line(groups, regressions)}",
        bullet_list(failures(groups, regressions)),
        render(view, "pipe", left=view.columns) if groups else "",
        bullet_list(choices, "-"),
        *(f"{e.task} on {e.device}: {escape_markdown(finals_recommendation(e, mark=''))}" for e in finals),
        artifacts_link(link),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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
    metric = best.data.metric if best and best.data else ""
    others = [f"{r.backend}: {judgement.word}" for r in group if r is not best and (judgement := verdict(r))]
    return {
        "task / model": f"{first.task} / {first.model}",
        "on": f"{first.device}, {first.environment.machine}",
        "batch": str(judged_batch(group)),
        "ship": best.backend if best else f"nothing: {reason}",
        "speed-up": lead_with_bound(gain) if gain else "1x" if best else "",
        "drop (points)": f"{signed_drop(drop, metric)}{named_unit(metric)}" if drop else "",
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
        "regressed": sum(bool(regressions.get(result.stored_name)) for result in results),
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
    results = [result for group in groups for result in group]
    several = len({result.environment.machine for result in results}) > 1
    for result in results:
        name, problems = result.stored_name if several else result.name, shortfalls(result)
        if problems:
            word = "" if result.status == "failed" else " breaks its gate:"
            yield f"{name}{word} {first_line('; '.join(problems))}"
        yield from (f"{name} {sentence}" for sentence in regressions.get(result.stored_name, ()))


def run_link(environment: Mapping[str, str]) -> str | None:
    """Return the page of the GitHub job that this process belongs to, where its artifacts lie; None elsewhere."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, run = (environment.get(name) for name in names)
    return f"{server}/{repository}/actions/runs/{run}#artifacts" if server and repository and run else None


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
    values = {"": interval.estimate, "_low": interval.low, "_high": interval.high}
    return {f"{name}{end}": f"{value:.6g}" for end, value in values.items()}


def log_tables(tracker: str, results: Iterable[Result], artifacts: Path) -> Iterator[str]:
    """Log each comparison's table and figures to a run of its own; yield the run's name."""
    groups = list(comparisons(results))
    several = len({group[0].environment.machine for group in groups}) > 1
    for group in groups:
        first = group[0]
        name = f"{first.task}.{first.model}.{first.device}"
        name = f"{first.environment.machine}.{name}" if several else name
        # TensorBoard and Trackio would add to an earlier run of the same name.
        folder = artifacts / RUNS / f"{name}.{first.created.replace(':', '-')}"
        figures = {
            f"{figure}/{cells['backend']}": float(cells[figure])
            for cells, *_ in shown_rows(group)
            for figure in FIGURES
            if not is_missing(cells[figure])
        }
        try:
            _log(tracker, name, folder, section(group), figures)
        except Exception as error:  # every tracker has its own
            raise HarnessError(
                f"{name} was not logged to {tracker}; check its settings: {error_text(error)}"
            ) from error
        yield name


def _log(tracker: str, name: str, folder: Path, table: str, figures: dict[str, float]) -> None:
    # The caller may have a run open in MLflow or W&B.
    match tracker:
        case "mlflow":
            import mlflow

            with mlflow.start_run(run_name=name, nested=True) as run:
                mlflow.log_metrics(figures, run_id=run.info.run_id)
                mlflow.log_text(table, f"{TITLE}.md", run_id=run.info.run_id)
        case "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            with SummaryWriter(str(folder)) as writer:
                writer.add_text(TITLE, table)
                for figure, value in figures.items():
                    writer.add_scalar(figure, value)
        case "trackio":
            import trackio

            project, space = os.environ.get("TRACKIO_PROJECT", PROJECT), os.environ.get("TRACKIO_SPACE_ID") or None
            options = {"resume": "allow", "embed": False, "auto_log_gpu": False}
            run = trackio.init(project=project, name=folder.name, space_id=space, **options)
            run.log({**figures, TITLE: trackio.Markdown(table)})
            run.finish()
        case "wandb":
            import wandb

            project = os.environ.get("WANDB_PROJECT", PROJECT)
            with wandb.init(project=project, name=name, reinit="create_new") as run:
                run.log({**figures, TITLE: wandb.Table(columns=["table"], data=[[table]])})
