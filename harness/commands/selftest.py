"""Show that the benchmark's own figures are right."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from harness.selftest.command import PARTS, listing, selftest


def declare(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench selftest`."""
    parser.add_argument("parts", nargs="*", metavar="PART", help="run only these parts (default: all)")
    parser.add_argument("--list", action="store_true", help="list the parts with their claims, and run none")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table to FILE")
    parser.add_argument(
        "--ship-artifacts",
        type=Path,
        default=Path(".artifacts"),
        metavar="DIR",
        help="keep checkpoints and artifacts in DIR (default: .artifacts)",
    )


def run(options: Namespace) -> int:
    """Run the parts; 1 if a figure does not hold."""
    if options.list:
        print(listing(PARTS))
        return 0
    return selftest(PARTS, options.parts, options.ship_artifacts, partial(print, flush=True), options.out)
