"""The files of a model or of rows that a package carries, verified by hash; and a model's folder, vetted."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contracts.sources import Hub, Local, Native, Package, Scratch
from harness.contracts.vetting import vet
from harness.data import conversion, hub
from harness.errors import HarnessError
from harness.util.identity import tree_sha256

if TYPE_CHECKING:
    from harness.contracts.sources import Source


def locate(package: Package) -> Path:
    """Return the path of a package's files; HarnessError if they are missing or have another hash."""
    name = package.distribution
    try:
        path = Path(str(metadata.distribution(name).locate_file(package.path)))
    except metadata.PackageNotFoundError:
        raise HarnessError(f"the package {name} is not installed; run: python -m pip install {name}") from None
    if not path.exists():
        raise HarnessError(
            f"{name}: the installed version has no {package.path}; install the one that has, or correct the path"
        )
    digest = tree_sha256(path)
    if digest != package.sha256:
        raise HarnessError(
            f"{name}: {package.path} has sha256 {digest}, the suite pins {package.sha256}; "
            "install the version the suite was written for, or pin the new hash"
        )
    return path


def pretrained(source: Source, folder: Path) -> Path | None:
    """Return the verified and vetted folder of a model for a suite in `folder`; None for random weights."""
    match source:
        case Package():
            path = conversion.convert(locate(source), source.sha256)
        case Hub():
            path = hub.fetch(source, "model")
        case Local():
            return source.locate(folder)
        case Native() | Scratch():
            return None
    vet(path, pinned=True)
    return path
