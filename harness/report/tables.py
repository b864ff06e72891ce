"""A comparison as text: Markdown for files, plain columns for the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from harness.compare import comparisons, recommend, tidy
from harness.environment import Environment
from harness.results import Result
from harness.spec import REFERENCE


def markdown(results: Iterable[Result]) -> str:
    """Every comparison with its table, its recommendation, and where the numbers came from."""
    parts = ["# Comparison\n"]
    for group in comparisons(results):
        first = group[0]
        parts.append(f"## {first.task} / {first.model} on {first.device}, machine {first.environment.machine}\n")
        parts.append(f"{_sentence(group)}\n")
        view = _view(group).map(_inert)
        parts.append(view.to_markdown(index=False, disable_numparse=True, colalign=_align(view)))
        parts.append(f"\n{_provenance(group)}\n")
    return "\n".join(parts)


def terminal(results: Iterable[Result]) -> str:
    """The same, narrower."""
    parts = []
    for group in comparisons(results):
        first = group[0]
        parts.append(f"{first.task} / {first.model} on {first.device}")
        view = _view(group).drop(columns=["MB", "peak RSS, MB"])
        view["status"] = view["status"].str.partition(":")[0]
        parts.append(view.to_markdown(index=False, tablefmt="simple", disable_numparse=True, colalign=_align(view)))
        parts += [f"{_sentence(group, mark='')}", *_noise(group), ""]
    return "\n".join(parts)


def line(result: Result) -> str:
    """One case in one line."""
    if result.error is not None:
        return f"{result.status} at {result.error.stage}: {_first_line(result.error.message)}"
    row = _row(tidy([result]), 0)
    return f"{row['speed-up, batch 1']} ({row['ms']} ms), {row['score']}, loss {row['loss, points']}"


def _view(group: list[Result]) -> pd.DataFrame:
    table = tidy(group)
    return pd.DataFrame([_row(lines, table["batch"].max()) for _, lines in table.groupby("backend", sort=False)])


def _align(view: pd.DataFrame) -> list[str]:
    return ["left", *["right"] * (len(view.columns) - 2), "left"]


def _row(lines: pd.DataFrame, larger: float) -> dict[str, str]:
    """One case's cells; its first line is batch 1, its last the `larger` batch."""
    small, large = lines.iloc[0].to_dict(), lines.iloc[-1].to_dict()
    return {
        "backend": f"{small['backend']}{' *' if small['chosen'] else ''}",
        "speed-up, batch 1": _interval(small, "speedup", "×"),
        "ms": _number(small["median_ms"], 3),
        f"speed-up, batch {_number(larger)}": _interval(large, "speedup", "×"),
        "rows/s": _number(large["rows_per_s"], 3),
        "score": _number(small["score"], decimals=4),
        "loss, points": _loss(small),
        "MB": _number(small["size_mb"], 3),
        "peak RSS, MB": _number(small["peak_rss_mb"], 3),
        "status": _status(small),
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
    table = tidy(group).dropna(subset="noise").drop_duplicates(["measurement", "batch"])
    return [
        f"The reference against itself, batch {row['batch']:.0f}: {row['noise']:.3f} {_bounds(row, 'noise', 3)} over "
        f"{row['rounds']:.0f} rounds in {row['starts']:.0f} start{'s' if row['starts'] > 1 else ''}."
        for row in table.to_dict("records")
    ]


def _interval(row: Mapping[Any, Any], name: str, unit: str) -> str:
    if _missing(row[name]):
        return ""
    if row["backend"] == REFERENCE:
        return f"1{unit}"
    return f"{row[name]:.2f}{unit} {_bounds(row, name, 2)}"


def _bounds(row: Mapping[Any, Any], name: str, decimals: int) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]" if math.isfinite(high) else "[too few rounds]"


def _loss(row: Mapping[Any, Any]) -> str:
    if _missing(row["loss"]):
        return ""
    if row["backend"] == REFERENCE:
        return "0"
    estimate, low, high = (_points(row[name]) for name in ("loss", "loss_low", "loss_high"))
    return f"{estimate} [{low}, {high}]"


def _points(share: float) -> str:
    """A difference in percentage points; no difference has no sign."""
    rounded = round(100 * share, 2)
    return f"{rounded:+.2f}" if rounded else "0.00"


def _status(row: Mapping[Any, Any]) -> str:
    if not _missing(row["error"]):
        return f"{row['status']}: {_first_line(row['error'])}"
    if row["status"] == "ok" and _missing(row["floor"]):
        return "ok, not judged: its test did not come to its gate"
    return row["status"] if _missing(row["broken_gate"]) else f"breaks its gate: {row['broken_gate']}"


def _first_line(text: str) -> str:
    return _plain(text.partition("\n")[0])


def _plain(text: str) -> str:
    """Without control characters: they would move the terminal's cursor or end a table's row."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def _number(value: Any, digits: int = 0, decimals: int | None = None) -> str:
    """`digits` significant digits, but never rounded above the unit; or fixed decimals."""
    if _missing(value):
        return ""
    if decimals is None:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value and digits else 0
    return f"{value:,.{decimals}f}"


def _missing(value: Any) -> bool:
    return value is None or bool(pd.isna(value))


def _inert(cell: str) -> str:
    """Text that cannot break out of its table cell."""
    return _plain(cell).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
