"""Compare two folders of results, and report what regressed."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.errors import NOT_DECIDED, HarnessError
from harness.regression import baseline
from harness.report import regressions, run_link
from harness.util.files import write_atomically


def declare(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench compare`."""
    parser.add_argument("stored", type=Path, help="folder with the results of earlier runs, in any sub-folders")
    parser.add_argument("today", type=Path, help="folder with the results to compare with them")
    parser.add_argument(
        "--require", "--ship-require", choices=["decided"], help=f"exit with {NOT_DECIDED} if a change is undecided"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page to FILE")
    parser.add_argument("--short", action="store_true", help="print a few lines for a pull request instead")


def run(options: Namespace) -> int:
    """Print the changes; 1 if something regressed."""
    stored, today = options.stored, options.today
    outcome = baseline.compare(stored, today)
    if options.html is not None:
        write_atomically(options.html, regressions.page(outcome.changes, outcome.left_out, stored, today).encode())
    if options.short:
        print(regressions.github_summary(outcome.changes, outcome.left_out, run_link(os.environ)))
    else:
        print(regressions.terminal_text(outcome.changes, outcome.left_out))
    if outcome.incomparable:
        raise HarnessError(
            f"nothing in {stored} and {today} can be compared: {outcome.incomparable}; run both in one environment"
        )
    return 1 if outcome.regressed else NOT_DECIDED if options.require and outcome.undecided else 0
