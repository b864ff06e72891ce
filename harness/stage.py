"""Stages of the pipeline, and what becomes of an error in one: a failure that goes on record."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError, Unsupported, WorkerError, named
from harness.records.schema import Failure
from harness.secrets import without_secrets

LONGEST_LINE = 1000
"""Characters of a line of an error that go on record; a library may quote a whole graph. The file beside has all."""
SURROGATES = re.compile("[\ud800-\udfff]")
"""What no file takes."""
ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""What would move a terminal's cursor, or what no file takes."""


class Stopped(Exception):
    """A stage ended without what the next one needs."""

    def __init__(self, failure: Failure, trace: str = "") -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.trace = trace
        """The whole story, for a file beside the result."""


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Turns whatever a stage raises, its own or a library's, into a failure that goes on record."""
    try:
        yield
    except Stopped:
        raise
    except (Exception, SystemExit) as error:  # of a library that is a command, too
        status = "unsupported" if isinstance(error, Unsupported) else "failed"
        failure = Failure(stage=name, message=told(error), status=status)  # type: ignore[arg-type]
        raise Stopped(failure, trace(error)) from error


def told(error: BaseException) -> str:
    """The error as it goes on record, without secrets: a library may quote its address or its header."""
    said = without_secrets(str(error) if isinstance(error, HarnessError) else _located(error))
    return "\n".join(_short(ODD.sub(_escaped, line)) for line in said.split("\n"))


def trace(error: BaseException) -> str:
    """The error's traceback and, of one in another process, all that this wrote, its own traceback included."""
    said = f"\nWhat its process wrote:\n\n{error.said}\n" if isinstance(error, WorkerError) and error.said else ""
    whole = without_secrets("".join(traceback.format_exception(error)) + said)
    return SURROGATES.sub(_escaped, whole)


def _located(error: BaseException) -> str:
    """An unexpected error with the place it came from, so that its author finds the line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{named(error)}\n  raised at {Path(last.filename).name}:{last.lineno} in {last.name}"


def _short(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} … ({len(line):,} characters)"


def _escaped(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
