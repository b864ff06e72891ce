"""Values of the environment that nobody else may read: taken out of errors before these are written down."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, WorkerError, named

SECRET_NAME = re.compile(r"TOKEN(?!IZER)|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY", re.IGNORECASE)

SHORTEST = 8
"""A shorter value may be a word of any text."""

GONE = "***"


def redact_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text, in which values of variables that are named like secrets are replaced."""
    known = os.environ if environment is None else environment
    values = {value for name, value in known.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST}
    # The longest first: one may begin with another.
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, GONE)
    return text


LONGEST_LINE = 1000
"""Characters of a line of an error that go on record; a library may quote a whole graph. The file beside has all."""

SURROGATES = re.compile("[\ud800-\udfff]")
"""What no file takes."""

ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""What would move a terminal's cursor, or what no file takes."""


def error_text(error: BaseException) -> str:
    """The error as it goes on record, without secrets: a library may quote its address or its header."""
    said = redact_secrets(str(error) if isinstance(error, HarnessError) else _located(error))
    return "\n".join(_short(ODD.sub(_escaped, line)) for line in said.split("\n"))


def error_trace(error: BaseException) -> str:
    """The error's traceback and, of one in another process, all that this wrote, its own traceback included."""
    said = f"\nWhat its process wrote:\n\n{error.said}\n" if isinstance(error, WorkerError) and error.said else ""
    whole = redact_secrets("".join(traceback.format_exception(error)) + said)
    return SURROGATES.sub(_escaped, whole)


def _located(error: BaseException) -> str:
    """An unexpected error with the place it came from, so that its author finds the line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{named(error)}\n  raised at {Path(last.filename).name}:{last.lineno} in {last.name}"


def _short(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} … ({len(line):,} characters)"


def _escaped(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


def one_line(text: str) -> str:
    """Without control characters: they would move the terminal's cursor or end a table's row."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def terminal_safe(text: str) -> str:
    """Lines of others without control characters, none of which begins as a command to GitHub's runner would."""
    lines = (one_line(line).replace("##[", "## [") for line in text.split("\n"))
    return "\n".join(re.sub(r"^\s*::", "| ::", line) for line in lines)


def escape_markdown(text: str) -> str:
    """Text in the Markdown of a comment: nothing in it is a link, a mention, an emphasis or the end of a cell."""
    marked = re.sub(r"([\\\[\]!*_~<>|`&])", r"\\\1", one_line(text))
    return re.sub(r"([@#])(?=\w)", "\\1\u200b", marked)  # which GitHub looks for in the text as it is read


def spreadsheet_safe(cell: Any) -> Any:
    """Text that a spreadsheet takes for text, in one line, in which a terminal and GitHub's runner see no command."""
    if not isinstance(cell, str):
        return cell
    return ("'" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else "") + terminal_safe(one_line(cell))


def escape_cell(cell: str) -> str:
    """Text that cannot break out of its table cell."""
    return one_line(cell).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
