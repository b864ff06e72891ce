"""The command line: `shipbench COMMAND …`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module

from harness.errors import NOT_DECIDED, HarnessError

COMMANDS = {
    "report": "Rebuild the tables from the results.",
    "compare": "Compare two folders of results, and report what regressed.",
    "history": "Show every case over the commits of its results.",
    "publish": "Write a measured case as a folder that stands alone, and upload it if asked.",
    "gates": "Propose min_score for a suite's gates, from several fine-tunings.",
    "tune": "Find the threads and spinning that suit one case best.",
    "hash": "Print the sha256 that a Package pins.",
    "selftest": "Show that the benchmark's own figures are right.",
}
"""Command → what it does. The module of the same name declares its arguments and runs it."""

REPLACED = {
    "floors": "is now: shipbench gates",
    "lock": "is gone: pin commits in the suite, as in Hub(…, revision=…)",
}
"""Earlier command → what replaces it."""


def parser(words: Sequence[str]) -> ArgumentParser:
    """Return the parser of a command line. Only its own command declares arguments: the others are not imported."""
    top = ArgumentParser(prog="shipbench", description="Work with the results of suites; pytest measures them.")
    top.epilog = f"Exit status: 0 success, 1 a check failed, 2 or 4 bad input, {NOT_DECIDED} undecided."
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if words and words[0] == name:
            module = import_module(f"harness.commands.{name}")
            module.declare(command)
            command.set_defaults(run=module.run)
    if words and words[0] in REPLACED:
        top.error(f"the command {words[0]} {REPLACED[words[0]]}")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0 on success, 1 if a check failed, 4 on bad input, 7 if a case is undecided."""
    words = sys.argv[1:] if arguments is None else arguments
    options = parser(words).parse_args(words)
    try:
        return int(options.run(options))
    except (HarnessError, OSError) as error:  # an OSError names its file, too
        from harness.util.text import terminal_safe

        print(f"error: {terminal_safe(str(error))}", file=sys.stderr)
        return 4
