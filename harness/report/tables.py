"""A comparison as text: Markdown for files, plain columns for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from harness.choice import undominated
from harness.compare import comparisons, recommend, tidy
from harness.contracts import REFERENCE
from harness.environment import Environment
from harness.finals import Finals
from harness.judge import verdict
from harness.report import cells
from harness.report.models import finals_notes, finals_sentence, finals_view
from harness.report.seeds import spread_of_seeds
from harness.schema import Result
from harness.speed import starts_differ_by


def markdown(results: Iterable[Result], finals: Iterable[Finals] = ()) -> str:
    """Every comparison with its table, its recommendation, and where the numbers came from; then every finals."""
    parts = ["# Comparison\n"]
    for group in comparisons(results):
        first = group[0]
        parts.append(f"## {first.task} / {first.model} on {first.device}, machine {first.environment.machine}\n")
        parts.append(f"{_sentence(group)}\n")
        view = _view(group).map(cells.inert)
        parts.append(view.to_markdown(index=False, disable_numparse=True, colalign=_align(view)))
        told = [*_reasons(group), *_unbeaten(group), *spread_of_seeds(group), *_restarts(group), *_disturbed(group)]
        parts.append("".join(f"\n- {cells.inert(sentence)}" for sentence in told) + "\n")
        phases = _phases(group).map(cells.inert)
        if len(phases):
            aligned = [*_align(phases)[:-1], "right"]
            parts.append("Times in ms, batch 1, from fresh processes:\n")
            parts.append(phases.to_markdown(index=False, disable_numparse=True, colalign=aligned))
        parts.append(f"\n{_provenance(group)}\n")
    for found in finals:
        parts.append(f"## {found.task} on {found.device}: models, machine {found.environment.machine}\n")
        parts.append(f"{cells.inert(finals_sentence(found))}\n")
        view = finals_view(found).map(cells.inert)
        parts.append(view.to_markdown(index=False, disable_numparse=True, colalign=["left", *_align(view)[:-1]]))
        parts.append("".join(f"\n- {cells.inert(sentence)}" for sentence in finals_notes(found)) + "\n")
        parts.append(f"{_origin(found.environment)}\n")
    return "\n".join(parts)


def terminal(results: Iterable[Result], finals: Iterable[Finals] = ()) -> str:
    """The same, narrower."""
    parts = []
    for group in comparisons(results):
        first = group[0]
        parts.append(f"{first.task} / {first.model} on {first.device}")
        view = _view(group).drop(columns=["MB", "peak RSS, MB"])
        view["verdict"] = view["verdict"].str.partition(":")[0]
        parts.append(view.to_markdown(index=False, tablefmt="simple", disable_numparse=True, colalign=_align(view)))
        parts += [f"{_sentence(group, mark='')}", *spread_of_seeds(group), *_disturbed(group), *_noise(group), ""]
    for found in finals:
        parts.append(f"{found.task} on {found.device}: models, each on its best backend")
        view = finals_view(found)
        aligned = ["left", *_align(view)[:-1]]
        parts.append(view.to_markdown(index=False, tablefmt="simple", disable_numparse=True, colalign=aligned))
        parts += [cells.plain(finals_sentence(found, mark="")), *map(cells.plain, finals_notes(found)), ""]
    return "\n".join(parts)


def line(result: Result) -> str:
    """One case in one line."""
    if result.error is not None:
        return f"{result.status} at {result.error.stage}: {cells.first_line(result.error.message)}"
    row = _row(tidy([result]), 0)
    said = verdict(result)
    return (
        f"{said.word if said else 'reference'}  {row['speed-up, batch 1']} ({row['ms']} ms), {row['score']}, "
        f"loss {row['loss, points']}"
    )


def _view(group: list[Result]) -> pd.DataFrame:
    table = tidy(group)
    return pd.DataFrame([_row(lines, table["batch"].max()) for _, lines in table.groupby("backend", sort=False)])


def _align(view: pd.DataFrame) -> list[str]:
    return ["left", *["right"] * (len(view.columns) - 2), "left"]


def _row(lines: pd.DataFrame, larger: float) -> dict[str, str]:
    """One case's cells; its first line is batch 1, its last the `larger` batch."""
    small, large = lines.iloc[0].to_dict(), lines.iloc[-1].to_dict()
    larger = 16 if cells.missing(larger) else larger
    return {
        "backend": f"{small['backend']}{' *' if small['chosen'] else ''}",
        "speed-up, batch 1": cells.interval(small, "speedup", "×"),
        "ms": cells.number(small["median_ms"], 3),
        f"speed-up, batch {cells.number(larger)}": cells.interval(large, "speedup", "×"),
        "rows/s": cells.number(large["rows_per_s"], 3),
        "score": cells.number(small["score"], decimals=4),
        "loss, points": cells.loss(small),
        "MB": cells.number(small["size_mb"], 3),
        "peak RSS, MB": cells.number(small["peak_rss_mb"], 3),
        "verdict": _verdict(small),
    }


def _sentence(group: list[Result], mark: str = "**") -> str:
    chosen, why = recommend(group)
    name = chosen.backend if chosen else "nothing"
    return f"{mark}Would choose {name}{mark}: {why}."


def _provenance(group: list[Result]) -> str:
    """Where the group's numbers came from, once for each place and commit."""
    origins: dict[str, list[str]] = {}
    for result in group:
        origins.setdefault(_origin(result.environment), []).append(result.backend)
    whose = (f"{', '.join(backends)}: " if len(origins) > 1 else "" for backends in origins.values())
    return "\n".join([*map("".join, zip(whose, origins, strict=True)), *_noise(group)])


def _origin(found: Environment) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found.packages.items())
    return (
        f"{found.cpu}, {found.cores} cores, {found.threads} threads ({found.wait_policy}), {found.system}, "
        f"Python {found.python}, {versions}; commit {(found.commit or 'unknown')[:12]}"
        f"{' with changes' if found.dirty else ''}."
    )


def _noise(group: list[Result]) -> list[str]:
    """The control's ratio for each measurement that the group holds."""
    table = tidy(group).dropna(subset="noise")
    # A contender's result knows the spread between starts better than the reference's alone.
    table = table.iloc[::-1].drop_duplicates(["measurement", "batch"]).sort_values("batch")
    return [
        f"The reference against itself, batch {row['batch']:.0f}: {row['noise']:.3f} {cells.bounds(row, 'noise', 3)} "
        f"over {row['rounds']:.0f} rounds in {row['starts']:.0f} start{'s' if row['starts'] > 1 else ''}."
        for row in table.to_dict("records")
    ]


def _verdict(row: Mapping[Any, Any]) -> str:
    """The verdict in a word, and with it what is red."""
    if not cells.missing(row["error"]):
        return f"{row['status']}: {cells.first_line(row['error'])}"
    word = "reference" if row["backend"] == REFERENCE else str(row["verdict"])
    if cells.missing(row["floor"]):
        return f"{word}, not judged: its test did not come to its gate"
    return word if cells.missing(row["broken_gate"]) else f"{word}, breaks its gate: {row['broken_gate']}"


def _reasons(group: list[Result]) -> list[str]:
    """Why a case may not ship, where its verdict leaves that open."""
    found = ((result, verdict(result)) for result in group)
    return [
        f"{result.backend} is {said.word}: {'; '.join(said.reasons)}."
        for result, said in found
        if said is not None and said.word not in ("ship", "failed")
    ]


def _unbeaten(group: list[Result]) -> list[str]:
    names = [result.backend for result in undominated(group)]
    return [f"No other beats, on speed, loss and memory together: {', '.join(names)}."] if names else []


def _disturbed(group: list[Result]) -> list[str]:
    """What disturbed the rounds, once a measurement."""
    told = {result.measurement: result.disturbance.sentences() for result in group if result.disturbance}
    sentences = dict.fromkeys(sentence for sentences in told.values() for sentence in sentences)
    return [f"Disturbed: {'; '.join(sentences)}."] if sentences else []


def _restarts(group: list[Result]) -> list[str]:
    """How far apart fresh workers of each backend lie."""
    spreads = {r.backend: starts_differ_by(r.series[0]) for r in group if r.series and r.backend != REFERENCE}
    told = [f"{backend} {100 * spread:.1f} %" for backend, spread in spreads.items() if spread is not None]
    return [f"Speed-ups differ between starts by (standard deviation): {', '.join(told)}."] if told else []


def _phases(group: list[Result]) -> pd.DataFrame:
    """How each backend starts, what that costs, and its tail."""
    table = tidy(group).dropna(subset="startup_ms").drop_duplicates("backend")
    rows = [
        {
            "backend": row["backend"],
            **{
                name.replace("_", " "): cells.number(row[f"{name}_ms"], 3)
                for name in ("import", "load", "compile", "first_answer", "startup")
            },
            "pays off after": cells.requests(row["break_even_requests"]),
            **{f"p{share} ≤": cells.number(row[f"p{share}_bound_ms"], 3) for share in (90, 95, 99)},
        }
        for row in table.to_dict("records")
    ]
    return pd.DataFrame(rows)
