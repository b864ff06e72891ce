"""Exports with a mistake are refused by the gate that every session uses, and harmless changes are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.selftest import catalogue
from harness.selftest.catalogue import Variant
from harness.selftest.figures import (
    BROKEN_IMAGE,
    BROKEN_ROWS,
    BROKEN_TEXT,
    CLEAN_IMAGE,
    CLEAN_TEXT,
    UNGATED_PASSES,
)
from harness.selftest.part import Figure, Given, Part
from harness.selftest.real import Gated, Real, gate, prepare, without_cut_rows


def run(given: Given) -> Iterator[Figure]:
    """The text model of one suite, then the image model of the other."""
    text = prepare("test_bbc_news.py", "MINILM", BROKEN_ROWS, given)
    broken = catalogue.broken_text(text.shop.model.max_length)
    yield from _judge("MiniLM", text, broken, catalogue.clean_text(), BROKEN_TEXT, CLEAN_TEXT, given.scratch)
    yield _hidden(text, [variant for variant in broken if variant.hidden], given.scratch)
    image = prepare("test_digits.py", "TINY_VIT", BROKEN_ROWS, given)
    yield from _judge(
        "ViT", image, catalogue.broken_image(), catalogue.clean_image(), BROKEN_IMAGE, CLEAN_IMAGE, given.scratch
    )


def _judge(
    name: str, real: Real, broken: Sequence[Variant], clean: Sequence[Variant], bad: int, good: int, scratch: Path
) -> Iterator[Figure]:
    told = _gated(real, broken, scratch)
    yield Figure(
        label=f"{name}: broken exports refused",
        k=sum(found.refused is not None for found in told.values()),
        n=len(broken),
        at_least=bad,
        note="; ".join(f"{what}: {_short(found.refused)}" for what, found in told.items()),
    )
    passing = [what for what, found in told.items() if found.ungated is None]
    yield Figure(
        label=f"{name}: without parity, by score alone, broken exports accepted",
        k=len(passing),
        n=len(broken),
        at_least=UNGATED_PASSES,
        control=True,
        note=", ".join(passing),
    )
    told = _gated(real, clean, scratch)
    refused = {what: found.refused for what, found in told.items() if found.refused is not None}
    yield Figure(
        label=f"{name}: clean exports accepted",
        k=len(clean) - len(refused),
        n=len(clean),
        at_least=good,
        note="; ".join(f"{what}: {_short(why)}" for what, why in refused.items()),
    )


def _hidden(real: Real, broken: Sequence[Variant], scratch: Path) -> Figure:
    told = _gated(without_cut_rows(real), broken, scratch)
    passing = [what for what, found in told.items() if found.refused is None]
    return Figure(
        label="MiniLM: without rows cut to other lengths, padding mistakes accepted",
        k=len(passing),
        n=len(broken),
        at_least=UNGATED_PASSES,
        control=True,
        note=", ".join(passing),
    )


def _gated(real: Real, chosen: Sequence[Variant], scratch: Path) -> dict[str, Gated]:
    told = {}
    for variant in chosen:
        folder = scratch / "variant"
        folder.mkdir()
        told[variant.name] = gate(real, variant.backend, variant.artifact(real, folder))
        for file in folder.iterdir():
            file.unlink()  # one of these models is 90 MB
        folder.rmdir()
    return told


def _short(reason: str | None) -> str:
    """What differed and by how much; all refusals begin alike."""
    if reason is None:
        return "NOT REFUSED"
    return reason.partition("the export does not answer as pytorch does: ")[2].partition(" (allowed")[0] or reason[:120]


PART = Part(
    name="broken-exports",
    claim=f"{BROKEN_TEXT} of {BROKEN_TEXT} broken exports are refused, {CLEAN_TEXT} of {CLEAN_TEXT} clean ones are not",
    run=run,
)
