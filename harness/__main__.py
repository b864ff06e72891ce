"""`python -m harness`: what is not pytest."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.errors import HarnessError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 if it did what it says, 1 if what it checks is not so, 4 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m harness", description="Tables and hashes; `pytest` measures.")
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser("report", help="rebuild every table from the results")
    report.add_argument("--ship-results", type=Path, default=Path("results"), metavar="DIR")
    report.add_argument("--check", action="store_true", help="write nothing; fail if a table differs")
    digest = commands.add_parser("hash", help="print the sha256 that a Package pins")
    digest.add_argument("distribution")
    digest.add_argument("path", help="file or folder, relative to where the distribution is installed")
    floors = commands.add_parser("floors", help="fine-tune with several seeds, and propose floors for a suite's gates")
    floors.add_argument("suite", help="file, folder or test id, as pytest takes it")
    floors.add_argument("--seeds", type=int, default=10, metavar="N", help="fine-tune each model N times (default: 10)")
    floors.add_argument("-k", dest="expression", metavar="EXPR", help="only what pytest's -k would select")
    floors.add_argument("--ship-artifacts", type=Path, metavar="DIR", help="where checkpoints are kept")
    floors.add_argument("--ship-threads", type=int, metavar="N", help="threads to train with")
    options = parser.parse_args(arguments)
    try:
        return {"report": _report, "hash": _hash, "floors": _floors}[options.command](options)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 4


def _report(options: argparse.Namespace) -> int:
    from harness import report

    if not options.check:
        print(*report.write(options.ship_results), sep="\n")
        return 0
    try:
        report.check(options.ship_results)
    except report.Stale as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _hash(options: argparse.Namespace) -> int:
    from importlib import metadata

    from harness.cache import tree_sha256

    try:
        path = Path(str(metadata.distribution(options.distribution).locate_file(options.path)))
    except metadata.PackageNotFoundError as error:
        raise HarnessError(f"{options.distribution} is not installed") from error
    if not path.exists():
        raise HarnessError(f"{path}: no such file or folder")
    print(tree_sha256(path))
    return 0


def _floors(options: argparse.Namespace) -> int:
    from harness.floors import floors
    from harness.report.seeds import proposals

    found = floors(options.suite, options.seeds, options.expression, options.ship_artifacts, options.ship_threads)
    print(proposals(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
