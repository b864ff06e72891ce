"""What `python -m harness` may be told: its commands, and the words of each.

ALSO: `python -m harness`: what is not pytest."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from harness.errors import NOT_DECIDED, HarnessError


def parser() -> argparse.ArgumentParser:
    """Of the whole command line; the name of the command comes as `command`."""
    found = argparse.ArgumentParser(prog="python -m harness", description="What is not pytest, which measures.")
    commands = found.add_subparsers(dest="command", required=True)
    _add_report(commands.add_parser("report", help="rebuild every table from the results"))
    _add_hash(commands.add_parser("hash", help="print the sha256 that a Package pins"))
    _add_compare(commands.add_parser("compare", help="tell what became of every case since its stored runs"))
    _add_floors(
        commands.add_parser("floors", help="fine-tune with several seeds, and propose floors for a suite's gates")
    )
    _add_tune(commands.add_parser("tune", help="find the threads and spinning that suit one case best"))
    _add_publish(commands.add_parser("publish", help="write a measured case as a folder that stands alone"))
    _add_history(commands.add_parser("history", help="tell how every case went over the commits of its results"))
    _add_selftest(commands.add_parser("selftest", help="show that the figures of the harness itself hold, and break"))
    return found


def _add_report(report: argparse.ArgumentParser) -> None:
    report.add_argument("--ship-results", type=Path, default=Path("results"), metavar="DIR")
    instead = report.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="write nothing; fail if a table differs")
    instead.add_argument("--html", type=Path, metavar="FILE", help="write the page with pictures there, and no table")
    instead.add_argument("--short", action="store_true", help="print a few lines for a pull request, and write nothing")
    report.add_argument("--machine", metavar="NAME", help="of this machine alone (default: all that are committed)")


def _add_hash(digest: argparse.ArgumentParser) -> None:
    digest.add_argument("distribution")
    digest.add_argument("path", help="file or folder, relative to where the distribution is installed")


def _add_compare(compare: argparse.ArgumentParser) -> None:
    compare.add_argument("stored", type=Path, help="folder with the results of earlier runs, in any sub-folders")
    compare.add_argument("today", type=Path, help="folder with the results to hold against them")
    compare.add_argument(
        "--require", "--ship-require", choices=["decided"], help=f"exit with {NOT_DECIDED} if something is undecided"
    )
    compare.add_argument("--html", type=Path, metavar="FILE", help="write a page of it, too")
    compare.add_argument("--short", action="store_true", help="print a few lines for a pull request instead")


def _add_floors(floors: argparse.ArgumentParser) -> None:
    floors.add_argument("suite", help="file, folder or test id, as pytest takes it")
    floors.add_argument("--seeds", type=int, default=10, metavar="N", help="fine-tune each model N times (default: 10)")
    floors.add_argument("-k", dest="expression", metavar="EXPR", help="only what pytest's -k would select")
    floors.add_argument("--ship-artifacts", type=Path, metavar="DIR", help="where checkpoints are kept")
    floors.add_argument("--ship-threads", type=int, metavar="N", help="threads to train with")


def _add_tune(tune: argparse.ArgumentParser) -> None:
    tune.add_argument("suite", help="file, folder or test id, as pytest takes it, with one case in it")
    tune.add_argument("-k", dest="expression", metavar="EXPR", help="only what pytest's -k would select")
    tune.add_argument(
        "--budget",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="longest time of rounds, half to choose and half to prove (default: 300)",
    )
    tune.add_argument("--ship-artifacts", type=Path, metavar="DIR", help="where checkpoints and artifacts are kept")
    tune.add_argument("--ship-threads", type=int, metavar="N", help="threads of the default")


def _add_publish(publish: argparse.ArgumentParser) -> None:
    publish.add_argument("case", metavar="CASE", help="task/model.backend.device, as tables and tests name it")
    publish.add_argument("--to", type=Path, required=True, metavar="DIR", help="a folder that is new, or empty")
    publish.add_argument("--machine", metavar="NAME", help="as measured there, where it was measured on several")
    publish.add_argument("--ship-results", type=Path, default=Path("results"), metavar="DIR")
    publish.add_argument("--ship-artifacts", type=Path, default=Path(".artifacts"), metavar="DIR")
    publish.add_argument("--push", metavar="ORG/NAME", help="upload it to this repository of the Hub, too: private")
    publish.add_argument("--demo", action="store_true", help="with a small app that asks it beside PyTorch")
    publish.add_argument("--public", action="store_true", help="for everybody to see")
    publish.add_argument("--anyway", action="store_true", help="though its verdict is not ship")


def _add_history(history: argparse.ArgumentParser) -> None:
    history.add_argument(
        "-k", dest="words", default="", metavar="WORDS", help="only cases whose name holds all of them"
    )
    history.add_argument("--ship-results", type=Path, default=Path("results"), metavar="DIR")
    history.add_argument("--html", type=Path, metavar="FILE", help="write a page with a picture of each case, too")
    history.add_argument("--parquet", type=Path, metavar="FILE", help="write one table of all runs, too")


def _add_selftest(selftest: argparse.ArgumentParser) -> None:
    selftest.add_argument("parts", nargs="*", metavar="PART", help="run these only (default: all)")
    selftest.add_argument("--list", action="store_true", help="name the parts and what each claims, and run none")
    selftest.add_argument("--out", type=Path, metavar="FILE", help="write the table here too")
    selftest.add_argument("--ship-artifacts", type=Path, default=Path(".artifacts"), metavar="DIR")


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
        "publish": _publish,
        "history": _history,
    }
    try:
        return run[options.command](options)
    except (HarnessError, OSError) as error:  # what the system refuses names the file, too
        from harness.util.text import terminal_safe

        print(f"error: {terminal_safe(str(error))}", file=sys.stderr)
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
    from harness.regression.baseline import compare
    from harness.report import run_link
    from harness.util.files import write_atomically

    found = compare(options.stored, options.today)
    from harness.report import regressions

    if options.html is not None:
        write_atomically(options.html, regressions.page(found.lines, found.left, found.stored, found.today).encode())
    print(
        regressions.short(found.lines, found.left, run_link(os.environ))
        if options.short
        else regressions.terminal_text(found.lines, found.left)
    )
    if found.lacking:
        raise HarnessError(
            f"nothing in {found.stored} and {found.today} can be compared: {found.lacking}; run both in one environment"
        )
    return 1 if found.regressed else NOT_DECIDED if options.require and found.open else 0


def _hash(options: argparse.Namespace) -> int:
    from importlib import metadata

    from harness.util.fingerprints import tree_sha256

    try:
        path = Path(str(metadata.distribution(options.distribution).locate_file(options.path)))
    except metadata.PackageNotFoundError as error:
        raise HarnessError(f"{options.distribution} is not installed") from error
    if not path.exists():
        raise HarnessError(f"{path}: no such file or folder")
    print(tree_sha256(path))
    return 0


def _selftest(options: argparse.Namespace) -> int:
    from harness.selftest.command import PARTS, listing, selftest

    if options.list:
        print(listing(PARTS))
        return 0
    return selftest(PARTS, options.parts, options.ship_artifacts, partial(print, flush=True), options.out)


def _floors(options: argparse.Namespace) -> int:
    from harness.commands.gates import floors, proposals

    found = floors(options.suite, options.seeds, options.expression, options.ship_artifacts, options.ship_threads)
    print(proposals(found))
    return 0


def _tune(options: argparse.Namespace) -> int:
    from harness.commands.tune import tune

    print(tune(options.suite, options.expression, options.budget, options.ship_artifacts, options.ship_threads))
    return 0


def _publish(options: argparse.Namespace) -> int:
    from harness.publish.publishing import Order, publish
    from harness.publish.upload import Push

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


def _history(options: argparse.Namespace) -> int:
    from harness.regression.history import read, words_of
    from harness.regression.trends import trends
    from harness.report import history
    from harness.util.files import write_atomically, write_parquet

    found = read(options.ship_results, words_of(options.words))
    courses = trends(found.points)
    if options.html is not None:
        write_atomically(options.html, history.page(found, courses, options.ship_results).encode())
    if options.parquet is not None:
        write_parquet(options.parquet, found.table)
    print(history.text(found, courses))
    return 0
