"""Print the sha256 that a Package pins."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from importlib import metadata
from pathlib import Path

from harness.errors import HarnessError
from harness.util.fingerprints import tree_sha256


def declare(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench hash`."""
    parser.add_argument("distribution", help="name of an installed package, as pip knows it")
    parser.add_argument("path", help="file or folder, relative to the folder it is installed in")


def run(options: Namespace) -> int:
    """Print the digest of an installed file or folder."""
    try:
        path = Path(str(metadata.distribution(options.distribution).locate_file(options.path)))
    except metadata.PackageNotFoundError as error:
        raise HarnessError(f"{options.distribution} is not installed") from error
    if not path.exists():
        raise HarnessError(f"{path}: no such file or folder")
    print(tree_sha256(path))
    return 0
