"""What `python -m harness` may be told: its commands, and the words of each."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.errors import NOT_DECIDED


def parser() -> argparse.ArgumentParser:
    """Of the whole command line; the name of the command comes as `command`."""
    found = argparse.ArgumentParser(prog="python -m harness", description="What is not pytest, which measures.")
    commands = found.add_subparsers(dest="command", required=True)
    _report(commands.add_parser("report", help="rebuild every table from the results"))
    _hash(commands.add_parser("hash", help="print the sha256 that a Package pins"))
    _compare(commands.add_parser("compare", help="tell what became of every case since its stored runs"))
    _floors(commands.add_parser("floors", help="fine-tune with several seeds, and propose floors for a suite's gates"))
    _tune(commands.add_parser("tune", help="find the threads, spinning and other options that suit one case best"))
    _lock(commands.add_parser("lock", help="write down the commits and files of the Hub that suites read"))
    _publish(commands.add_parser("publish", help="write a measured case as a folder that stands alone"))
    _history(commands.add_parser("history", help="tell how every case went over the commits of its results"))
    _selftest(commands.add_parser("selftest", help="show that the figures of the harness itself hold, and break"))
    return found


def _report(report: argparse.ArgumentParser) -> None:
    report.add_argument("--ship-results", type=Path, default=Path("results"), metavar="DIR")
    instead = report.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="write nothing; fail if a table differs")
    instead.add_argument("--html", type=Path, metavar="FILE", help="write the page with pictures there, and no table")
    instead.add_argument("--short", action="store_true", help="print a few lines for a pull request, and write nothing")
    report.add_argument("--machine", metavar="NAME", help="of this machine alone (default: all that are committed)")


def _hash(digest: argparse.ArgumentParser) -> None:
    digest.add_argument("distribution")
    digest.add_argument("path", help="file or folder, relative to where the distribution is installed")


def _compare(compare: argparse.ArgumentParser) -> None:
    compare.add_argument("stored", type=Path, help="folder with the results of earlier runs, in any sub-folders")
    compare.add_argument("today", type=Path, help="folder with the results to hold against them")
    compare.add_argument(
        "--require", "--ship-require", choices=["decided"], help=f"exit with {NOT_DECIDED} if something is undecided"
    )
    compare.add_argument("--html", type=Path, metavar="FILE", help="write a page of it, too")
    compare.add_argument("--short", action="store_true", help="print a few lines for a pull request instead")


def _floors(floors: argparse.ArgumentParser) -> None:
    floors.add_argument("suite", help="file, folder or test id, as pytest takes it")
    floors.add_argument("--seeds", type=int, default=10, metavar="N", help="fine-tune each model N times (default: 10)")
    floors.add_argument("-k", dest="expression", metavar="EXPR", help="only what pytest's -k would select")
    floors.add_argument("--ship-artifacts", type=Path, metavar="DIR", help="where checkpoints are kept")
    floors.add_argument("--ship-threads", type=int, metavar="N", help="threads to train with")


def _tune(tune: argparse.ArgumentParser) -> None:
    tune.add_argument("suite", help="file, folder or test id, as pytest takes it, with one case in it")
    tune.add_argument("-k", dest="expression", metavar="EXPR", help="only what pytest's -k would select")
    tune.add_argument(
        "--budget", type=float, default=300.0, metavar="SECONDS", help="longest time once all is built (default: 300)"
    )
    tune.add_argument("--ship-artifacts", type=Path, metavar="DIR", help="where checkpoints and artifacts are kept")
    tune.add_argument("--ship-threads", type=int, metavar="N", help="threads of the default")


def _lock(lock: argparse.ArgumentParser) -> None:
    lock.add_argument("suite", nargs="?", default="suites", help="file, folder or test id (default: suites)")
    lock.add_argument("-k", dest="expression", metavar="EXPR", help="only what pytest's -k would select")


def _publish(publish: argparse.ArgumentParser) -> None:
    publish.add_argument("case", metavar="CASE", help="task/model.backend.device, as tables and tests name it")
    publish.add_argument("--to", type=Path, required=True, metavar="DIR", help="a folder that is new, or empty")
    publish.add_argument("--machine", metavar="NAME", help="as measured there, where it was measured on several")
    publish.add_argument("--ship-results", type=Path, default=Path("results"), metavar="DIR")
    publish.add_argument("--ship-artifacts", type=Path, default=Path(".artifacts"), metavar="DIR")
    publish.add_argument("--push", metavar="ORG/NAME", help="upload it to this repository of the Hub, too: private")
    publish.add_argument("--demo", action="store_true", help="with a small app that asks it beside PyTorch")
    publish.add_argument("--public", action="store_true", help="for everybody to see")
    publish.add_argument("--anyway", action="store_true", help="though its verdict is not ship")


def _history(history: argparse.ArgumentParser) -> None:
    history.add_argument(
        "-k", dest="words", default="", metavar="WORDS", help="only cases whose name holds all of them"
    )
    history.add_argument("--ship-results", type=Path, default=Path("results"), metavar="DIR")
    history.add_argument("--html", type=Path, metavar="FILE", help="write a page with a picture of each case, too")
    history.add_argument("--parquet", type=Path, metavar="FILE", help="write one table of all runs, too")


def _selftest(selftest: argparse.ArgumentParser) -> None:
    selftest.add_argument("parts", nargs="*", metavar="PART", help="run these only (default: all)")
    selftest.add_argument("--list", action="store_true", help="name the parts and what each claims, and run none")
    selftest.add_argument("--out", type=Path, metavar="FILE", help="write the table here too")
    selftest.add_argument("--ship-artifacts", type=Path, default=Path(".artifacts"), metavar="DIR")
