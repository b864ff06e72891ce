"""What a source holds, in a word that changes with it: the commit of a repository, a digest of files of one's own."""

from __future__ import annotations

from pathlib import Path

from harness.fingerprints import tree_sha256
from harness.origins import lock
from harness.origins.sources import Folder, Hub, Local, Native, Package, Rows, Scratch, Source


def of_rows(source: Rows, folder: Path) -> str:
    """Of a task's rows, for a suite in `folder`; HarnessError if they are gone or nothing pins them."""
    match source:
        case Package():
            return source.sha256
        case Hub():
            return lock.commit(source, "dataset", folder)
        case Folder():
            return tree_sha256(source.locate(folder))


def of_model(source: Source, folder: Path) -> str | None:
    """Of a model before training; None for an architecture with random weights."""
    match source:
        case Package():
            return source.sha256
        case Hub():
            return lock.commit(source, "model", folder)
        case Local():
            return tree_sha256(source.locate(folder))
        case Native():
            return tree_sha256(source.locate(folder)[0])
        case Scratch():
            return None
