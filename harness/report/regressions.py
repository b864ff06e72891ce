"""Changes since stored runs: as a table for the terminal, in Markdown for GitHub, and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.regression.changes import Change, change_sentence, change_text
from harness.report.integrations import artifacts_link, bullet_list
from harness.report.page import render_template
from harness.report.rendering import render
from harness.stats.intervals import format_ratio
from harness.util.text import escape_markdown, one_line

# Word → class of the verdict whose colour it takes on the page.
MARKS = {"regressed": "failed", "improved": "ship", "undecided": "undecided", "not comparable": "undecided"}
NAMES = ("case", "aspect", "word")  # left-aligned columns


def terminal_text(changes: Sequence[Change], left_out: Sequence[str]) -> str:
    """Return a row per case and aspect; below it the reasons, and sentences about stored runs that were left out."""
    paragraphs = [[render(_view(changes), left=NAMES)], reasons(changes), map(one_line, left_out)]
    return "\n\n".join(text for text in map("\n".join, paragraphs) if text)


def reasons(changes: Sequence[Change]) -> list[str]:
    """Explain all but unchanged and improved cases: each regression by itself, others with one reason together."""
    groups: dict[tuple[str, str], list[Change]] = {}
    for at, change in enumerate(changes):
        if change.word not in ("unchanged", "improved"):
            reason = str(at) if change.word == "regressed" else change.why
            groups.setdefault((change.word, reason), []).append(change)
    return [
        one_line(f"{same[0].case} {change_sentence(same[0])}" if len(same) == 1 else f"{word}, {len(same)} rows: {why}")
        for (word, why), same in groups.items()
    ]


def github_summary(changes: Sequence[Change], left_out: Sequence[str], link: str | None = None) -> str:
    """Return Markdown: regressions first, then everything that is not unchanged."""
    changed = [change for change in changes if change.word != "unchanged"]
    why = reasons([change for change in changes if change.word != "regressed"])
    parts = [
        f"### {status(changes)}",
        bullet_list(_regressions(changes), "-"),
        render(_view(changed).map(escape_markdown), "pipe", left=NAMES) if changed else "",
        bullet_list([*why, *left_out], "-"),
        artifacts_link(link),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def page(changes: Sequence[Change], left_out: Sequence[str], before: Path, after: Path) -> str:
    """Return the page as HTML; `before` and `after` are the folders that were compared."""
    rows = [
        {**row, "mark": MARKS.get(change.word, ""), "why": change.why, "values": _sort_values(change)}
        for row, change in zip(_view(changes).to_dict("records"), changes, strict=True)
    ]
    return render_template(
        "changes.html",
        before=str(before),
        after=str(after),
        status=status(changes),
        regressions=_regressions(changes),
        filters={name: sorted({row[name] for row in rows}) for name in ("word", "aspect")},
        rows=rows,
        left_out=left_out,
    )


def status(changes: Sequence[Change]) -> str:
    """Summarise the changes in one line."""
    counts = Counter[str](change.word for change in changes)
    order = ("regressed", "improved", "undecided", "not comparable", "unchanged")
    return ", ".join(f"{counts[word]} {word}" for word in order if counts[word]) or "nothing was compared"


def _regressions(changes: Sequence[Change]) -> list[str]:
    return [f"{change.case} {change_sentence(change)}" for change in changes if change.word == "regressed"]


def _view(changes: Sequence[Change]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "case": one_line(change.case),
            "aspect": change.aspect,
            "stored (runs)": f"{format_ratio(change.stored)} ({change.runs})" if change.stored else f"({change.runs})",
            "today": format_ratio(change.today) if change.today else "",
            "change": one_line(change_text(change)),
            "word": change.word,
        }
        for change in changes
    )


def _sort_values(change: Change) -> dict[str, str]:
    intervals = {"stored (runs)": change.stored, "today": change.today, "change": change.change}
    return {name: f"{interval.estimate:.6g}" if interval else "" for name, interval in intervals.items()}
