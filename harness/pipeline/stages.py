"""Stages of the pipeline, and what becomes of an error in one: a failure that goes on record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import Unsupported
from harness.results.schema import Failure
from harness.util.text import error_text, error_trace


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
        failure = Failure(stage=name, message=error_text(error), status=status)  # type: ignore[arg-type]
        raise Stopped(failure, error_trace(error)) from error
