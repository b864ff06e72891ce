"""`hub.lock` beside the suites: which commit of a repository was meant, and what its files held then."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from harness.errors import HarnessError
from harness.origins.sources import COMMIT, Hub

NAME = "hub.lock"
Sort = Literal["model", "dataset"]


class Locked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One repository."""

    commit: str
    files: dict[str, str]
    """File → the Hub's own digest of it: `sha256:…`, or `git:…` of a small file."""


def path(folder: Path) -> Path:
    """The lock of the suites in `folder`."""
    return folder / NAME


def key(source: Hub, sort: Sort) -> str:
    """What a repository is called in the lock; a suite may read several commits of one."""
    return f"{sort} {source}" + (f" @ {source.revision}" if source.revision else "")


def entry(source: Hub, sort: Sort, folder: Path) -> Locked | None:
    """What the lock beside a suite says of a repository; HarnessError if it cannot be read."""
    return read(path(folder)).get(key(source, sort))


def commit(source: Hub, sort: Sort, folder: Path) -> str:
    """The commit that the suite in `folder` or the lock beside it pins; HarnessError if neither does."""
    locked = entry(source, sort, folder)
    if locked is not None and source.revision not in (None, locked.commit):
        raise HarnessError(
            f"{source}: the suite pins {source.revision}, {path(folder)} {locked.commit}; mend the one, or lock "
            "again: python -m harness lock"
        )
    found = source.revision or (locked.commit if locked else None)
    if found is None:
        raise HarnessError(
            f"{source}: no commit is pinned, and {path(folder)} knows none; run: python -m harness lock {folder}"
        )
    return found


def read(file: Path) -> dict[str, Locked]:
    """Every entry; none where there is no lock."""
    if not file.exists():
        return {}
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, Locked])
    except msgspec.MsgspecError as error:
        raise HarnessError(f"{file}: not a lock ({error}); delete it, then: python -m harness lock") from error
    loose = [name for name, entry in found.items() if not COMMIT.fullmatch(entry.commit)]
    if loose:
        raise HarnessError(
            f"{file}: {', '.join(loose)} is locked to no commit; delete it, then: python -m harness lock"
        )
    return found
