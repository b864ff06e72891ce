"""A measured case becomes a folder that stands alone: its model, what its backend runs, its card, its evidence."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from harness import cache
from harness.backends.usage import GRAPHS
from harness.errors import HarnessError
from harness.fingerprints import tree_sha256
from harness.origins import licences
from harness.publish import pushing
from harness.publish.measured import Found, Order, check_may_ship, find
from harness.publish.pushing import Push
from harness.records.schema import Result
from harness.report import demo
from harness.report.card import card
from harness.report.cells import plain
from harness.report.instructions import CARD, EVIDENCE, Subject
from harness.report.metadata import evaluation
from harness.secrets import without_secrets
from harness.training import checkpoint

CONFIGURATION = {"config.json", "generation_config.json"}
EVALUATION = ".eval_results/shipbench.yaml"


def publish(order: Order, push: Push | None, say: Callable[[str], None]) -> None:
    """Write the folder, and upload it if it is to be pushed. What can be refused is, before anything is written."""
    if push is not None:
        pushing.check(push, EVIDENCE)
        order = replace(order, repo=push.repo)
    # What an upload that broke off was of: the same again goes on with it.
    again = push is not None and (order.to / EVIDENCE).is_dir()
    if not again:
        check_target(order.to)
    found = find(order)
    if push is not None and not push.anyway:
        check_may_ship(found)
    if order.demo:
        demo.check(found.result, graphs=found.artifact != found.checkpoint)
    for line in write(found, order, again):
        say(line)
    say(str(order.to))
    if push is not None:
        say(pushing.upload(push, order.to, f"{found.result.name}, measured {found.result.created}"))


def check_target(target: Path) -> None:
    """HarnessError unless nothing, or an empty folder, is there."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        raise HarnessError(
            f"{target} is {'not empty' if target.is_dir() else 'no folder'}; name a new folder with --to"
        )


def write(found: Found, order: Order, again: bool = False) -> list[str]:
    """Write the folder whole or not at all, and say what a reader of the command should know.

    With `again` it is there already, and HarnessError if it is not the very same.
    """
    try:
        with _whole(order.to, again) as folder:
            return _fill(found, order, folder)
    except OSError as error:
        raise HarnessError(
            f"{order.to} cannot be written: {error.strerror or error}; nothing was left there"
        ) from error


def _fill(found: Found, order: Order, folder: Path) -> list[str]:
    _copy(found.checkpoint, folder, leave={checkpoint.EXAMPLE})
    if found.artifact != found.checkpoint:
        known = cache.opened(found.checkpoint)[1].keys()
        # The processor is loaded from the root. Configurations are the checkpoint's own: where a quantiser finds none,
        # it writes one of the architecture whose name is a part of the path, `git` in `digits`.
        _copy(found.artifact, folder / GRAPHS, leave=known | CONFIGURATION)
        for name in CONFIGURATION & known:
            shutil.copyfile(folder / name, folder / GRAPHS / name)
    data = found.result.data
    assert data is not None
    subject = Subject(
        result=portable(found.result),
        group=[portable(one) for one in found.group],
        folder=folder,
        called=order.to.resolve().name,
        repo=order.repo,
        model_licence=licences.of_model(found.result.recipe),
        data_licence=licences.of_data(data.source, data.source_sha256),
    )
    for one in subject.group:
        content = msgspec.json.format(msgspec.json.encode(one), indent=1).decode() + "\n"
        _write(folder / EVIDENCE / f"{Path(one.name).name}.json", content)
    if order.demo:
        _write(folder / demo.REQUIREMENTS, demo.requirements(subject))
        _write(folder / demo.APP, demo.app(subject, found.checkpoint))
    _write(folder / CARD, card(subject))
    said = [
        f"licence of the base model: {subject.model_licence}",
        f"licence of the data: {subject.data_licence}",
    ]
    told = evaluation(subject)
    if told:
        _write(folder / EVALUATION, told)
    else:
        said.append(f"{EVALUATION} was not written: it is of datasets on the Hub, and {data.source} is none")
    return [without_secrets(plain(line)) for line in said]


def portable(result: Result) -> Result:
    """The result without what only its author's machine knows: of absolute paths, the last name is left."""
    data, source = result.data, result.recipe.get("source") or {}
    if data is not None and Path(data.source).is_absolute():
        result = replace(result, data=replace(data, source=Path(data.source).name))
    if Path(str(source.get("path", ""))).is_absolute():
        named = {**source, "path": Path(source["path"]).name}
        result = replace(result, recipe={**result.recipe, "source": named})
    return result


def _copy(source: Path, folder: Path, leave: set[str]) -> None:
    for name in sorted(cache.opened(source)[1].keys() - leave):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(without_secrets(text), encoding="utf-8")


@contextmanager
def _whole(target: Path, again: bool) -> Iterator[Path]:
    """A scratch folder beside `target` that takes its place when all went well, and is gone when it did not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield scratch
        if again:
            if tree_sha256(scratch) != tree_sha256(target):
                raise HarnessError(f"{target} is not empty, and holds another model; name a new folder with --to")
            return
        scratch.chmod(0o755)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
