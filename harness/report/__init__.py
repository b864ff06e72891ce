"""Tables for people and tools. Numbers are formatted here and nowhere else."""

from harness.report.files import LOCAL, Stale, check, read, write, write_page
from harness.report.github import properties, run_link, short, status
from harness.report.tables import markdown, terminal

__all__ = [
    "LOCAL",
    "Stale",
    "check",
    "markdown",
    "properties",
    "read",
    "run_link",
    "short",
    "status",
    "terminal",
    "write",
    "write_page",
]
