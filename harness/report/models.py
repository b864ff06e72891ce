"""The finals of a task as text."""

from __future__ import annotations

from statistics import median

import pandas as pd

from harness.report import cells
from harness.statistics.stats import Interval
from harness.verdicts.finals import Entry, Finals, standing, winner
from harness.verdicts.phrases import ends
from harness.verdicts.speed import flat, noise_floor, startup_ms


def finals_view(finals: Finals) -> pd.DataFrame:
    """One line a model, in the suite's order; `*` marks the winner."""
    best, _ = winner(finals)
    return pd.DataFrame([_line(finals, entry, entry is best) for entry in finals.entries])


def finals_sentence(finals: Finals, mark: str = "**") -> str:
    """Who wins, and why."""
    best, why = winner(finals)
    return f"{mark}Would choose {best.model} on {best.backend}{mark}: {why}."


def finals_notes(finals: Finals) -> list[str]:
    """What stands below the table: who is missing, what disturbed the rounds, and the noise."""
    told = [f"{model} has no entry: {why}." for model, why in finals.absent.items()]
    told += [f"{entry.model} on {entry.backend} failed: {entry.error}" for entry in finals.entries if entry.error]
    disturbed = finals.disturbance.sentences() if finals.disturbance else []
    told += [f"Disturbed: {'; '.join(disturbed)}."] if disturbed else []
    others = [entry.series[0] for entry in finals.entries[1:] if entry.series]
    if others:
        noise = noise_floor(others[0])
        told.append(
            f"{finals.entries[0].model} on {finals.entries[0].backend} against itself: {noise.estimate:.3f} "
            f"[{noise.low:.3f}, {noise.high:.3f}] over {len(flat(others[0].own_ns))} rounds in "
            f"{len(others[0].own_ns)} starts; from raw rows to answers, batch {others[0].workload.batch}."
        )
    return told


def _line(finals: Finals, entry: Entry, best: bool) -> dict[str, str]:
    found = standing(finals, entry)
    times = [ns / 1e6 for ns in flat(entry.series[0].own_ns)] if entry.series else []
    return {
        "model": f"{entry.model}{' *' if best else ''}",
        "backend": entry.backend,
        "speed-up": "failed" if entry.error else _ratio(found.gain if found else None),
        "ms from raw row": cells.number(median(times) if times else None, 3),
        "score": cells.number(entry.score, decimals=4),
        "loss, points": _points(found.lost) if found else "0",
        "MB": cells.number(entry.size_bytes / 1e6, 3),
        "startup, ms": cells.number(startup_ms(entry.process) if entry.process else None, 3),
    }


def _ratio(found: Interval | None) -> str:
    if found is None:
        return "1×"
    return f"{found.estimate:.2f}× {ends(found.low, found.high, 2)}"


def _points(found: Interval) -> str:
    return f"{cells.points(found.estimate)} [{cells.points(found.low)}, {cells.points(found.high)}]"
