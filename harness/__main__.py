"""`python -m harness`: what is not pytest."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from harness.commands.arguments import parser
from harness.errors import NOT_DECIDED, HarnessError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 if it did what it says, 1 if what it checks is not so, 4 on bad input, 7 if undecided."""
    options = parser().parse_args(arguments)
    run = {
        "report": _report,
        "hash": _hash,
        "compare": _compare,
        "selftest": _selftest,
        "floors": _floors,
        "tune": _tune,
        "lock": _lock,
        "publish": _publish,
        "history": _history,
    }
    try:
        return run[options.command](options)
    except (HarnessError, OSError) as error:  # what the system refuses names the file, too
        from harness.report.cells import harmless

        print(f"error: {harmless(str(error))}", file=sys.stderr)
        return 4


def _report(options: argparse.Namespace) -> int:
    from harness import report

    if options.machine and not (options.short or options.html):
        raise HarnessError("--machine goes with --html or --short: tables are of all machines")
    if options.short:
        print(report.short(*report.read(options.ship_results, options.machine), report.run_link(os.environ)))
        return 0
    if options.html is not None:
        print(report.write_page(options.ship_results, options.html, options.machine))
        return 0
    if not options.check:
        written = report.write(options.ship_results)
        if not written:
            raise HarnessError(f"{options.ship_results}: holds no results; run pytest suites first")
        print(*written, sep="\n")
        return 0
    try:
        report.check(options.ship_results)
    except report.Stale as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _compare(options: argparse.Namespace) -> int:
    from harness.report import run_link
    from harness.runs.baseline import compare
    from harness.whole import write_whole

    found = compare(options.stored, options.today)
    if options.html or options.short:  # which take longer to import than the table takes
        from harness.report import changes
    if options.html is not None:
        write_whole(options.html, changes.page(found.lines, found.left, found.stored, found.today).encode())
    print(changes.short(found.lines, found.left, run_link(os.environ)) if options.short else found.text)
    if found.lacking:
        raise HarnessError(
            f"nothing in {found.stored} and {found.today} can be compared: {found.lacking}; run both in one environment"
        )
    return 1 if found.regressed else NOT_DECIDED if options.require and found.open else 0


def _hash(options: argparse.Namespace) -> int:
    from importlib import metadata

    from harness.fingerprints import tree_sha256

    try:
        path = Path(str(metadata.distribution(options.distribution).locate_file(options.path)))
    except metadata.PackageNotFoundError as error:
        raise HarnessError(f"{options.distribution} is not installed") from error
    if not path.exists():
        raise HarnessError(f"{path}: no such file or folder")
    print(tree_sha256(path))
    return 0


def _selftest(options: argparse.Namespace) -> int:
    from harness.selftest.command import listing, selftest
    from harness.selftest.parts import PARTS

    if options.list:
        print(listing(PARTS))
        return 0
    return selftest(PARTS, options.parts, options.ship_artifacts, partial(print, flush=True), options.out)


def _floors(options: argparse.Namespace) -> int:
    from harness.commands.floors import floors
    from harness.report.seeds import proposals

    found = floors(options.suite, options.seeds, options.expression, options.ship_artifacts, options.ship_threads)
    print(proposals(found))
    return 0


def _tune(options: argparse.Namespace) -> int:
    from harness.commands.tune import tune
    from harness.report.tuning import tuning

    print(tuning(tune(options.suite, options.expression, options.budget, options.ship_artifacts, options.ship_threads)))
    return 0


def _publish(options: argparse.Namespace) -> int:
    from harness.publish.measured import Order
    from harness.publish.publishing import publish
    from harness.publish.pushing import Push

    if not options.push and (options.public or options.anyway):
        raise HarnessError("--public and --anyway go with --push ORG/NAME: a folder is its owner's")
    order = Order(
        case=options.case,
        to=options.to,
        results=options.ship_results,
        artifacts=options.ship_artifacts,
        machine=options.machine,
        demo=options.demo,
    )
    push = Push(repo=options.push, public=options.public, anyway=options.anyway) if options.push else None
    publish(order, push, partial(print, flush=True))
    return 0


def _lock(options: argparse.Namespace) -> int:
    from harness.commands.locking import lock_suites

    for line in lock_suites(options.suite, options.expression):
        print(line)
    return 0


def _history(options: argparse.Namespace) -> int:
    from harness.report import history
    from harness.runs.history import read, words_of
    from harness.runs.trend import trends
    from harness.whole import save_table, write_whole

    found = read(options.ship_results, words_of(options.words))
    courses = trends(found.points)
    if options.html is not None:
        write_whole(options.html, history.page(found, courses, options.ship_results).encode())
    if options.parquet is not None:
        save_table(options.parquet, found.table)
    print(history.text(found, courses))
    return 0


if __name__ == "__main__":
    sys.exit(main())
