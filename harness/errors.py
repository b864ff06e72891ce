"""Errors, one class for each way a caller may react."""

import re

NOT_DECIDED = 7
"""Exit status, beside pytest's own 0 to 5, of a run that broke no gate and left a case undecided."""


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
    """Return the error's type and text; third-party exceptions may fail even at that."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as second:
        return f"{type(error).__name__}, whose message cannot be read: {type(second).__name__}"


def worker_error(reported: str, message: str, output: str) -> WorkerError:
    """Return the error for a worker that `reported` a failure, or ended that way; `output` is all that it wrote."""
    # In the words of Python, C++, PyTorch, ONNX Runtime and CUDA's libraries.
    no_memory = re.search("MemoryError|out of memory|alloc_failed|allocate memory|bad.?alloc", reported, re.IGNORECASE)
    return (OutOfMemory if no_memory else WorkerError)(message, output)
