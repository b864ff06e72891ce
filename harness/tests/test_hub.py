"""Repositories of the Hub, over HTTP from a small one: pinned, verified, kept; every bad day ends with its cause."""

import json
import os
import subprocess
import sys
from pathlib import Path

import hubserver
import pytest
from toy_hub import COMMIT, MODEL, OTHER, parquet, server

from conftest import REPOSITORY
from harness import Task, text_classification
from harness.commands import locking
from harness.dataset import reading
from harness.errors import HarnessError
from harness.origins import hub, lock
from harness.origins.licences import of_model
from harness.origins.refusals import inert
from harness.origins.sources import Hub

__all__ = ["server"]  # a fixture

BERT = Hub("toys/bert", revision=COMMIT)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_of_a_model_comes_what_is_read_and_no_pickle_beside_safetensors(server, tmp_path):
    folder = hub.fetch(BERT, "model", tmp_path)
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} == names(folder)
    assert MODEL["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_pickled_weights_come_where_there_are_no_others(server, tmp_path):
    old = {name: content for name, content in MODEL.items() if name != "model.safetensors"}
    server.put("model", "toys/old", COMMIT, old)
    folder = hub.fetch(Hub("toys/old", revision=COMMIT), "model", tmp_path)
    assert {"README.md", "config.json", "pytorch_model.bin", "tokenizer.json"} == names(folder)


@pytest.mark.parametrize(
    ("card", "name"),
    [("---\nlicense: mit\n---\n", "mit"), ("a model", "unknown"), ("---\nlicense: [\n---\n", "unknown")],
)
def test_the_licence_of_a_model_is_known_by_the_card_that_comes_with_it(server, tmp_path, monkeypatch, card, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    server.put("model", "toys/bert", COMMIT, MODEL | {"README.md": card.encode()})
    hub.fetch(BERT, "model", tmp_path)
    source = {"type": "Hub", "repo": "toys/bert", "revision": COMMIT}
    assert name == of_model({"source": source}).name


def test_of_a_dataset_comes_the_configuration_that_is_named(server, tmp_path):
    folder = hub.fetch(Hub("toys/glue", "mrpc", revision=COMMIT), "dataset", tmp_path)
    assert {"README.md", "mrpc/train-00000-of-00001.parquet", "mrpc/test-00000-of-00001.parquet"} == names(folder)


@pytest.mark.parametrize("config", ["sst2", None])
def test_a_configuration_that_is_missing_is_told_with_those_there_are(config, server, tmp_path):
    with pytest.raises(HarnessError, match="mrpc, cola"):
        hub.fetch(Hub("toys/glue", config, revision=COMMIT), "dataset", tmp_path)


def test_what_was_fetched_is_not_asked_for_again(server, tmp_path, monkeypatch):
    folder = hub.fetch(BERT, "model", tmp_path)
    hub.tried.cache_clear()
    asked = list(server.asked)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert folder == hub.fetch(BERT, "model", tmp_path)
    assert asked == server.asked


def test_offline_and_not_fetched_is_refused_without_a_connection(server, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HarnessError, match=rf"toys/bert: HF_HUB_OFFLINE is set, and commit {COMMIT} was not fetched"):
        hub.fetch(BERT, "model", tmp_path)
    assert [] == server.asked


def test_a_file_that_changed_in_the_cache_is_brought_anew(server, tmp_path):
    folder = hub.fetch(BERT, "model", tmp_path)
    (folder / "model.safetensors").resolve().write_bytes(b"something else")
    hub.tried.cache_clear()
    assert MODEL["model.safetensors"] == (hub.fetch(BERT, "model", tmp_path) / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "told",
    ["rows/*.parquet", ["rows/a.parquet", "rows/b.parquet"], "**/*.parquet", [{"split": "train", "path": ["rows/*"]}]],
    ids=str,
)
def test_a_card_names_its_files_in_several_ways(told, server, tmp_path):
    card = "---\n" + json.dumps({"configs": [{"config_name": "default", "data_files": told}]}) + "\n---\n"
    files = {f"rows/{name}.parquet": MODEL["config.json"] for name in "ab"}
    server.put("dataset", "toys/rows", COMMIT, {"README.md": card.encode(), **files})
    assert {"README.md", *files} == names(hub.fetch(Hub("toys/rows", revision=COMMIT), "dataset", tmp_path))


CONVERTED = {
    f"{config}/{split}/0000.parquet": parquet(count)
    for config in ("small", "large")
    for split, count in {"train": 40, "validation": 30}.items()
}
"""The Hub's own conversion to parquet: no card, a folder a configuration."""


def converted(server, tmp_path, monkeypatch, **changed):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    server.put("dataset", "toys/pictures", COMMIT, CONVERTED)
    source = Hub("toys/pictures", "small", revision=COMMIT, **changed)
    return source, Task(
        name="toy", kind=text_classification, dataset=source, inputs=("text",), label="label", metric="accuracy",
        test=None, validation=4, calibration=4,
    )  # fmt: skip


def test_of_a_conversion_to_parquet_one_configuration_is_fetched_and_read(server, tmp_path, monkeypatch):
    source, task = converted(server, tmp_path, monkeypatch, splits={"train": "train", "test": "validation"})
    assert {name for name in CONVERTED if name.startswith("small/")} == names(hub.fetch(source, "dataset", tmp_path))
    found = reading.read(task, tmp_path)
    assert {"train": 40, "test": 30} == {split: len(rows) for split, rows in found.items()}


def test_a_split_that_a_repository_has_not_is_named_with_those_it_has(server, tmp_path, monkeypatch):
    _, task = converted(server, tmp_path, monkeypatch, splits={"train": "train", "test": "test"})
    with pytest.raises(HarnessError, match=r"toys/pictures small: splits= names test; it has train, validation"):
        reading.read(task, tmp_path)


def test_a_dataset_of_files_that_nobody_reads_is_refused(server, tmp_path):
    server.put("dataset", "toys/zip", COMMIT, {"rows.zip": b"zip"})
    with pytest.raises(HarnessError, match="it has no files that are read here"):
        hub.fetch(Hub("toys/zip", revision=COMMIT), "dataset", tmp_path)


def test_beside_a_card_there_must_be_rows(server, tmp_path):
    server.put("dataset", "toys/zip", COMMIT, {"rows.zip": b"zip", "README.md": b"# rows"})
    with pytest.raises(HarnessError, match="it has no files that are read here"):
        hub.fetch(Hub("toys/zip", revision=COMMIT), "dataset", tmp_path)


def test_rows_that_would_be_left_out_are_named(server, tmp_path):
    card = b'---\nconfigs: [{config_name: default, data_files: "rows/*"}]\n---\n'
    server.put("dataset", "toys/some", COMMIT, {"README.md": card, "rows/a.parquet": b"", "rows/b.csv.gz": b""})
    with pytest.raises(HarnessError, match=r"1 of its files are of a kind that is not read here, rows/b\.csv\.gz"):
        hub.fetch(Hub("toys/some", revision=COMMIT), "dataset", tmp_path)


def test_capitals_in_a_suffix_leave_no_picture_out(server, tmp_path):
    pictures = {f"train/{name}": b"" for name in ("a.JPG", "b.jpg", "c.webp")}
    server.put("dataset", "toys/photos", COMMIT, pictures)
    assert set(pictures) == names(hub.fetch(Hub("toys/photos", revision=COMMIT), "dataset", tmp_path))


def test_a_split_called_otherwise_has_to_be_named(server, tmp_path, monkeypatch):
    _, task = converted(server, tmp_path, monkeypatch, splits={"training": "train"})
    with pytest.raises(HarnessError, match="splits= names train, validation and test after those it has: train, val"):
        reading.read(task, tmp_path)


def test_a_branch_that_moved_changes_nothing(server, tmp_path):
    server.put("model", "toys/bert", OTHER, MODEL | {"config.json": b'{"new": 1}'})
    assert b"{}" == (hub.fetch(BERT, "model", tmp_path) / "config.json").read_bytes()


# The lock


UNPINNED = Hub("toys/bert")


def locked(folder: Path, source: Hub = UNPINNED, commit: str = COMMIT, **changed: str) -> None:
    wanted = ("config.json", "model.safetensors", "tokenizer.json")
    files = {
        name: f"sha256:{hubserver.sha256(MODEL[name])}"
        if name.endswith(hubserver.LARGE)
        else f"git:{hubserver.git_name(MODEL[name])}"
        for name in wanted
    }
    locking.write(lock.path(folder), {lock.key(source, "model"): lock.Locked(commit=commit, files=files | changed)})


def test_a_lock_pins_what_the_suite_does_not(server, tmp_path):
    locked(tmp_path)
    assert COMMIT == lock.commit(Hub("toys/bert"), "model", tmp_path)
    assert COMMIT == hub.fetch(Hub("toys/bert"), "model", tmp_path).name


def test_without_a_pin_and_a_lock_nothing_is_fetched(server, tmp_path):
    with pytest.raises(
        HarnessError, match=r"toys/bert: no commit is pinned, and .*hub.lock knows none; run: python -m"
    ):
        hub.fetch(Hub("toys/bert"), "model", tmp_path)
    assert [] == server.asked


def test_a_pin_and_a_lock_that_disagree_are_refused(server, tmp_path):
    locked(tmp_path, BERT, OTHER)
    with pytest.raises(HarnessError, match=rf"the suite pins {COMMIT}, .*hub.lock {OTHER}"):
        hub.fetch(BERT, "model", tmp_path)


def test_contents_that_the_lock_does_not_know_are_refused(server, tmp_path):
    hub.fetch(BERT, "model", tmp_path)  # what was fetched before is no excuse
    hub.tried.cache_clear()
    locked(tmp_path, BERT, **{"config.json": "git:0"})
    with pytest.raises(HarnessError, match=r"hub.lock knows other contents of config.json at commit"):
        hub.fetch(BERT, "model", tmp_path)


def test_a_branch_in_a_lock_is_refused(tmp_path):
    locked(tmp_path, commit="main")
    with pytest.raises(HarnessError, match="model toys/bert is locked to no commit"):
        lock.read(lock.path(tmp_path))


def test_two_commits_of_one_repository_are_locked_apart(tmp_path):
    assert lock.key(BERT, "model") != lock.key(Hub("toys/bert", revision=OTHER), "model")


def test_a_torn_note_is_no_note(server, tmp_path):
    folder = hub.fetch(BERT, "model", tmp_path)
    (note,) = (tmp_path / "home" / "shipbench").iterdir()
    note.write_text("{")
    hub.tried.cache_clear()
    assert folder == hub.fetch(BERT, "model", tmp_path)


def test_what_failed_is_not_tried_again_in_the_same_session(server, tmp_path):
    gone = Hub("toys/gone", revision=COMMIT)
    said = refusal(gone, tmp_path)
    asked = len(server.asked)
    assert said == refusal(gone, tmp_path)
    assert asked == len(server.asked)


def test_a_lock_that_is_none_is_refused(tmp_path):
    lock.path(tmp_path).write_text("{")
    with pytest.raises(HarnessError, match="not a lock"):
        lock.read(lock.path(tmp_path))


SUITE = """
import pytest
from harness import Gate, Hub, Model, PYTORCH, Recipe, Task, cases, text_classification

TASK = Task(name="toy", kind=text_classification, dataset=Hub("toys/glue", "mrpc"), inputs=("text",), label="label",
            metric="accuracy", test=None, validation=2, calibration=2)
MODELS = {Model(name=repo, source=Hub(f"toys/{repo}"), recipe=Recipe()): Gate(floor=0.5, max_loss=0.5)
          for repo in ("bert", "gone")}


@pytest.mark.parametrize("case", cases(TASK, MODELS, [PYTORCH]), ids=str)
def test_toy(case, bench):
    bench(case).meets(MODELS[case.model])
"""


def test_locking_writes_what_there_is_and_names_what_there_is_not(server, tmp_path):
    (tmp_path / "test_toy.py").write_text(SUITE)

    def locked_again() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness", "lock", str(tmp_path)]
        path = str(REPOSITORY)
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path}
        )

    first = locked_again()
    assert (4, 2) == (first.returncode, len(first.stdout.splitlines()))
    assert "toys/gone @ main: there is no" in first.stderr
    assert {"dataset toys/glue mrpc", "model toys/bert"} == set(lock.read(lock.path(tmp_path)))
    folder = hub.fetch(Hub("toys/bert"), "model", tmp_path)
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} == names(folder)
    server.put("model", "toys/bert", OTHER, MODEL)
    assert f"model toys/bert @ {OTHER}, 4 files, moved from {COMMIT}" in locked_again().stdout


# Refusals


def refusal(source: Hub, folder: Path) -> str:
    with pytest.raises(HarnessError) as caught:
        hub.fetch(source, "model", folder)
    return str(caught.value)


def test_a_gated_repository_says_where_its_terms_are(server, tmp_path):
    server.repositories["model", "toys/bert"].gated = True
    said = refusal(BERT, tmp_path)
    assert (
        f"toys/bert @ {COMMIT}: it is gated: accept its terms at {server.endpoint}/toys/bert, and set HF_TOKEN" in said
    )


def test_a_repository_that_is_not_there_or_private(server, tmp_path):
    said = refusal(Hub("toys/gone", revision=COMMIT), tmp_path)
    assert f"there is no {server.endpoint}/toys/gone, or it is private" in said


def test_a_commit_that_is_not_there_is_named_and_no_other_taken(server, tmp_path):
    said = refusal(Hub("toys/bert", revision=OTHER), tmp_path)
    assert (
        f"it has no commit {OTHER}; see {server.endpoint}/toys/bert/commits/main, then mend the pin or hub.lock" in said
    )
    assert [] == [asked for asked in server.asked if "resolve" in asked]


def test_no_network_at_all(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "no complete answer from http://127.0.0.1:9" in refusal(BERT, tmp_path)


@pytest.mark.parametrize(
    "text", ["failed for https://cdn/x?Signature=hf_secret&Key=1", "GET '/x?token=hf_secret' failed", "(/x?hf_secret)"]
)
def test_what_follows_an_address_is_in_no_message(text):
    assert "hf_secret" not in inert(text)


def test_a_message_is_short_and_one_line():
    assert 300 == len(inert("word\n" * 1000))


@pytest.mark.parametrize("revision", ["main", "a" * 39, "A" * 40])
def test_a_branch_is_no_pin(revision):
    with pytest.raises(HarnessError, match="is no commit; branches move, so pin the 40 digits"):
        Hub("toys/bert", revision=revision)


@pytest.mark.parametrize("name", ["bert", "a/b/c", "toys/be rt", ""])
def test_a_repository_has_an_owner(name):
    with pytest.raises(HarnessError, match="a repository is named owner/name"):
        Hub(name, revision=COMMIT)
