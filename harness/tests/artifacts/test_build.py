"""Builds in a process of their own: what travels there, and a build that hangs."""

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants
from users import functions_of

from harness.artifacts.build import build_artifact
from harness.artifacts.builder import pack, unpack
from harness.contracts.backend import Backend, Target
from harness.errors import HarnessError, WorkerError
from harness.kinds import KINDS, text_classification
from harness.spec import cases
from harness.util.store import Entry


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_kind_arrives_unchanged(kind):
    assert kind == unpack(pack(kind))
    assert replace(kind, axes=("x",)) == unpack(pack(replace(kind, axes=("x",))))


def test_kind_with_a_value_of_another_type_is_refused():
    with pytest.raises(
        HarnessError, match=r"kind: \{1\} cannot be sent to another process; use module-level functions"
    ):
        pack(replace(text_classification, axes=({1},)))


def test_hanging_build_is_ended(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for folder in (source, out):
        folder.mkdir()
    (tmp_path / "backend.py").write_text(
        "import time\ndef build(source, out, kind):\n    print('far to go', flush=True)\n    time.sleep(3600)\n"
    )
    backend = Backend(name="b", load=cases, build=functions_of(tmp_path / "backend.py")["build"])
    with pytest.raises(WorkerError, match=r"b: the builder gave no answer within 3\.6 s\n  \| far to go"):
        build_artifact(backend, Entry(source, {}, 0), out, text_classification, None, Target("cpu", 1), timeout_s=0.3)


def test_a_build_in_this_process_has_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for folder in (source, out):
        folder.mkdir()
    monkeypatch.setattr("harness.artifacts.build.is_built_in", lambda function: True)
    monkeypatch.setattr("harness.artifacts.build.changed_files", lambda folder: [])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def build(source, out, kind):
        return {"offline": str(constants.HF_HUB_OFFLINE)}

    backend = Backend(name="b", load=cases, build=build)
    settings = build_artifact(backend, Entry(source, {}, 0), out, text_classification, None, Target("cpu", 1), 1)
    assert {"offline": "True"} == settings
