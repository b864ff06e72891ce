"""What became of cases since their stored runs, as a page and in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.report import cells
from harness.report.regressions import reasons, sentence, view
from harness.report.template import rendered
from harness.runs.regress import Line
from harness.statistics.stats import Interval

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
        told=[f"{line.case} {sentence(line)}" for line in _worst(lines)],
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
    parts += ["\n".join(f"- {cells.quoted(f'{line.case} {sentence(line)}')}" for line in _worst(lines))]
    if changed:
        table = view(changed).map(cells.quoted)
        parts.append(table.to_markdown(index=False, disable_numparse=True))
    why = [*reasons([line for line in lines if line.word != "regressed"]), *left]
    parts += ["\n".join(f"- {cells.quoted(told)}" for told in why)] if why else []
    parts += [f"[What this job made]({link})"] if link else []
    return "\n\n".join(part for part in parts if part) + "\n"


def status(lines: Sequence[Line]) -> str:
    """In one line."""
    found = Counter[str](line.word for line in lines)
    order = ("regressed", "improved", "undecided", "not comparable", "unchanged")
    return ", ".join(f"{found[word]} {word}" for word in order if found[word]) or "nothing was held against anything"


def _worst(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line.word == "regressed"]
