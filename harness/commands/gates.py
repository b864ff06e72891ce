"""Propose min_score for a suite's gates: fine-tune every model with several seeds and see how far scores spread."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, stdev

import pandas as pd

from harness.commands import collection
from harness.errors import HarnessError
from harness.metrics import in_points, less_is_better
from harness.pipeline.state import Options
from harness.report.rendering import number, render
from harness.results.schema import Seed
from harness.spec import Case, Model, Task
from harness.util import text
from harness.verdicts import accuracy

RULE = (
    f"The next run stays above the bound with {100 * accuracy.CONFIDENCE:.0f} % confidence (mean - t * sd * "
    "sqrt(1 + 1/n), n - 1 degrees of freedom); min_score is the bound less the allowed drop, rounded down to 0.005. "
    "Where less is better it stays below mean + …, and max_score is that and the allowed drop, rounded up."
)


@dataclass(frozen=True)
class Spread:
    """The scores of one task/model pair."""

    case: Case
    """One of the pair's cases, with the present gate."""
    seeds: tuple[Seed, ...]
    failures: tuple[str, ...]
    """A sentence for each seed that has no score."""

    @property
    def pair(self) -> str:
        """The names of the task and the model."""
        return f"{self.case.task.name}/{self.case.model.name}"

    @property
    def proposal(self) -> accuracy.Proposal:
        """The min_score that the seeds allow."""
        if self.case.model.is_used_as_is:
            why = "the model is used as it is, so it scores the same every time"
            return accuracy.Proposal(tuple(accuracy.sound_scores(self.seeds)), None, None, why)
        max_drop = self.case.gate.max_drop if self.case.gate else 0.0
        return accuracy.propose(self.seeds, max_drop, self.case.task.metric)


def declare_gates(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench gates`."""
    collection.declare_suite(parser)
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="fine-tune with N seeds (default: 10)")


def run_gates(options: Namespace) -> int:
    """Fine-tune every selected task/model pair with each seed, the recipe's own first, and print the proposals."""
    if options.seeds < 1:
        raise HarnessError(f"--seeds {options.seeds}: must be positive")
    cases, settings = collection.select(options)
    pairs: dict[tuple[Task, Model], tuple[Case, Path]] = {}
    for case, folder in cases:
        pairs.setdefault((case.task, case.model), (case, folder))
    print(proposals([_fine_tune(case, folder, options.seeds, settings) for case, folder in pairs.values()]))
    return 0


def _fine_tune(case: Case, folder: Path, seeds: int, options: Options) -> Spread:
    from harness.artifacts.cache import Artifacts
    from harness.data import splits
    from harness.pipeline.prepare import score_seeds
    from harness.util.store import Store

    progress, target = collection.stderr_progress(), options.target("cpu")
    store = Store(options.artifacts, progress.say)
    artifacts = Artifacts(case.task, case.model, folder, target, store, progress, options.timeout_s, retrain=False)
    failures: list[str] = []
    scored = []
    first = case.model.recipe.seed
    for seed in score_seeds(artifacts, splits.load(case.task, folder), range(first, first + seeds), failures.append):
        scored.append(seed)
        progress.say(f"{case.task.name}/{case.model.name}: seed {seed.seed} scores {seed.score}")
    return Spread(case, tuple(scored), tuple(failures))


def proposals(spreads: Sequence[Spread]) -> str:
    """Return the table, and below it the rule, the seeds that do not count, and why a min_score is missing."""
    table = render(pd.DataFrame([_row(spread) for spread in spreads]), left=("task", "model", ""))
    notes = [RULE]
    for spread in spreads:
        collapsed = filter(accuracy.is_collapsed, spread.seeds)
        texts = (accuracy.collapse_sentence(seed, not spread.case.model.is_used_as_is) for seed in collapsed)
        sentences = [f"{sentence}; it is left out of the proposal" for sentence in texts]
        why = [f"no min_score: {spread.proposal.why}"] if spread.proposal.why else []
        notes += [f"{spread.pair}: {text.one_line(note)}" for note in (*sentences, *spread.failures, *why)]
    return "\n".join([table, "", *notes])


def _row(spread: Spread) -> dict[str, str]:
    case, proposal, scores = spread.case, spread.proposal, spread.proposal.scores
    caveat = f"provisional: under {accuracy.ENOUGH} seeds" if len(scores) < accuracy.ENOUGH else ""
    return {
        "task": case.task.name,
        "model": case.model.name,
        "seeds": str(len(scores)),
        "lowest": number(min(scores, default=None), decimals=4),
        "median": number(median(scores) if scores else None, decimals=4),
        "highest": number(max(scores, default=None), decimals=4),
        "sd": number(stdev(scores) if len(scores) > 1 else None, decimals=4),
        f"{100 * accuracy.CONFIDENCE:.0f} % bound": number(proposal.bound, decimals=4),
        "allowed drop": number(case.gate.max_drop if case.gate else None, decimals=3),
        "proposed min_score": _limit(case, proposal.min_score),
        "present min_score": _limit(case, case.gate.score_limit if case.gate else None),
        "": "used as it is: one score" if case.model.is_used_as_is else caveat,
    }


def _limit(case: Case, score: float | None) -> str:
    """Write a limit of the score; a max_score, where less is better, has its name."""
    if score is None or in_points(case.task.metric):
        return number(score, decimals=3)
    return f"{'max_score ' if less_is_better(case.task.metric) else ''}{score:g}"
