"""Safe texts: errors without secrets, and foreign text that terminals, tables and spreadsheets do not take as code."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, WorkerError, describe_error

SECRET_NAME = re.compile(r"TOKEN(?!IZER)|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY", re.IGNORECASE)
SHORTEST_SECRET = 8
"""Characters; a shorter value may be a word of any text."""
REDACTED = "***"

LONGEST_LINE = 400
"""Characters of an error's line that a result keeps: libraries may quote a whole graph. The log file keeps all."""
FIRST_LINES, LAST_LINES = 12, 4
"""Lines of a long error that a result keeps."""

SURROGATES = re.compile("[\ud800-\udfff]")
"""Characters that no file can hold."""
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Characters that would move a terminal's cursor, and those that no file can hold."""


def redact_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the text without the values of environment variables that are named like secrets."""
    variables = os.environ if environment is None else environment
    secrets = {v for name, v in variables.items() if SECRET_NAME.search(name) and len(v) >= SHORTEST_SECRET}
    for secret in sorted(secrets, key=len, reverse=True):  # the longest first: one may begin with another
        text = text.replace(secret, REDACTED)
    return text


def error_text(error: BaseException) -> str:
    """Return the error as a result keeps it: without secrets or control characters, an unexpected one with its line."""
    if isinstance(error, HarnessError):
        text = str(error)
    else:  # whose own message may be unreadable
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{describe_error(error)}\n  raised at {Path(last.filename).name}:{last.lineno} in {last.name}"
    lines = [CONTROLS.sub(_escape, line) for line in redact_secrets(text).split("\n")]
    if left_out := len(lines[FIRST_LINES:-LAST_LINES]):
        lines[FIRST_LINES:-LAST_LINES] = [f"… ({left_out} more lines)"]
    return "\n".join(
        line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} … ({len(line):,} characters)" for line in lines
    )


def error_trace(error: BaseException) -> str:
    """Return the error's traceback without secrets, followed by the output of the worker that failed."""
    text = "".join(traceback.format_exception(error))
    if isinstance(error, WorkerError) and error.output:
        text += f"\nOutput of its process:\n\n{error.output}\n"
    return SURROGATES.sub(_escape, redact_secrets(text))


def one_line(text: str) -> str:
    """Replace control characters, which would move the terminal's cursor or end a table's row."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def terminal_safe(text: str) -> str:
    """Return lines without control characters, none of which GitHub's runner takes as a command."""
    lines = (one_line(line).replace("##[", "## [") for line in text.split("\n"))
    return "\n".join(re.sub(r"^\s*::", "| ::", line) for line in lines)


def escape_markdown(text: str) -> str:
    """Escape text for a Markdown comment: no links, mentions, emphasis or ends of cells."""
    escaped = re.sub(r"([\\\[\]!*_~<>|`&])", r"\\\1", one_line(text))
    return re.sub(r"([@#])(?=\w)", "\\1\u200b", escaped)  # GitHub finds mentions in the rendered text, too


def escape_cell(cell: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return one_line(cell).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")


def spreadsheet_safe(cell: Any) -> Any:
    """Return text on one line that neither a spreadsheet, a terminal nor GitHub's runner takes as a command."""
    if not isinstance(cell, str):
        return cell
    return ("'" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else "") + terminal_safe(one_line(cell))


def _escape(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]


def count(number: int, word: str) -> str:
    """Write a number of things."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
