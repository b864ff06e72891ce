"""What can go wrong, by what the caller may do about it."""

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
