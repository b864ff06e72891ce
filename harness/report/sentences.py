"""Sentences around the tables: the recommendation, reasons for verdicts, seeds, disturbances, noise, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev

from harness.contracts.backend import REFERENCE
from harness.errors import name_some
from harness.measure.gpu import gpu_sentences
from harness.metrics import in_points
from harness.results.schema import Finals, Result, Seed, Series
from harness.stats.intervals import format_bounds, format_ratio, join_names
from harness.util.machine import Environment
from harness.verdicts.accuracy import collapse_sentence, is_collapsed, score_drop, sound_scores
from harness.verdicts.comparability import judged_batch
from harness.verdicts.recommendation import pareto_front, recommend, slower_batches, winner
from harness.verdicts.remedy import remedies
from harness.verdicts.speed import flatten, launch_spread, noise_floor, speedup_over
from harness.verdicts.table import noise_levels
from harness.verdicts.verdict import shortfalls, verdict

WAITS = {"default": "waiting as deployed", "passive": "asleep while idle", "active": "busy while idle"}
"""Behaviour of idle threads by the wait policy on record."""
LAYERS_SHOWN = 3  # in a sentence; the result names all


def recommendation(group: list[Result], mark: str = "**") -> str:
    """Name the backend of a comparison to ship, and the reason."""
    result, reason = recommend(group)
    return f"{mark}Ship {result.backend if result else 'nothing'}{mark}: {reason}."


def obstacle(group: list[Result]) -> str:
    """Say why a comparison ships nothing faster, or where the backend to ship is slower; else an empty string."""
    result, reason = recommend(group)
    if result and result.backend != REFERENCE and not slower_batches(result):
        return ""
    return f"{place(group)}: {'' if result else 'nothing ships: '}{reason}"


def place(group: list[Result]) -> str:
    """Name a comparison in a few words: with its device and the judged batch, unless these are the usual ones."""
    device, batch = group[0].device, judged_batch(group)
    name = f"{group[0].task}/{group[0].model}{f' on {device}' if device != 'cpu' else ''}"
    return f"{name} at batch {batch}" if batch > 1 else name


def finals_recommendation(finals: Finals, mark: str = "**") -> str:
    """Name the model and backend of a task to ship, and the reason."""
    best, reason = winner(finals)
    return f"{mark}Ship {best.model} on {best.backend}{mark}: {reason}."


def finals_notes(finals: Finals) -> list[str]:
    """Name models without an entry, failures, disturbances, and the noise of the rounds."""
    notes = [f"{model} did not take part: {reason}." for model, reason in finals.absent.items()]
    notes += [f"{entry.model} on {entry.backend} failed: {entry.error}" for entry in finals.entries if entry.error]
    disturbances = finals.disturbance.sentences() if finals.disturbance else []
    notes += [f"Disturbed: {'; '.join(disturbances)}."] if disturbances else []
    measured = [entry.series[0] for entry in finals.entries[1:] if entry.series]
    if measured:
        first, series = finals.entries[0], measured[0]
        notes.append(f"{_noise(f'{first.model} on {first.backend}', series)}; preprocessing is included.")
    return [*notes, *finals.notes]


def explanations(group: list[Result]) -> list[str]:
    """Say what the figures of a comparison do not show by themselves."""
    reasons = [
        f"{result.backend} ({judgement.word}): "
        f"{'; '.join((*judgement.reasons, *(remedy.text for remedy in remedies(result))))}."
        for result in group
        if (judgement := verdict(result)) and judgement.word not in ("ship", "failed")
        if list(judgement.reasons) != shortfalls(result)  # they stand in the table
    ]
    front = ", ".join(result.backend for result in pareto_front(group))
    pareto = [f"Pareto-optimal in speed, drop and memory: {front}."] if front else []
    spreads = {r.backend: launch_spread(r.series[0]) for r in group if r.series and r.backend != REFERENCE}
    texts = ", ".join(f"{name} {100 * spread:.1f} %" for name, spread in spreads.items() if spread is not None)
    launches = [f"Standard deviation of speed-ups between launches: {texts}."] if texts else []
    return [
        *reasons, *other_batches(group), *metric_readings(group), *other_scores(group), *float_layers(group),
        *exporters(group), *pareto, *spread_of_seeds(group), *launches,
    ]  # fmt: skip


def other_batches(group: list[Result]) -> list[str]:
    """Name backends proven slower at other batches than the judged one; the recommendation says so of its own."""
    best = recommend(group)[0]
    others = [
        (r, phrases) for r in group if r is not best and r.backend != REFERENCE and (phrases := slower_batches(r))
    ]
    return [
        f"{result.backend} is slower than the reference, {join_names(phrases)}."
        for result, phrases in others
        if (judgement := verdict(result)) and judgement.word != "slower"
    ]


def metric_readings(group: list[Result]) -> list[str]:
    """Say what the metrics assumed of the rows."""
    data = next((result.data for result in group if result.data), None)
    texts = [f"{metric} {reading}" for metric, reading in data.readings.items()] if data else []
    return [f"Scored: {'; '.join(texts)}."] if texts else []


def other_scores(group: list[Result]) -> list[str]:
    """List what the backends score by the task's further metrics."""
    scores: dict[str, list[str]] = {}
    for result in group:
        for metric, score in result.answers.other_scores.items() if result.answers else ():
            scores.setdefault(metric, []).append(f"{result.backend} {score:.4f}")
    return [f"{metric}: {', '.join(texts)}." for metric, texts in scores.items()]


def float_layers(group: list[Result]) -> list[str]:
    """Name the layers that guarded backends kept in float, and their speed against the unguarded ones."""
    measured = {(result.measurement, result.backend): result.series for result in group}
    sentences = []
    for result in group:
        info = result.artifact.info if result.artifact else {}
        if "float_layers" not in info:
            continue
        layers = info["float_layers"].split(", ")
        plain = measured.get((result.measurement, info.get("guards", "")))
        cost = ""
        if plain and result.series:
            gain = format_ratio(speedup_over(plain[0], result.series[0]))
            cost = f"; at batch {result.series[0].workload.batch} it is {gain} as fast as {info['guards']}"
        sentences.append(f"{result.backend} keeps layers in float: {name_some(layers, LAYERS_SHOWN)}{cost}.")
    return sentences


def exporters(group: list[Result]) -> list[str]:
    """Name what exported the graphs, and why Optimum did not where it could not."""
    made: dict[str, list[str]] = {}
    for result in group:
        info = result.artifact.info if result.artifact else {}
        if "exporter" in info:
            why = f", because {info['not_built_by']}" if "not_built_by" in info else ""
            made.setdefault(f"{info['exporter']}{why}", []).append(result.backend)
    return [f"The graph of {' and '.join(names)} was exported by {exporter}." for exporter, names in made.items()]


def spread_of_seeds(group: list[Result]) -> list[str]:
    """Compare the spread between fine-tuning seeds with the differences between backends; name collapsed seeds."""
    seeds = max((result.seeds for result in group), key=len)
    spread = [_spread(seeds, group)] if len(sound_scores(seeds)) > 1 else []
    is_trained = group[0].recipe.get("epochs") != 0
    sentences = [collapse_sentence(seed, is_trained) for seed in seeds if is_collapsed(seed)]
    return spread + [f"Fine-tuning with {text}." if is_trained else f"T{text[1:]}." for text in sentences]


def _spread(seeds: Sequence[Seed], group: list[Result]) -> str:
    scores = sound_scores(seeds)
    count = f"{len(scores)} of {len(seeds)}" if len(scores) < len(seeds) else f"{len(scores)}"
    metric = next((result.data.metric for result in group if result.data), "")
    factor, name, digits = (100, "points", 2) if in_points(metric) else (1, metric, 4)
    width, deviation = (f"{factor * size:.{digits}f}" for size in (max(scores) - min(scores), stdev(scores)))
    spread = (
        f"Fine-tuned with {count} seeds, the reference scores {min(scores):.4f} to {max(scores):.4f}: a range of "
        f"{width} {name} (standard deviation {deviation})"
    )
    drops = [abs(drop.estimate) for r in group if r.backend != REFERENCE and (drop := score_drop(r)) is not None]
    return (
        f"{spread}; backends differ from it by at most {factor * max(drops):.{digits}f} {name}."
        if drops
        else f"{spread}."
    )


def disturbances(group: list[Result]) -> list[str]:
    """Say what disturbed the rounds, each disturbance once."""
    by_measurement = {
        result.measurement: [*result.disturbance.sentences(), *gpu_sentences(result.gpu)]
        for result in group
        if result.disturbance
    }
    unique = dict.fromkeys(sentence for sentences in by_measurement.values() for sentence in sentences)
    return [f"Disturbed: {'; '.join(unique)}."] if unique else []


def noise(group: list[Result]) -> list[str]:
    """Give the control's ratio for each measurement and batch size."""
    ordered = sorted(noise_levels(group).values(), key=lambda series: series.workload.batch)
    return [f"{_noise('The reference', series)}." for series in ordered]


def _noise(name: str, series: Series) -> str:
    level, launches = noise_floor(series), len(series.own_ns)
    bounds, rounds = format_bounds(level.low, level.high, 3), len(flatten(series.own_ns))
    amount = f"{rounds} rounds in {launches} launch{'' if launches == 1 else 'es'}"
    return f"{name} against itself, batch {series.workload.batch}: {level.estimate:.3f} {bounds} over {amount}"


def provenance(group: list[Result]) -> str:
    """Describe where the numbers came from, a line for each environment, and the noise there."""
    origins: dict[str, list[str]] = {}
    for result in group:
        origins.setdefault(origin(result.environment), []).append(result.backend)
    lines = [f"{', '.join(names)}: {text}" if len(origins) > 1 else text for text, names in origins.items()]
    return "\n".join([*lines, *noise(group)])


def origin(environment: Environment) -> str:
    """Describe a machine, its GPU and the GPU's driver if it has one, the versions on it, and the commit."""
    versions = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    gpu = f"{environment.accelerator}, " if environment.accelerator else ""
    threads = f"{environment.threads} threads ({WAITS[environment.wait_policy]})"
    return (
        f"{environment.cpu}, {environment.cores} cores, {threads}, {gpu}{environment.system}, "
        f"Python {environment.python}, {versions}; commit "
        f"{(environment.commit or 'unknown')[:12]}{' with uncommitted changes' if environment.dirty else ''}."
    )
