"""Errors, one class for each way a caller may react."""

import re
from collections.abc import Sequence

NOT_DECIDED = 7
"""Exit status, beside pytest's own 0 to 5, of a run that broke no gate and left a case undecided."""
NOT_DECIDABLE = 8
"""The same where another run would not decide: test rows are too few, or nothing was measured."""

BRIEF = 240
"""Characters of a foreign error's first line that a sentence quotes; the log has the whole traceback."""


class HarnessError(Exception):
    """Something is wrong that the user can mend; the message says what, where, and what to do."""


class Unsupported(HarnessError):
    """This combination cannot exist: an exporter without that head, a device without that operator."""


class Incomparable(HarnessError):
    """Two results must not stand side by side; the message names the fields in which they differ."""


class WorkerError(HarnessError):
    """A worker process died, hung, or reported that its backend failed."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output
        """Everything that the process wrote."""


class OutOfMemory(WorkerError):
    """A worker's backend ran out of memory, the host's or the device's."""


def describe_error(error: BaseException) -> str:
    """Return type and text of the error and, on a line of its own, of what caused it in the end."""
    root = _root(error)
    is_quoted = root is error or _text(root) in _text(error)
    return _describe(error) if is_quoted else f"{_describe(error)}\n  caused by {_describe(root)}"


def brief_error(error: BaseException) -> str:
    """Return the error and what caused it in the end as part of a sentence: the first line of each, cut if long."""
    lines = [
        next((line for line in map(str.strip, _describe(part).splitlines()) if line), "")
        for part in (error, _root(error))
    ]
    if lines[1].partition(": ")[2] in lines[0]:
        del lines[1]
    return "; caused by ".join(line if len(line) <= BRIEF else f"{line[:BRIEF]} …" for line in lines)


def name_some(names: Sequence[str], most: int = 3) -> str:
    """Return the first names as part of a sentence, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _root(error: BaseException) -> BaseException:
    """Return the end of an error's chain of causes."""
    root, seen = error, {id(error)}
    while root.__cause__ is not None and id(root.__cause__) not in seen:
        root = root.__cause__
        seen.add(id(root))
    return root


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}{_text(error)}"


def _text(error: BaseException) -> str:
    """Return the error's text; third-party exceptions may fail even at that, and a KeyError quotes it."""
    try:
        is_sentence = isinstance(error, KeyError) and error.args and " " in str(error.args[0])
        return f": {error.args[0] if is_sentence else error}"
    except Exception as second:
        return f", whose message cannot be read: {type(second).__name__}"


def worker_error(reported: str, message: str, output: str) -> WorkerError:
    """Return the error for a worker that `reported` a failure, or ended that way; `output` is all that it wrote."""
    # In the words of Python, C++, PyTorch, ONNX Runtime and CUDA's libraries.
    no_memory = re.search("MemoryError|out of memory|alloc_failed|allocate memory|bad.?alloc", reported, re.IGNORECASE)
    return (OutOfMemory if no_memory else WorkerError)(message, output)
