"""The commands that read stored results: `report`, `compare` and `history`."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from harness.errors import NOT_DECIDED, HarnessError
from harness.regression import baseline
from harness.regression.history import read
from harness.report import files, history, integrations, regressions
from harness.report.matrix import PRICES, check_price
from harness.results.store import remove, result_path
from harness.util.files import write_atomically
from harness.util.machine import LOCAL
from harness.verdicts.comparability import comparisons
from harness.verdicts.recommendation import last_run


def declare_report(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench report`."""
    _declare_results(parser)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="write nothing, and fail if a table is out of date")
    instead.add_argument("--html", type=Path, metavar="FILE", help="write only the HTML page with charts, to FILE")
    instead.add_argument("--short", action="store_true", help="only print a short summary for a pull request")
    parser.add_argument(
        "--machine",
        metavar="NAME",
        help="with --html or --short: read only this machine's results (default: all named, else local)",
    )
    money = partial(parser.add_argument, type=float, metavar="MONEY")
    hourly = f"with --html or --short: price of the machine for an hour (for several: {PRICES} among the results)"
    money("--price", help=hourly)
    money("--max-cost", help="with --html or --short: recommend nothing that takes more for a million requests")


def declare_compare(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench compare`."""
    parser.add_argument("stored", type=Path, help="folder with the results of earlier runs, in any sub-folders")
    parser.add_argument("today", type=Path, help="folder with the new results to compare with them")
    required = f"exit with {NOT_DECIDED} if a change is undecided"
    parser.add_argument("--require", "--ship-require", choices=["decided"], help=required)
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write an HTML page to FILE")
    parser.add_argument("--short", action="store_true", help="print a short summary for a pull request instead")


def declare_history(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench history`."""
    _declare_results(parser)
    parser.add_argument("-k", dest="words", default="", metavar="WORDS", help="only cases with all WORDS in the name")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write an HTML page with a chart of each case")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="also write all runs as one Parquet table")


def declare_clean(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench clean`."""
    _declare_results(parser)
    parser.add_argument("--machine", metavar="NAME", default=LOCAL, help="its results (default: local)")
    parser.add_argument("-k", dest="words", default="", metavar="WORDS", help="only cases with all WORDS in the name")
    parser.add_argument("--yes", action="store_true", help="remove them; without it they are only listed")


def _declare_results(parser: ArgumentParser) -> None:
    parser.add_argument("--ship-results", type=Path, default="results", metavar="DIR", help="folder (default: results)")


def run_report(options: Namespace) -> int:
    """Write the tables, or what the options ask for instead; return 1 if a checked table is out of date."""
    folder, machine, price, max_cost = options.ship_results, options.machine, options.price, options.max_cost
    for option, value in {"--machine": machine, "--price": price, "--max-cost": max_cost}.items():
        if value is not None and not (options.short or options.html):
            raise HarnessError(
                f"{option} needs --html or --short; tables cover all machines, with {PRICES} if it is there"
            )
    for option, value in {"--price": price, "--max-cost": max_cost}.items():
        if value is not None:
            check_price(option, value)
    if options.short:
        results, finals = files.load_results(folder, machine)
        prices = files.load_prices(folder, results, price, max_cost)
        link = integrations.run_link(os.environ)
        print(integrations.github_summary(results, finals, link, prices=prices, max_cost=max_cost))
    elif options.html is not None:
        print(files.write_page(folder, options.html, machine, price, max_cost))
    elif options.check:
        try:
            files.check_tables(folder)
        except files.Stale as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    else:
        written = files.write_tables(folder)
        if not written:
            raise HarnessError(f"{folder}: holds no results; run a suite with pytest first")
        print(*written, sep="\n")
    return 0


def run_compare(options: Namespace) -> int:
    """Print the changes between two folders of results; return 1 if something regressed."""
    stored, today = options.stored, options.today
    changes, left_out, incomparable = baseline.compare(stored, today)
    if options.html is not None:
        write_atomically(options.html, regressions.page(changes, left_out, stored, today).encode())
    if options.short:
        print(regressions.github_summary(changes, left_out, integrations.run_link(os.environ)))
    else:
        print(regressions.terminal_text(changes, left_out))
    if incomparable:
        raise HarnessError(
            f"nothing in {stored} and {today} can be compared: {incomparable}; run both in one environment"
        )
    if any(change.word == "regressed" for change in changes):
        return 1
    return NOT_DECIDED if options.require and any(change.is_open for change in changes) else 0


def run_clean(options: Namespace) -> int:
    """List the results that the last run of their comparison did not write; remove them if asked."""
    folder, words = options.ship_results, options.words.split()
    results, _ = files.load_results(folder, options.machine)
    stale = [
        result
        for group in comparisons(results)
        for result in group
        if result.measurement != last_run(group) and all(word in result.name for word in words)
    ]
    for result in stale:
        print(f"{result_path(folder, result)}, of {result.created}")
        if options.yes:
            remove(folder, result)
    print(f"{len(stale)} of {len(results)} results are not of the last run of their comparison", end="")
    print("; removed" if options.yes else "; remove them with --yes" if stale else "")
    if stale and options.yes:
        files.write_tables(folder, options.machine)
    return 0


def run_history(options: Namespace) -> int:
    """Print every case over the commits of its results, and write the page and the table."""
    committed = read(options.ship_results, options.words)
    if options.html is not None:
        write_atomically(options.html, history.page(committed, options.ship_results).encode())
    if options.parquet is not None:
        write_atomically(options.parquet, committed.table.to_parquet(index=False))
    print(history.text(committed))
    return 0
