"""Entities of tagged words, in the schemes that seqeval reads strictly, however their tags are written."""

from __future__ import annotations

import re
from functools import lru_cache

SCHEMES = {
    "IOB2": "IB", "IOB1": "BI", "IOE2": "IE", "IOE1": "EI", "IOBES": "BIES", "BMES": "BMES", "BILOU": "BILU",
    "bare": "",
}  # fmt: skip
"""Scheme of entity tags → its letters, of which the last stands for an entity of one word.

Tags of the scheme `bare` have no letter: equal tags of neighbouring words are one entity.
"""
SYNONYMS = {"BIO": "IOB2", "BIO2": "IOB2", "BIOES": "IOBES", "BILUO": "BILOU"}
READ_AS = {"bare": "IOB1", "BMES": "IOBES", "IOE1": "IOE2"}
"""Schemes that seqeval lacks, or misreads, → that into which they are translated."""
PREFIXED = re.compile(r"(?P<letter>[BIESMLU])(?:[\W_]+(?P<type>.+))?", re.IGNORECASE)
SUFFIXED = re.compile(r"(?:(?P<type>.+?)[\W_]+)?(?P<letter>[BIESMLU])", re.IGNORECASE)
Entity = tuple[str, int, int]


def is_outside(tag: str) -> bool:
    """Return whether the tag is that of words of no entity."""
    return tag in ("O", "o")


def is_letter(char: str) -> bool:
    """Return whether schemes mark places in an entity with this letter."""
    return char.upper() in "BIESMLU"


def split_tag(tag: str, form: str) -> tuple[str, str] | None:
    """Return a tag's letter and type, by its `form`: `prefix`, `suffix` or `bare`; None if it has no letter."""
    if form == "bare":
        return "I", tag
    match = (SUFFIXED if form == "suffix" else PREFIXED).fullmatch(tag)
    return (match["letter"].upper(), match["type"] or "_") if match else None


@lru_cache(maxsize=100_000)
def entities(tags: tuple[str, ...], scheme: str, form: str) -> frozenset[Entity]:
    """Return (type, first word, word after the last) of each entity; tags that break the scheme are of none."""
    from seqeval import scheme as schemes

    parts = [None if is_outside(tag) else split_tag(tag, form) for tag in tags]
    if scheme == "IOE1":
        pairs = zip(parts, [*parts[1:], None], strict=True)
        parts = [part and (_ioe2_letter(part, after), part[1]) for part, after in pairs]
    if scheme == "BMES":
        parts = [part and ("I" if part[0] == "M" else part[0], part[1]) for part in parts]
    types = sorted({part[1] for part in parts if part})
    # By number: seqeval strips hyphens from types.
    tokens = [f"{part[0]}-{types.index(part[1])}" if part else "O" for part in parts]
    read = schemes.Tokens(tokens, getattr(schemes, READ_AS.get(scheme, scheme))).entities
    return frozenset((types[int(entity.tag)], entity.start, entity.end) for entity in read)


def misplaced_tag(tags: tuple[str, ...], scheme: str, form: str) -> int | None:
    """Return the place of the first tag that breaks the scheme."""
    inside = {word for _, start, end in entities(tags, scheme, form) for word in range(start, end)}
    return next((word for word, tag in enumerate(tags) if not is_outside(tag) and word not in inside), None)


def _ioe2_letter(part: tuple[str, str], after: tuple[str, str] | None) -> str:
    """Translate a letter of IOE1, where E only parts an entity from a neighbour of its type, which seqeval misreads."""
    has_neighbour = after is not None and after[1] == part[1]
    return "E" if (part[0] == "E") == has_neighbour else "I"
