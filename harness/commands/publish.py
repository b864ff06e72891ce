"""Write a measured case as a folder that stands alone, and upload it if asked."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from harness.errors import HarnessError
from harness.publish.publishing import Order, publish


def declare_publish(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench publish`."""
    parser.add_argument("case", metavar="CASE", help="task/model.backend.device, as tables and tests name it")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="write to this new or empty folder")
    parser.add_argument("--machine", metavar="NAME", help="publish the case as measured on this machine")
    parser.add_argument(
        "--ship-results", type=Path, default=Path("results"), metavar="DIR", help="read DIR (default: results)"
    )
    parser.add_argument(
        "--ship-artifacts",
        type=Path,
        default=Path(".artifacts"),
        metavar="DIR",
        help="take the model from DIR (default: .artifacts)",
    )
    parser.add_argument("--demo", action="store_true", help="add a small app that asks the model and PyTorch")
    parser.add_argument("--push", metavar="ORG/NAME", help="upload to this private repository of the Hub")
    parser.add_argument("--public", action="store_true", help="with --push: make the repository public")
    parser.add_argument("--anyway", action="store_true", help="with --push: upload even if the verdict is not ship")


def run_publish(options: Namespace) -> int:
    """Write the folder and print how it went."""
    if not options.push and (options.public or options.anyway):
        raise HarnessError("--public and --anyway go with --push ORG/NAME")
    order = Order(
        case=options.case,
        to=options.to,
        results=options.ship_results,
        artifacts=options.ship_artifacts,
        machine=options.machine,
        demo=options.demo,
        push=options.push,
        public=options.public,
        anyway=options.anyway,
    )
    publish(order, partial(print, flush=True))
    return 0
