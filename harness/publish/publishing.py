"""A measured case: its result, its comparison, and where its model lies; or why there is none to publish.

ALSO: A measured case becomes a folder that stands alone: its model, what its backend runs, its card, its evidence."""

from __future__ import annotations

import difflib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from harness import checkpoint
from harness.contracts.backend import DEVICES, NAME, REFERENCE
from harness.errors import HarnessError
from harness.publish import demo, licences, upload
from harness.publish.card import card, evaluation
from harness.publish.snippets import CARD, EVIDENCE, GRAPHS, Subject, check_graphs
from harness.publish.upload import Push
from harness.results import store
from harness.results.schema import Built, Result
from harness.util.fingerprints import tree_sha256
from harness.util.store import open_entry
from harness.util.text import one_line, redact_secrets
from harness.verdicts.comparability import comparisons
from harness.verdicts.recommendation import recommend
from harness.verdicts.verdict import verdict

CASE = re.compile(rf"{NAME.pattern}/{NAME.pattern}\.{NAME.pattern}\.({'|'.join(DEVICES)})")


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be published, and from where."""

    case: str
    to: Path
    results: Path
    artifacts: Path
    machine: str | None = None
    repo: str | None = None
    """`owner/name` on the Hub, if it goes there."""
    demo: bool = False
    """Whether an app goes with it."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A case's result, those of its comparison, and where its model lies."""

    result: Result
    group: list[Result]
    checkpoint: Path
    artifact: Path
    """The checkpoint itself, where the backend runs that."""


def find(order: Order) -> Found:
    """The case as it was measured; HarnessError if it was not, or if what was measured is gone or changed."""
    path = _path(order)
    result = store.load(path)
    if result.name != order.case or result.environment.machine != path.parents[1].name:
        raise HarnessError(f"{path} is of {result.name}, measured on {result.environment.machine}; move it there")
    if result.status != "ok" or result.error is not None:
        why = f" at {result.error.stage}: {result.error.message}" if result.error else ""
        raise HarnessError(f"{order.case} {result.status}{why}; there is nothing to publish before it is measured")
    if result.checkpoint is None or result.artifact is None or result.answers is None or result.data is None:
        raise HarnessError(f"{path} names no model or no answers; measure it again: {_measure(order)}")
    others = path.parent.glob(f"{result.model}.*.{result.device}.json")
    (group,) = comparisons(map(store.load, others))
    folder = order.artifacts / result.task / result.model
    made = _kept(folder, result.checkpoint, order)
    artifact = made if result.artifact.key == result.checkpoint.key else _kept(folder, result.artifact, order)
    if artifact != made:
        check_graphs(artifact)
    return Found(result=result, group=group, checkpoint=made, artifact=artifact)


def check_may_ship(found: Found) -> None:
    """HarnessError unless the evidence says that the case may ship."""
    result, said = found.result, verdict(found.result)
    if result.backend == REFERENCE:
        chosen, why = recommend(found.group)
        if chosen is None or chosen.backend != REFERENCE:
            raise HarnessError(
                f"{result.name}: the reference has no verdict, and its comparison would choose "
                f"{chosen.backend if chosen else 'nothing'}: {why}; publish that, or pass --anyway"
            )
    elif said is None or said.word != "ship":
        told = f"{said.word}: {'; '.join(said.reasons)}" if said else "none"
        raise HarnessError(f"{result.name}: its verdict is not ship but {told}; pass --anyway to push it all the same")


def _path(order: Order) -> Path:
    """The file of the case's result."""
    if not order.results.is_dir():
        raise HarnessError(f"{order.results}: no such results folder; name it with --ship-results")
    if not CASE.fullmatch(order.case):
        raise HarnessError(f"{order.case!r} is no case: write task/model.backend.device{_meant(order)}")
    there = sorted(order.results.glob(f"*/{order.case}.json"))
    machines = [path.parents[1].name for path in there]
    if not there:
        raise HarnessError(
            f"{order.case} was never measured, by the results in {order.results}; measure it: {_measure(order)}"
            f"{_meant(order)}"
        )
    if order.machine is not None and order.machine not in machines:
        raise HarnessError(f"{order.case} was not measured on {order.machine}, but on {', '.join(machines)}")
    if order.machine is None and len(there) > 1:
        raise HarnessError(f"{order.case} was measured on {', '.join(machines)}: name one with --machine")
    return there[0] if order.machine is None else there[machines.index(order.machine)]


def _meant(order: Order) -> str:
    known = {path.relative_to(order.results).as_posix().partition("/")[2] for path in order.results.glob("*/*/*.json")}
    names = {name.removesuffix(".json") for name in known}
    close = difflib.get_close_matches(order.case, sorted(name for name in names if CASE.fullmatch(name)), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _measure(order: Order) -> str:
    """The command that measures the case, and builds what it needs."""
    return f'pytest suites -k "{order.case}" --ship-artifacts {order.artifacts} --ship-results {order.results}'


def _kept(folder: Path, built: Built, order: Order) -> Path:
    """Where a checkpoint or an artifact is kept that a result names; HarnessError if it is not what was measured."""
    there = [path for path in folder.glob(f"*-{built.key}") if path.is_dir()]
    path = there[0] if there else folder / f"…-{built.key}"
    again = f"build it again: {_measure(order)} (in place of suites, your own suite's file)"
    try:
        entry, _ = open_entry(path)
    except HarnessError as error:
        raise HarnessError(f"{order.case}: {error}; {again}") from error
    if entry.info != built.info:
        raise HarnessError(f"{order.case}: {path} was built again since, and is not what was measured; {again}")
    return path


CONFIGURATION = {"config.json", "generation_config.json"}

EVALUATION = ".eval_results/shipbench.yaml"


def publish(order: Order, push: Push | None, say: Callable[[str], None]) -> None:
    """Write the folder, and upload it if it is to be pushed. What can be refused is, before anything is written."""
    if push is not None:
        upload.check(push, EVIDENCE)
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
        say(upload.upload(push, order.to, f"{found.result.name}, measured {found.result.created}"))


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
        known = open_entry(found.checkpoint)[1].keys()
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
    return [redact_secrets(one_line(line)) for line in said]


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
    for name in sorted(open_entry(source)[1].keys() - leave):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(redact_secrets(text), encoding="utf-8")


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
