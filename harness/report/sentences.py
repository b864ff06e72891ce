"""Seeds as text: how far apart they lie beside what backends differ by, and the floors they allow.

ALSO: What is said around a table: what to choose, why not, what disturbed it, and where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev

from harness.contracts.backend import REFERENCE
from harness.measure import gpu
from harness.results.schema import Result, Seed
from harness.stats.intervals import ends, times
from harness.util.machine import Environment
from harness.verdicts.accuracy import drop
from harness.verdicts.recommendation import recommend, undominated
from harness.verdicts.seeds import collapse, is_collapsed, sound
from harness.verdicts.speed import against, flat, launches_differ_by, noise_floor
from harness.verdicts.verdict import verdict


def spread_of_seeds(group: list[Result]) -> list[str]:
    """How far apart fine-tunings with other seeds lie, beside what backends of one differ by; and who collapsed."""
    seeds = max((result.seeds for result in group), key=len)
    told = [_spread(seeds, group)] if len(sound(seeds)) > 1 else []
    return told + [f"Fine-tuning with {collapse(seed)}." for seed in seeds if is_collapsed(seed)]


def _spread(seeds: Sequence[Seed], group: list[Result]) -> str:
    scores = sound(seeds)
    count = f"{len(scores)} of {len(seeds)} seeds" if len(scores) < len(seeds) else f"{len(scores)} seeds"
    told = (
        f"Fine-tuned with {count}, the reference scores {min(scores):.4f} to {max(scores):.4f}: "
        f"{100 * (max(scores) - min(scores)):.2f} points apart (standard deviation {100 * stdev(scores):.2f})"
    )
    lost = [abs(found.estimate) for r in group if r.backend != REFERENCE and (found := drop(r)) is not None]
    return (
        f"{told}; backends of one fine-tuning differ from it by {100 * max(lost):.2f} at most." if lost else f"{told}."
    )


SHOWN = 3
"""Layers that a sentence names; the result has all."""


def recommendation(group: list[Result], mark: str = "**") -> str:
    """Which backend to choose, and why."""
    chosen, why = recommend(group)
    name = chosen.backend if chosen else "nothing"
    return f"{mark}Would choose {name}{mark}: {why}."


def below(group: list[Result]) -> list[str]:
    """What stands below a table in a file."""
    return [*said(group), *disturbed(group)]


def said(group: list[Result]) -> list[str]:
    """What figures alone do not say."""
    return [
        *_reasons(group),
        *beside(group),
        *guarded(group),
        *_unbeaten(group),
        *spread_of_seeds(group),
        *_restarts(group),
    ]


def provenance(group: list[Result]) -> str:
    """Where the group's numbers came from, once for each place and commit."""
    origins: dict[str, list[str]] = {}
    for result in group:
        origins.setdefault(origin(result.environment), []).append(result.backend)
    whose = (f"{', '.join(backends)}: " if len(origins) > 1 else "" for backends in origins.values())
    return "\n".join([*map("".join, zip(whose, origins, strict=True)), *noise(group)])


def origin(found: Environment) -> str:
    """Machine, versions and commit."""
    versions = ", ".join(f"{name} {version}" for name, version in found.packages.items())
    return (
        f"{found.cpu}, {found.cores} cores, {found.threads} threads ({found.wait_policy}), {found.system}, "
        f"Python {found.python}, {versions}; commit {(found.commit or 'unknown')[:12]}"
        f"{' with changes' if found.dirty else ''}."
    )


def noise(group: list[Result]) -> list[str]:
    """The control's ratio for each measurement that the group holds."""
    found = {
        # A contender's result, which comes later, knows the spread between launches better than the reference's alone.
        (result.measurement, series.workload.batch): (series.workload.batch, noise_floor(series), series)
        for result in group
        for series in result.series
        if series.control_ns
    }
    return [
        f"The reference against itself, batch {batch}: {level.estimate:.3f} {ends(level.low, level.high, 3)} "
        f"over {len(flat(series.own_ns))} rounds in {len(series.own_ns)} launch{'es' if len(series.own_ns) > 1 else ''}."
        for batch, level, series in sorted(found.values(), key=lambda one: one[0])
    ]


def _reasons(group: list[Result]) -> list[str]:
    """Why a case may not ship, where its verdict leaves that open."""
    found = ((result, verdict(result)) for result in group)
    return [
        f"{result.backend} is {said.word}: {'; '.join(said.reasons)}."
        for result, said in found
        if said is not None and said.word not in ("ship", "failed")
    ]


def beside(group: list[Result]) -> list[str]:
    """What the backends score by other metrics than the task's."""
    found: dict[str, list[str]] = {}
    for result in group:
        for name, value in result.answers.others.items() if result.answers else ():
            found.setdefault(name, []).append(f"{result.backend} {value:.4f}")
    return [f"By {name}: {', '.join(scores)}." for name, scores in found.items()]


def guarded(group: list[Result]) -> list[str]:
    """Which layers a guard kept in float, and what that cost in speed."""
    known = {(result.measurement, result.backend): result.series for result in group}
    told = []
    for result in group:
        info = result.artifact.info if result.artifact else {}
        if "float_layers" not in info:
            continue
        plain = known.get((result.measurement, info.get("guards", "")))
        cost = ""
        if plain and result.series:
            cost = f"; it is {times(against(plain[0], result.series[0]))} as fast as {info['guards']} at batch 1"
        layers = info["float_layers"].split(", ")
        more = f" and {len(layers) - SHOWN} more" if len(layers) > SHOWN else ""
        told.append(f"{result.backend}, layers kept in float: {', '.join(layers[:SHOWN])}{more}{cost}.")
    return told


def _unbeaten(group: list[Result]) -> list[str]:
    names = [result.backend for result in undominated(group)]
    return [f"No other beats, on speed, drop and memory together: {', '.join(names)}."] if names else []


def disturbed(group: list[Result]) -> list[str]:
    """What disturbed the rounds, once a measurement."""
    told = {
        result.measurement: [*result.disturbance.sentences(), *gpu.gpu_sentences(result.gpu)]
        for result in group
        if result.disturbance
    }
    sentences = dict.fromkeys(sentence for sentences in told.values() for sentence in sentences)
    return [f"Disturbed: {'; '.join(sentences)}."] if sentences else []


def _restarts(group: list[Result]) -> list[str]:
    """How far apart fresh workers of each backend lie."""
    spreads = {r.backend: launches_differ_by(r.series[0]) for r in group if r.series and r.backend != REFERENCE}
    told = [f"{backend} {100 * spread:.1f} %" for backend, spread in spreads.items() if spread is not None]
    return [f"Speed-ups differ between launches by (standard deviation): {', '.join(told)}."] if told else []
