"""Rebuild the tables from the results."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness import report
from harness.errors import HarnessError


def declare(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench report`."""
    parser.add_argument(
        "--ship-results", type=Path, default=Path("results"), metavar="DIR", help="read DIR (default: results)"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="write nothing, and fail if a table is out of date")
    instead.add_argument("--html", type=Path, metavar="FILE", help="write only the page with pictures, to FILE")
    instead.add_argument("--short", action="store_true", help="only print a few lines for a pull request")
    parser.add_argument("--machine", metavar="NAME", help="with --html or --short: read only this machine's results")


def run(options: Namespace) -> int:
    """Write the tables, or what the options ask for instead; 1 if a checked table is out of date."""
    folder, machine = options.ship_results, options.machine
    if machine and not (options.short or options.html):
        raise HarnessError("--machine goes with --html or --short: tables are of all machines")
    if options.short:
        print(report.github_summary(*report.load_results(folder, machine), report.run_link(os.environ)))
    elif options.html is not None:
        print(report.write_page(folder, options.html, machine))
    elif options.check:
        try:
            report.check_tables(folder)
        except report.Stale as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    else:
        written = report.write_tables(folder)
        if not written:
            raise HarnessError(f"{folder}: holds no results; run pytest suites first")
        print(*written, sep="\n")
    return 0
