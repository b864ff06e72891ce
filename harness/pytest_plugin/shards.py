"""Shards: the tasks of a run dealt out to several jobs, which share nothing but a commit."""

from __future__ import annotations

import io
import math
import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.spec import Case

if TYPE_CHECKING:
    from harness.results.schema import Result

MOST = 1_000
"""Shards of a run; more are a slip of the pen."""

Deal = tuple[tuple[str, ...], ...]
"""Names of the tasks of each shard."""


@dataclass(frozen=True)
class Shard:
    """The tasks of one of several jobs."""

    tasks: tuple[str, ...]
    """Names of its tasks."""
    every: Deal
    """Those of all shards that can run here, for `shipbench merge` to miss."""
    sentence: str
    """Its tasks, and the rule by which they were dealt out."""


def take(text: str, cases: Sequence[Case], runnable: Iterable[Case], results: Path, with_hub: bool) -> Shard:
    """Deal the tasks of the cases out and return the shard that `text` names; HarnessError if it names none.

    Durations come from the repository's own `results`, wherever a job writes its.
    """
    own, count = parse(text)
    seconds = recorded_seconds(results)
    costs = task_costs(cases, seconds, with_hub)
    dealt, running = deal(costs, count), {case.task.name for case in runnable}
    is_timed = any(str(case) in seconds for case in cases)
    rule = "how long they took in the committed results" if is_timed else "their number of cases"
    return Shard(
        tasks=dealt[own - 1],
        every=tuple(tuple(task for task in tasks if task in running) for tasks in dealt),
        sentence=f"shard {text}: {', '.join(dealt[own - 1]) or 'no task'}; {len(costs)} tasks are dealt out by {rule}",
    )


def parse(text: str) -> tuple[int, int]:
    """Return the shard, counted from 1, and the number of all; HarnessError unless it is one of them."""
    match = re.fullmatch(r"([1-9]\d{0,3})/([1-9]\d{0,3})", text, re.ASCII)
    shard, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= shard <= count <= MOST:
        raise HarnessError(
            f"--ship-shard {text}: must be one of 1/N, 2/N, … N/N, where N is the number of shards, at most {MOST:,}"
        )
    return shard, count


def deal(costs: Mapping[str, float], count: int) -> Deal:
    """Deal tasks out to `count` shards that cost about the same; some are empty if tasks are few.

    The costliest task comes first, each to the shard with the least so far (R. L. Graham, SIAM Journal on Applied
    Mathematics 17, 416-429, 1969), so that no shard exceeds the mean by more than the task it took last.
    """
    shards: list[list[str]] = [[] for _ in range(count)]
    load = [0.0] * count
    for task in sorted(costs, key=lambda task: (-costs[task], task)):
        least = min(range(count), key=lambda shard: (load[shard], len(shards[shard])))
        shards[least].append(task)
        load[least] += costs[task]
    return tuple(tuple(sorted(tasks)) for tasks in shards)


def task_costs(cases: Sequence[Case], seconds: Mapping[str, float], with_hub: bool) -> dict[str, float]:
    """Return the cost of each task: the sum of its cases' costs."""
    by_case, costs = case_costs(cases, seconds, with_hub), dict[str, list[float]]()
    for case, task in {str(case): case.task.name for case in cases}.items():
        costs.setdefault(task, []).append(by_case[case])
    return {task: math.fsum(parts) for task, parts in costs.items()}  # exact, so that no order of cases changes it


def case_costs(cases: Sequence[Case], seconds: Mapping[str, float], with_hub: bool) -> dict[str, float]:
    """Return the cost of each case, by name: its `seconds`.

    A case without a record costs as much as the mean of the others. One that reads the Hub costs nothing where it is
    skipped. Nothing depends on this machine: a missing GPU skips cases, too, but other jobs may run elsewhere.
    """
    idle = {str(case): case.reads_hub and not with_hub for case in cases}
    usual = fmean(recorded) if (recorded := [seconds[case] for case in idle if case in seconds]) else 1.0
    return {case: 0.0 if is_idle else seconds.get(case, usual) for case, is_idle in idle.items()}


def recorded_seconds(results: Path) -> dict[str, float]:
    """Return how long each case took of which HEAD has a result below the folder, the median over machines.

    Files that are not committed do not count: they differ between the jobs of a run. Empty outside a repository.
    """
    from harness.results.store import is_finals, parse

    command = ["git", "-C", str(results), "archive", "--format=tar", "HEAD", "--", ":(glob)**/*.json"]
    try:
        archive = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, no commit, no results
        return {}
    seconds: dict[str, list[float]] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if member.isfile() and not is_finals(Path(member.name)) and (file := tar.extractfile(member)):
                try:
                    result = parse(file.read(), member.name)
                except HarnessError:  # of an earlier version
                    continue
                seconds.setdefault(result.name, []).append(case_seconds(result))
    return {case: median(several) for case, several in seconds.items()}


def case_seconds(result: Result) -> float:
    """Return about how long a case took: fine-tuning or build, answers to the test rows, and its part of the rounds."""
    from harness.verdicts.speed import median_ms

    built = result.artifact.seconds if result.artifact else 0.0  # the reference's artifact is the checkpoint
    rounds = math.fsum(sum(map(sum, series.own_ns)) * series.loops for series in result.series) / 1e9
    answers = result.answers.rows * median_ms(result.series[0].own_ns) / 1e3 if result.answers and result.series else 0
    return built + rounds + answers
