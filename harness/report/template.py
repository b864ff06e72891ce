"""A page of ours, filled in: whatever others wrote is escaped in it."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from harness.report.cells import plain

ASSETS = resources.files("harness.report") / "assets"


def rendered(template: str, **known: Any) -> str:
    """A template of ours; in it every name, text and error of others is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, finalize=_finalised, loader=jinja2.FunctionLoader(_asset)
    )
    return environment.get_template(template).render(
        style=Markup(_asset("page.css")),  # noqa: S704  # ours
        script=Markup(_asset("page.js")),  # noqa: S704  # ours
        **known,
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _finalised(value: Any) -> Any:
    """What a template prints: names, texts and errors of others are without control characters."""
    return plain(value) if type(value) is str else value
