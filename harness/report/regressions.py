"""What became of cases since their stored runs, as text.

ALSO: What became of cases since their stored runs, as a page and in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.regression.changes import Line, change_sentence, change_text, speedup_text
from harness.report.page import rendered
from harness.stats.intervals import Interval
from harness.util import text


def table(lines: Sequence[Line]) -> str:
    """A row a case and workload; below it why, where a word does not say it."""
    align = ["left", "left", "right", "right", "right", "left"]
    told = reasons(lines)
    drawn = view(lines).to_markdown(index=False, tablefmt="simple", disable_numparse=True, colalign=align)
    return "\n".join([drawn, *([""] if told else []), *told])


def terminal_text(lines: Sequence[Line], left: Sequence[str]) -> str:
    """Return the table for the terminal; `left` says which stored runs were left out, and why."""
    return "\n".join([table(lines), "", *map(text.one_line, left)]).rstrip()


def reasons(lines: Sequence[Line]) -> list[str]:
    """Why the table has these words: of what regressed in figures, and once what is said of many lines alike."""
    alike: dict[tuple[str, str], list[Line]] = {}
    for at, line in enumerate(lines):
        if line.word in ("unchanged", "improved"):
            continue
        alike.setdefault((line.word, str(at) if line.word == "regressed" else line.why), []).append(line)
    return [
        f"{text.one_line(same[0].case)} {change_sentence(same[0])}" if len(same) == 1
        else f"{word}, {len(same)} lines: {text.one_line(why)}"
        for (word, why), same in alike.items()
    ]  # fmt: skip


def view(lines: Sequence[Line]) -> pd.DataFrame:
    """A row a case and workload."""
    return pd.DataFrame([_row(line) for line in lines]).map(text.one_line)


def _row(line: Line) -> dict[str, str]:
    return {
        "case": line.case,
        "what": line.what,
        "stored (runs)": f"{speedup_text(line.stored)} ({line.runs})" if line.stored else f"({line.runs})",
        "today": speedup_text(line.today) if line.today else "",
        "change": change_text(line),
        "": line.word,
    }


MARKS = {"regressed": "failed", "improved": "ship", "undecided": "undecided", "not comparable": "undecided"}
"""Word → how a page marks it, as it marks verdicts."""

FIGURES = ("stored", "today", "change")


def page(lines: Sequence[Line], left: Sequence[str], before: Path, after: Path) -> str:
    """HTML; `left` says which stored runs were left out, and why."""
    table = [
        {
            **dict(zip(("case", "what", "stored", "today", "change", "word"), row, strict=True)),
            "why": line.why,
            "values": {name: _value(getattr(line, name)) for name in FIGURES},
        }
        for row, line in zip(view(lines).to_numpy().tolist(), lines, strict=True)
    ]
    return rendered(
        "changes.html",
        before=str(before),
        after=str(after),
        status=status(lines),
        told=[f"{line.case} {change_sentence(line)}" for line in _worst(lines)],
        filters={name: sorted({row[name] for row in table}) for name in ("word", "what")},
        columns=("case", "what", "became", "stored (runs)", "today", "change", "why"),
        rows=[row | {"mark": MARKS.get(row["word"], "")} for row in table],
        left=left,
    )


def _value(found: Interval | None) -> str:
    """What a column is sorted by."""
    return "" if found is None else f"{found.estimate:.6g}"


def short(lines: Sequence[Line], left: Sequence[str], link: str | None = None) -> str:
    """Markdown: what regressed first, then everything that is not unchanged."""
    changed = [line for line in lines if line.word != "unchanged"]
    parts = [f"### {status(lines)}"]
    parts += ["\n".join(f"- {text.escape_markdown(f'{line.case} {change_sentence(line)}')}" for line in _worst(lines))]
    if changed:
        table = view(changed).map(text.escape_markdown)
        parts.append(table.to_markdown(index=False, disable_numparse=True))
    why = [*reasons([line for line in lines if line.word != "regressed"]), *left]
    parts += ["\n".join(f"- {text.escape_markdown(told)}" for told in why)] if why else []
    parts += [f"[What this job made]({link})"] if link else []
    return "\n\n".join(part for part in parts if part) + "\n"


def status(lines: Sequence[Line]) -> str:
    """In one line."""
    found = Counter[str](line.word for line in lines)
    order = ("regressed", "improved", "undecided", "not comparable", "unchanged")
    return ", ".join(f"{found[word]} {word}" for word in order if found[word]) or "nothing was held against anything"


def _worst(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line.word == "regressed"]
