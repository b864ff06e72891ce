"""A figure of matplotlib as inline SVG: text stays text, colours are the page's, and nothing is loaded."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from html import escape
from io import StringIO
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from harness.report import cells

INK, FAINT, BAND = "#010101", "#7e7e01", "#dcdc01"
"""Stand-ins, which no palette has: the page says what they are, in light and in dark."""
SERIES = tuple(f"#01010{digit:x}" for digit in range(2, 10))
"""Likewise, of what is told apart by colour; told apart by shape and name as well."""
PHASES = tuple(f"#01020{digit}" for digit in range(4))
"""Of phases, which are no backends."""
_ROLES = (
    {INK: "ink", FAINT: "faint", BAND: "band"}
    | {c: f"c{n}" for n, c in enumerate(SERIES)}
    | {c: f"p{n}" for n, c in enumerate(PHASES)}
)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "shipbench",
    "text.parse_math": False,  # a model may be called $x$
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "legend.frameon": False,
}


def style() -> AbstractContextManager[None]:
    """How every picture looks; figures are to be drawn inside."""
    return rc_context(_STYLE)


def inline(figure: Figure, told: str, name: str) -> str:
    """The figure as an `svg` element with the text alternative `told`; `name` is unique on its page."""
    with style(), StringIO() as out:
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = _named(re.sub(r"<[^>]+>", _short, text), name)
    opened = f'<svg viewBox="{_view(text)}" role="img" aria-label="{escape(cells.plain(told))}">'
    return re.sub(r"\n\s*", "\n", re.sub(r"<svg\b[^>]*>", lambda _: opened, text, count=1)).strip()


def _view(text: str) -> str:
    found = re.search(r'viewBox="([^"]+)"', text)
    assert found is not None
    return found[1]


def _short(tag: re.Match[str]) -> str:
    """The tag with two decimals, the page's colours, and its font."""
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0])
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font: \1px sans-serif", text)
    return re.sub("#[0-9a-f]{6}", lambda found: f"var(--{_ROLES[found[0]]})" if found[0] in _ROLES else found[0], text)


def _named(text: str, name: str) -> str:
    """Ids, which matplotlib gives anew to every figure: those that are referred to are made unique, others go."""
    wanted = set(re.findall(r'(?:url\(#|href="#)([\w-]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in wanted else "", text)
    return re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", text)
