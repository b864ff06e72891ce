"""Publish a measured case: find what was measured, write the folder whole or not at all, and upload it if asked."""

from __future__ import annotations

import difflib
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from harness import checkpoint
from harness.backends.onnx_graphs import is_generating
from harness.backends.transformers_4 import write_tokenizer_class
from harness.contracts.backend import DEVICES, REFERENCE
from harness.contracts.declarations import NAME
from harness.errors import HarnessError
from harness.publish import demo, upload
from harness.publish.card import base_model, card, data_licence, evaluation
from harness.publish.loading import check_graphs
from harness.publish.publication import CARD, EVIDENCE, GRAPHS, Publication
from harness.results import store
from harness.results.schema import Built, Result
from harness.util.identity import tree_sha256
from harness.util.store import open_entry
from harness.util.text import one_line, redact_secrets
from harness.verdicts.comparability import comparisons
from harness.verdicts.recommendation import recommend
from harness.verdicts.verdict import shortfalls, verdict

CASE = re.compile(rf"{NAME.pattern}/{NAME.pattern}\.{NAME.pattern}\.({'|'.join(DEVICES)})")

CONFIGURATION = {"config.json", "generation_config.json"}

EVALUATION = ".eval_results/shipbench.yaml"


@dataclass(frozen=True, kw_only=True)
class Order:
    """The case to publish, and the folders involved."""

    case: str
    to: Path
    results: Path
    artifacts: Path
    machine: str | None
    demo: bool
    """Add the app."""
    push: str | None
    """`owner/name` on the Hub, for an upload."""
    public: bool
    """Let everybody see the repository."""
    anyway: bool
    """Write and upload the case even if its verdict is not ship."""

    @property
    def command(self) -> str:
        """The command that measures the case and builds its artifacts, from the folder of this command."""
        suites = ["suites"] if Path("suites").is_dir() else []  # else pytest collects those below this folder
        machine = ["--ship-machine", self.machine] if self.machine else []
        folders = ["--ship-artifacts", str(self.artifacts), "--ship-results", str(self.results)]
        return shlex.join(["pytest", *suites, "-k", self.case, *folders, *machine])


@dataclass(frozen=True, kw_only=True)
class MeasuredCase:
    """A case's result, those of its comparison, and its model on disk."""

    result: Result
    comparison: list[Result]
    checkpoint: Path
    artifact: Path
    """The checkpoint itself if the backend runs that."""


def publish(order: Order, say: Callable[[str], None]) -> None:
    """Write the folder and upload it if asked. Every refusal comes before anything is written."""
    if order.push:
        upload.check(order.push, order.public, EVIDENCE)
    # An interrupted upload left its folder: the same command goes on with it.
    again = order.push is not None and (order.to / EVIDENCE).is_dir()
    if not again:
        _check_target(order.to)
    case = _find(order)
    if not order.anyway:
        _check_may_ship(case, order.push)
    if order.demo:
        demo.check(case.result, graphs=case.artifact != case.checkpoint)
    try:
        with _atomic_folder(order.to, again) as folder:
            notes = _fill(case, order, folder)
    except OSError as error:
        reason = error.strerror or error
        raise HarnessError(f"{order.to} cannot be written: {reason}; nothing was left there") from error
    for note in (*notes, str(order.to)):
        say(redact_secrets(one_line(note)))
    if order.push:
        say(upload.upload(order.push, order.public, order.to, f"{order.case}, measured {case.result.created}"))


def _find(order: Order) -> MeasuredCase:
    """Return the case as it was measured; raise HarnessError if it was not, or its model is gone or changed."""
    path = _result_path(order)
    result = store.load(path)
    if result.name != order.case or result.environment.machine != path.parents[1].name:
        raise HarnessError(f"{path} holds {result.name}, measured on {result.environment.machine}; move it there")
    if result.status != "ok" or result.error is not None:
        why = f" at {result.error.stage}: {result.error.message}" if result.error else ""
        raise HarnessError(f"{order.case} {result.status}{why}; measure it before it is published: {order.command}")
    if result.checkpoint is None or result.artifact is None or result.answers is None or result.data is None:
        raise HarnessError(f"{path} has no model or no answers; measure it again: {order.command}")
    (comparison,) = comparisons(map(store.load, path.parent.glob(f"{result.model}.*.{result.device}.json")))
    folder = order.artifacts / result.task / result.model
    trained = _stored(folder, result.checkpoint, order)
    artifact = trained
    if result.artifact.key != result.checkpoint.key:
        artifact = _stored(folder, result.artifact, order)
        check_graphs(artifact)
    return MeasuredCase(result=result, comparison=comparison, checkpoint=trained, artifact=artifact)


def _result_path(order: Order) -> Path:
    case, results = order.case, order.results
    if not results.is_dir():
        raise HarnessError(f"{results}: no such results folder; name it with --ship-results")
    names = {f"{path.parent.name}/{path.stem}" for path in results.glob("*/*/*.json")}
    close = difflib.get_close_matches(case, sorted(filter(CASE.fullmatch, names)), n=3)
    suggestion = f"; did you mean {' or '.join(close)}?" if close else ""
    if not CASE.fullmatch(case):
        raise HarnessError(f"{case!r} is not a case: write task/model.backend.device{suggestion}")
    paths = {path.parents[1].name: path for path in sorted(results.glob(f"*/{case}.json"))}
    machines = ", ".join(paths)
    if not paths:
        raise HarnessError(f"{case} has no result in {results}; measure it: {order.command}{suggestion}")
    if order.machine is None and len(paths) > 1:
        raise HarnessError(f"{case} was measured on {machines}: name one with --machine")
    if order.machine is not None and order.machine not in paths:
        raise HarnessError(f"{case} was not measured on {order.machine}, but on {machines}; name one with --machine")
    return paths[order.machine or machines]


def _stored(folder: Path, built: Built, order: Order) -> Path:
    """Return where a checkpoint or an artifact is stored; raise HarnessError if it is not the measured one."""
    path = next((path for path in folder.glob(f"*-{built.key}") if path.is_dir()), folder / f"…-{built.key}")
    rebuild = f"build it again: {order.command}"
    try:
        entry, _ = open_entry(path)
    except HarnessError as error:
        raise HarnessError(f"{order.case}: {error}; {rebuild}") from error
    if entry.info != built.info:
        raise HarnessError(f"{order.case}: {path} was rebuilt since it was measured; {rebuild}")
    return path


def _check_target(target: Path) -> None:
    """Raise HarnessError unless the target is missing or an empty folder."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        problem = "is not empty" if target.is_dir() else "is not a folder"
        raise HarnessError(f"{target} {problem}; name a new folder with --to")


def _check_may_ship(case: MeasuredCase, push: str | None) -> None:
    """Raise HarnessError unless the verdict is ship; a reference must pass its gate and, pushed, be recommended."""
    result, judged = case.result, verdict(case.result)
    if result.backend != REFERENCE:
        word = f"{judged.word}: {'; '.join(judged.reasons)}" if judged else "missing"
        problem = "" if judged and judged.word == "ship" else f"its verdict is not ship but {word}"
    elif broken := shortfalls(result):
        problem = f"it breaks its gate: {'; '.join(broken)}"
    else:
        recommended, why = recommend(case.comparison)
        other = recommended.backend if recommended else "nothing"
        problem = f"its comparison recommends {other}: {why}" if push and other != REFERENCE else ""
    if problem:
        raise HarnessError(f"{result.name}: {problem}; pass --anyway to publish it nevertheless")


def _fill(case: MeasuredCase, order: Order, folder: Path) -> list[str]:
    """Write all files into the folder; return notes for the user of the command."""
    _copy(case.checkpoint, folder, leave={checkpoint.EXAMPLE})
    if case.artifact != case.checkpoint:
        # The processor is loaded from the root. Configurations are the checkpoint's own: a quantiser that misses one
        # writes that of the architecture whose name is a part of the path, such as `git` in `digits`.
        names = open_entry(case.checkpoint)[1].keys()
        _copy(case.artifact, folder / GRAPHS, leave=names | CONFIGURATION)
        for name in CONFIGURATION & names:
            shutil.copyfile(folder / name, folder / GRAPHS / name)
        if is_generating(folder / GRAPHS):
            write_tokenizer_class(folder)
    data = case.result.data
    assert data is not None
    publication = Publication(
        result=_portable(case.result),
        comparison=[_portable(result) for result in case.comparison],
        folder=folder,
        folder_name=order.to.resolve().name,
        repo=order.push,
        inputs=frozenset(checkpoint.example(case.checkpoint) if checkpoint.is_native(case.checkpoint) else ()),
    )
    for result in publication.comparison:
        content = msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n"
        _write(folder / EVIDENCE / f"{Path(result.name).name}.json", content)
    if order.demo:
        _write(folder / demo.REQUIREMENTS, demo.requirements(publication))
        _write(folder / demo.APP, demo.app(publication, case.checkpoint))
    _write(folder / CARD, card(publication))
    notes = [
        f"licence of the base model: {base_model(case.result.recipe)[1]}",
        f"licence of the data: {data_licence(data.source, data.source_sha256)}",
    ]
    scores = evaluation(publication)
    if scores:
        _write(folder / EVALUATION, scores)
    else:
        notes.append(f"{EVALUATION} was not written: {data.source} is not a dataset of the Hub")
    return notes


def _portable(result: Result) -> Result:
    """Return the result with absolute paths cut to their last name: they are private."""
    data, source = result.data, result.recipe.get("source") or {}
    if data is not None and Path(data.source).is_absolute():
        result = replace(result, data=replace(data, source=Path(data.source).name))
    if Path(str(source.get("path", ""))).is_absolute():
        source = {**source, "path": Path(source["path"]).name}
        result = replace(result, recipe={**result.recipe, "source": source})
    return result


def _copy(source: Path, folder: Path, leave: set[str]) -> None:
    for name in sorted(open_entry(source)[1].keys() - leave):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(redact_secrets(text), encoding="utf-8")


@contextmanager
def _atomic_folder(target: Path, again: bool) -> Iterator[Path]:
    """Yield a scratch folder that becomes `target` on success and is removed on failure.

    With `again`, `target` exists already: raise HarnessError if the scratch folder differs from it.
    """
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
