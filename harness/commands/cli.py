"""The command line, `shipbench COMMAND …`, and its smallest commands: `setup`, `publish`, `hash` and `selftest`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from importlib import import_module, metadata
from pathlib import Path

from harness.errors import NOT_DECIDED, HarnessError
from harness.pytest_plugin.options import folder_of
from harness.util.console import accept_any_text
from harness.util.identity import tree_sha256
from harness.util.text import terminal_safe

COMMANDS = {
    "new": ("new", "Write a suite for a model and a data set, and say what was guessed."),
    "setup": ("cli", "Install Optimum's environment ahead, for machines and jobs without an index."),
    "report": ("results", "Rebuild the tables from the results."),
    "merge": ("merge", "Put the results of several jobs or machines into one folder."),
    "compare": ("results", "Compare two folders of results, and report what regressed."),
    "history": ("results", "Show how the results of each case changed over commits."),
    "clean": ("results", "List results that are not of the last run; remove them with --yes."),
    "publish": ("cli", "Write a measured case to a self-contained folder; upload it with --push."),
    "gates": ("gates", "Propose min_score for a suite's gates, by fine-tuning with several seeds."),
    "tune": ("tune", "Find the fastest thread count and spinning for one case."),
    "profile": ("profiling", "Show where the time of one case's answers goes, and how much is left."),
    "hash": ("cli", "Print the sha256 that a Package pins."),
    "selftest": ("cli", "Check by experiment that the benchmark's own numbers are right."),
}
"""Command → its module, with the functions `declare_<command>` and `run_<command>`, and what it does."""


def parser(words: Sequence[str]) -> ArgumentParser:
    """Return the parser of a command line; only the command that it names is imported and declares arguments."""
    top = ArgumentParser(prog="shipbench", description="Work with the results of suites; pytest measures them.")
    top.epilog = f"Exit status: 0 success, 1 a check failed, 2 or 4 bad input, {NOT_DECIDED} undecided."
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (place, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if words and words[0] == name:
            module = import_module(f"harness.commands.{place}")
            getattr(module, f"declare_{name}")(command)
            command.set_defaults(run=getattr(module, f"run_{name}"))
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0 on success, 1 if a check failed, 4 on bad input, 7 if a case is undecided."""
    accept_any_text()
    words = sys.argv[1:] if arguments is None else arguments
    options = parser(words).parse_args(words)
    try:
        return int(options.run(options))
    except (HarnessError, OSError) as error:  # an OSError names its file, too
        print(f"error: {terminal_safe(str(error))}", file=sys.stderr)
        return 4


def declare_setup(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench setup`."""
    folder = "keep it under DIR (default: .artifacts; the variable SHIPBENCH_ENVIRONMENTS takes precedence)"
    parser.add_argument("--ship-artifacts", type=folder_of, default=".artifacts", metavar="DIR", dest="to", help=folder)


def run_setup(options: Namespace) -> int:
    """Install the overlay in which Optimum runs, unless it is there; print what it holds and where."""
    from harness.backends.onnx_optimum import OPTIMUM
    from harness.environments.interpreters import describe_interpreter, resolve_environment
    from harness.util.console import Progress
    from harness.util.store import Store

    say = partial(print, flush=True)
    python = resolve_environment(OPTIMUM, Store(options.to, say, say), Progress(log=sys.stdout))
    say(f"{describe_interpreter(python)['packages']}, in {python.packages}")
    return 0


def declare_publish(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench publish`."""
    folder = partial(parser.add_argument, type=Path, metavar="DIR")
    flag = partial(parser.add_argument, action="store_true")
    parser.add_argument("case", metavar="CASE", help="task/model.backend.device, as tables and tests name it")
    folder("--to", required=True, help="write to this new or empty folder")
    folder("--ship-results", default="results", dest="results", help="folder of results (default: results)")
    kept = "its artifacts (default: .artifacts)"
    folder("--ship-artifacts", type=folder_of, default=".artifacts", dest="artifacts", help=kept)
    parser.add_argument("--machine", metavar="NAME", help="publish the case as measured on this machine")
    flag("--demo", help="add a small Gradio app that compares it with PyTorch")
    parser.add_argument("--push", metavar="ORG/NAME", help="upload to this private repository of the Hub")
    flag("--public", help="with --push: make the repository public")
    flag("--anyway", help="write (and upload) the case even if its verdict is not ship")


def run_publish(options: Namespace) -> int:
    """Write a measured case as a folder, upload it if asked, and print how it went."""
    from harness.publish.publishing import Order, publish

    if options.public and not options.push:
        raise HarnessError("--public needs --push ORG/NAME")
    publish(Order(**{field.name: getattr(options, field.name) for field in fields(Order)}), partial(print, flush=True))
    return 0


def declare_hash(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench hash`."""
    parser.add_argument("distribution", help="name of an installed package, as pip knows it")
    parser.add_argument("path", help="file or folder of the package, relative to site-packages")


def run_hash(options: Namespace) -> int:
    """Print the digest of an installed file or folder."""
    try:
        path = Path(str(metadata.distribution(options.distribution).locate_file(options.path)))
    except metadata.PackageNotFoundError as error:
        raise HarnessError(
            f"{options.distribution} is not installed; run: python -m pip install {options.distribution}"
        ) from error
    if not path.exists():
        raise HarnessError(f"{path}: no such file or folder; give a path relative to site-packages")
    print(tree_sha256(path))
    return 0


def declare_selftest(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench selftest`."""
    parser.add_argument("parts", nargs="*", metavar="PART", help="run only these parts (default: all)")
    parser.add_argument("--list", action="store_true", help="list the parts with their claims, without running them")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table to FILE")
    folder = "keep checkpoints and artifacts in DIR (default: .artifacts)"
    parser.add_argument("--ship-artifacts", type=folder_of, default=".artifacts", metavar="DIR", help=folder)


def run_selftest(options: Namespace) -> int:
    """Run the parts; return 1 if a figure does not hold."""
    from harness.selftest.command import PARTS, listing, selftest

    if options.list:
        print(listing(PARTS))
        return 0
    return selftest(PARTS, options.parts, options.ship_artifacts, partial(print, flush=True), options.out)
