"""Results as text and pictures: Markdown, CSV, the terminal, GitHub, the HTML page. Only here are numbers formatted."""

from harness.report.files import LOCAL, Stale, check_tables, load_results, write_page, write_tables
from harness.report.github import github_summary, junit_properties, run_link, status_line
from harness.report.tables import markdown_text, terminal_text

__all__ = [
    "LOCAL",
    "Stale",
    "check_tables",
    "github_summary",
    "junit_properties",
    "load_results",
    "markdown_text",
    "run_link",
    "status_line",
    "terminal_text",
    "write_page",
    "write_tables",
]
