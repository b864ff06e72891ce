"""Tables for people and tools. Numbers are formatted here and nowhere else."""

from harness.report.files import check, write
from harness.report.tables import markdown, terminal

__all__ = ["check", "markdown", "terminal", "write"]
