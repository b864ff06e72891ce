"""Cache keys: which edits of the harness, packages and environments build a checkpoint or an artifact anew."""

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from users import environment, functions_of

from conftest import distribution
from harness.artifacts.cache import Artifacts, _installed, _without_environments
from harness.backends import ONNXRUNTIME, ONNXRUNTIME_INT8_GUARDED, PYTORCH_INT8
from harness.contracts.backend import Backend, Python, Target
from harness.contracts.sources import Folder, Scratch
from harness.errors import HarnessError
from harness.kinds import text_classification
from harness.measure.client import Worker
from harness.metrics import Metric
from harness.spec import Model, Recipe, Task
from harness.util import identity
from harness.util.console import Progress
from harness.util.identity import fingerprint
from harness.util.store import Entry

PACKAGE, CODE = identity.PACKAGE, identity._code.__wrapped__
INPUTS = SimpleNamespace(metrics={"accuracy": Metric("accuracy")})
SPLIT = SimpleNamespace(sha256="0", content="0", labels=("a", "b"), metrics=INPUTS.metrics)
SOURCE = Entry(Path("checkpoint-0123456789ab"), {}, 0.0)
ROWS = SimpleNamespace(sha256="0", metric=Metric("accuracy"), max_drop=0.01)
TASK = Task(
    name="task",
    kind=text_classification,
    dataset=Folder("rows.csv"),
    inputs=("text",),
    label="label",
    metric="accuracy",
)
MODEL = Model(name="model", source=Scratch(config={"model_type": "bert"}, processor={}), recipe=Recipe(epochs=1))


class Requested(Exception):
    """The key of a request to the store."""


class Keys:
    """Keys under a copy of the harness, which a test edits."""

    def __init__(self, package: Path) -> None:
        self.package = package
        self.edited: dict[Path, str] = {}
        self.artifacts = Artifacts(
            task=TASK, model=MODEL, folder=PACKAGE, target=Target("cpu", 1), store=self, progress=Progress(),  # type: ignore[arg-type]
            timeout_s=1.0, retrain=False,
        )  # fmt: skip

    def get(self, name, key, build, **_):
        raise Requested(key)

    def of(self, request) -> str:
        with pytest.raises(Requested) as requested:
            request(self.artifacts)
        return requested.value.args[0]

    def edit(self, module: str, old: str, new: str) -> None:
        file = self.package / module
        text = file.read_text()
        assert old in text
        self.edited.setdefault(file, text)
        file.write_text(text.replace(old, new, 1))


@cache
def read_code(file, mtime_ns):
    return CODE(file)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy") / "harness"
    return shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("tests", "__pycache__", "selftest"))


@pytest.fixture
def keys(package, monkeypatch):
    def read(file):
        copy = package / file.relative_to(PACKAGE) if file.is_relative_to(PACKAGE) else file
        return read_code(copy, copy.stat().st_mtime_ns)

    monkeypatch.setattr(identity, "_code", read)
    monkeypatch.setattr(identity, "PACKAGE", package)
    keys = Keys(package)
    yield keys
    for file, text in keys.edited.items():
        file.write_text(text)


def checkpoint(artifacts):
    artifacts.checkpoint(SPLIT)


def guarded(artifacts):
    artifacts.artifact(ONNXRUNTIME_INT8_GUARDED, SOURCE, lambda: ROWS)


def exported(artifacts):
    artifacts.artifact(ONNXRUNTIME, SOURCE)


def int8_answers(artifacts):
    artifacts.answers(PYTORCH_INT8, SOURCE, INPUTS)


FUTURE, NEW = "from __future__ import annotations\n", "from __future__ import annotations\nEDITED = True\n"


@pytest.mark.parametrize(
    ("request_key", "module"),
    [
        (checkpoint, "training/loops.py"),
        (checkpoint, "data/encoding.py"),
        (checkpoint, "kinds/common.py"),
        (exported, "checkpoint.py"),
        (guarded, "backends/onnx_graphs.py"),
        (int8_answers, "backends/pytorch.py"),
        (int8_answers, "measure/adapters.py"),
    ],
)
def test_edit_of_an_imported_module_changes_the_key(request_key, module, keys):
    before = keys.of(request_key)
    assert before == keys.of(request_key)
    keys.edit(module, FUTURE, NEW)
    assert before != keys.of(request_key)


@pytest.mark.parametrize(
    ("request_key", "modules"),
    [
        (checkpoint, ["publish/card.py", "report/tables.py", "pytest_plugin/session.py", "results/schema.py"]),
        (checkpoint, ["spec.py", "backends/onnxruntime.py", "kinds/fill_mask.py", "measure/client.py"]),
        (exported, ["backends/openvino.py", "training/train.py", "measure/client.py", "kinds/fill_mask.py"]),
        (int8_answers, ["backends/onnxruntime.py", "training/train.py", "verdicts/verdict.py"]),
    ],
)
def test_edit_of_an_unrelated_module_keeps_the_key(request_key, modules, keys):
    before = keys.of(request_key)
    for module in modules:
        keys.edit(module, FUTURE, NEW)
    assert before == keys.of(request_key)


def test_edit_of_a_docstring_keeps_the_key(keys):
    before = keys.of(checkpoint)
    keys.edit("kinds/common.py", '"""', '"""Edited. ')
    assert before == keys.of(checkpoint)


@pytest.mark.parametrize("change", [{"max_drop": 0.02}, {"sha256": "1"}, {"metric": Metric("f1", 1)}], ids=str)
def test_gate_rows_and_metric_change_the_key_of_a_guarded_artifact(change, keys):
    rows = SimpleNamespace(**vars(ROWS) | change)
    assert keys.of(guarded) != keys.of(lambda a: a.artifact(ONNXRUNTIME_INT8_GUARDED, SOURCE, lambda: rows))


def test_checkpoint_of_another_machine_has_the_same_key_and_its_artifacts_another(keys, monkeypatch):
    of_checkpoint, of_export = keys.of(checkpoint), keys.of(exported)
    monkeypatch.setattr("harness.artifacts.cache.cpu_flags", lambda: frozenset({"sve"}))
    keys.artifacts = replace(keys.artifacts, target=Target("cpu", 4))
    assert of_checkpoint == keys.of(checkpoint)
    assert of_export != keys.of(exported)


def test_options_keep_the_key_of_an_artifact(keys):
    tuned = replace(ONNXRUNTIME, options={"threads": 1})
    assert keys.of(exported) == keys.of(lambda artifacts: artifacts.artifact(tuned, SOURCE))


def test_backend_without_build_runs_its_source(keys):
    assert keys.artifacts.artifact(PYTORCH_INT8, SOURCE) is SOURCE


def test_key_depends_on_installed_packages_and_not_on_the_interpreters_path(tmp_path):
    numpy = Path(np.__file__).parent
    one, copy = (Python(interpreter=str(environment(tmp_path / name, numpy))) for name in ("one", "copy"))
    before = _installed(copy)
    assert _installed(one) == before
    assert _installed(None) is None
    backend = Backend(name="b", load=text_classification.load_processor)
    assert backend == _without_environments(replace(backend, runs_in=one))


ECHO = """
from harness import Session

def load(artifact, target):
    return Session(run=lambda arrays: arrays, device="cpu", settings={})
"""


def test_another_release_of_a_named_package_changes_the_key_and_is_recorded(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(tmp_path, "a-runtime")
    (tmp_path / "own.py").write_text(ECHO)
    backend = Backend(name="own", load=functions_of(tmp_path / "own.py")["load"], packages=("a-runtime",))
    first = _installed(None, backend.packages)
    with Worker(backend, tmp_path, Target("cpu", 1), 60) as worker:
        assert "a-runtime 1.0" == worker.loaded["settings"]["packages"]
    metadata = tmp_path / "a_runtime-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "2.0"))
    assert first != _installed(None, backend.packages)


def test_imports_keep_the_backend_fingerprint():
    backend = Backend(name="own", load=text_classification.load_processor)
    timed = replace(backend, imports=("a_runtime",))
    assert (backend, hash(backend), fingerprint(backend)) == (timed, hash(timed), fingerprint(timed))


def test_a_stored_checkpoint_that_names_code_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "own.Own"}}')
    store = SimpleNamespace(root=tmp_path, get=lambda *_, **__: Entry(tmp_path, {}, 0.0))
    artifacts = Artifacts(task=TASK, model=MODEL, folder=PACKAGE, target=Target("cpu", 1), store=store,
                          progress=Progress(), timeout_s=1.0, retrain=False)  # fmt: skip
    with pytest.raises(HarnessError, match=r"config\.json: auto_map names code of the model's own"):
        artifacts.checkpoint(SPLIT)
