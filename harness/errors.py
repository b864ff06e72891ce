"""What can go wrong, by what the caller may do about it."""


class HarnessError(Exception):
    """Something is wrong that the user can mend; the message says what, where and what to do."""


class Unsupported(HarnessError):
    """This combination cannot exist (an exporter without that head, a device without that operator)."""


class Incomparable(HarnessError):
    """Two results that must not stand side by side, with the fields in which they differ."""


class WorkerError(HarnessError):
    """A worker process died, hung, or reported that its backend failed."""
