"""Builds in a process of their own: what travels there, and a build that hangs."""

import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from huggingface_hub import constants
from users import functions_of

from harness.artifacts.build import Builders, build_artifact
from harness.artifacts.builder import pack, unpack
from harness.contracts.backend import Backend, Python, Target
from harness.errors import HarnessError, Unsupported, WorkerError
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


BACKEND = """
import os
from harness.errors import Unsupported

def build(source, out, kind):
    if out.name == "refused":
        raise Unsupported("no such operator")
    if out.name == "killed":
        os.abort()
    return {"process": str(os.getpid())}
"""


def test_own_builds_share_a_process_until_it_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.artifacts.build.is_built_in", lambda function: True)
    monkeypatch.setattr("harness.artifacts.build.changed_files", lambda folder: [])
    (tmp_path / "backend.py").write_text(BACKEND)
    function = functions_of(tmp_path / "backend.py")["build"]
    (tmp_path / "source").mkdir()

    def build(name: str, builders: Builders) -> dict[str, str]:
        backend = Backend(name=name, load=cases, build=function, builds_in=Python(interpreter=sys.executable))
        (tmp_path / name).mkdir()
        source, target = Entry(tmp_path / "source", {}, 0), Target("cpu", 1)
        return build_artifact(backend, source, tmp_path / name, text_classification, None, target, 9, None, builders)

    with Builders() as builders:
        first = build("first", builders)
        with pytest.raises(Unsupported, match="no such operator"):
            build("refused", builders)
        second = build("second", builders)
        assert first == second
        with pytest.raises(WorkerError, match="killed: the builder was killed by SIGABRT"):
            build("killed", builders)
        third = build("third", builders)
        assert third != second
        process = psutil.Process(int(third["process"]))
    assert not process.is_running()
