"""What can go wrong, by what the caller may do about it."""

import re

NOT_DECIDED = 7
"""Exit status, beside pytest's own 0 to 5, of a run that broke no gate and did not decide every case."""


class HarnessError(Exception):
    """Something is wrong that the user can mend; the message says what, where and what to do."""


class Unsupported(HarnessError):
    """This combination cannot exist (an exporter without that head, a device without that operator)."""


class Incomparable(HarnessError):
    """Two results that must not stand side by side, with the fields in which they differ."""


class WorkerError(HarnessError):
    """A worker process died, hung, or reported that its backend failed."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said
        """All that the process wrote."""


class OutOfMemory(WorkerError):
    """A worker's backend found no memory, the host's or the device's, for what it was asked."""


MEMORY = re.compile("MemoryError|out of memory|alloc_failed|allocate memory|bad.?alloc", re.IGNORECASE)
"""In an error's type and text: what Python, C++, PyTorch, ONNX Runtime and CUDA's libraries say of it."""


def named(error: BaseException) -> str:
    """Its type and what it says; one of somebody's own may fail even at that."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as other:
        return f"{type(error).__name__}, which cannot be told: {type(other).__name__}"


def reported(error: str, message: str, said: str) -> WorkerError:
    """What a process reported as `error`, or how it ended; `said` is all that it wrote."""
    return OutOfMemory(message, said) if MEMORY.search(error) else WorkerError(message, said)
