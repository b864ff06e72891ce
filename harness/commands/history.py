"""Show every case over the commits of its results."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.regression import history
from harness.regression.trends import trends
from harness.report import history as drawn
from harness.util.files import write_atomically, write_parquet


def declare(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench history`."""
    parser.add_argument(
        "-k", dest="words", default="", metavar="WORDS", help="show only cases whose name contains all of the words"
    )
    parser.add_argument(
        "--ship-results", type=Path, default=Path("results"), metavar="DIR", help="read DIR (default: results)"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with a picture of each case")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="also write one table of all runs")


def run(options: Namespace) -> int:
    """Print the trends, and write the page and the table."""
    past = history.read(options.ship_results, history.words_of(options.words))
    cases = trends(past.points)
    if options.html is not None:
        write_atomically(options.html, drawn.page(past, cases, options.ship_results).encode())
    if options.parquet is not None:
        write_parquet(options.parquet, past.table)
    print(drawn.text(past, cases))
    return 0
