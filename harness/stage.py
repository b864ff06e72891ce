"""Stages of the pipeline, and what becomes of an error in one: a failure that goes on record."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError, Unsupported, WorkerError
from harness.records.schema import Failure
from harness.secrets import without_secrets


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
    except Exception as error:
        status = "unsupported" if isinstance(error, Unsupported) else "failed"
        failure = Failure(stage=name, message=told(error), status=status)  # type: ignore[arg-type]
        raise Stopped(failure, trace(error)) from error


def told(error: Exception) -> str:
    """The error as it goes on record, without secrets: a library may quote its address or its header."""
    return without_secrets(str(error) if isinstance(error, HarnessError) else _located(error))


def trace(error: Exception) -> str:
    """The error's traceback and, of one in another process, all that this wrote, its own traceback included."""
    said = f"\nWhat its process wrote:\n\n{error.said}\n" if isinstance(error, WorkerError) and error.said else ""
    return without_secrets("".join(traceback.format_exception(error)) + said)


def _located(error: Exception) -> str:
    """An unexpected error with the place it came from, so that its author finds the line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error}\n  raised at {Path(last.filename).name}:{last.lineno} in {last.name}"
