"""`python -m harness lock`: ask the Hub which commits suites would read, and write them into the lock beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from harness.commands.collection import collect
from harness.errors import HarnessError
from harness.origins import hub, lock
from harness.origins.download import Order
from harness.origins.sources import Hub
from harness.whole import write_whole

BRANCH = "main"


def lock_suites(suite: str, expression: str | None) -> Iterator[str]:
    """Lock every repository that the selected cases read, and say each; a pinned commit stays, others move to `main`.

    HarnessError, after all others are locked, for the repositories of which the Hub gives no answer.
    """
    failed = []
    for source, sort, folder in _repositories(suite, expression):
        file = lock.path(folder)
        entries = lock.read(file)
        before = entries.get(lock.key(source, sort))
        order = Order(sort, source.repo, source.config, source.revision or BRANCH, None, False)
        try:
            said = hub.ask(source, order)
        except HarnessError as error:
            failed.append(str(error))
            continue
        now = lock.Locked(commit=said["commit"], files=said["files"])
        write(file, entries | {lock.key(source, sort): now})
        yield f"{file}: {lock.key(source, sort)} @ {now.commit}, {len(now.files)} files{_moved(before, now)}"
    if failed:
        raise HarnessError("\n".join(failed))


def _repositories(suite: str, expression: str | None) -> list[tuple[Hub, lock.Sort, Path]]:
    found: dict[tuple[Hub, lock.Sort, Path], None] = {}
    for case, folder in collect(suite, expression).cases:
        if isinstance(case.task.dataset, Hub):
            found[case.task.dataset, "dataset", folder] = None
        if isinstance(case.model.source, Hub):
            found[case.model.source, "model", folder] = None
    if not found:
        raise HarnessError(f"{suite}: nothing of it comes from the Hub, so there is nothing to lock")
    return list(found)


def _moved(before: lock.Locked | None, now: lock.Locked) -> str:
    return f", moved from {before.commit}" if before is not None and before.commit != now.commit else ""


def write(file: Path, entries: Mapping[str, lock.Locked]) -> None:
    """All entries, in order, one line a file of theirs."""
    text = msgspec.json.format(msgspec.json.encode(dict(sorted(entries.items())), order="sorted"), indent=1)
    write_whole(file, text + b"\n")
