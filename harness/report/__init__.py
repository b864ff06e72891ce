"""Tables for people and tools. Numbers are formatted here and nowhere else."""

from harness.report.files import LOCAL, Stale, check, write
from harness.report.tables import markdown, terminal

__all__ = ["LOCAL", "Stale", "check", "markdown", "terminal", "write"]
