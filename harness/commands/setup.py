"""Install what the default backends need beside this environment, for machines and jobs that reach no index later."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from harness.backends.onnx_export import OPTIMUM
from harness.environments.interpreters import FOLDER, describe_interpreter, resolve_environment
from harness.util.console import Progress
from harness.util.store import Store


def declare_setup(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench setup`."""
    folder = f"keep the packages under DIR (default: .artifacts; {FOLDER} takes precedence)"
    parser.add_argument("--ship-artifacts", type=Path, default=".artifacts", metavar="DIR", dest="to", help=folder)


def run_setup(options: Namespace) -> int:
    """Install Optimum's overlay unless it is there, and print what it holds and where."""
    say = partial(print, flush=True)
    python = resolve_environment(OPTIMUM, Store(options.to.resolve(), say, say), Progress(log=sys.stdout))
    say(f"Optimum: {describe_interpreter(python)['packages']}")
    say(f"in {os.path.relpath(python.packages or '')}, {_size_mib(Path(python.packages or '')):.0f} MiB")
    return 0


def _size_mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
