"""Hub downloads from a small server on this machine: selection, pins, digests, reuse, refusals."""

import json
from inspect import unwrap
from pathlib import Path

import pytest
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import http_backoff
from toy_hub import CARD, COMMIT, DATASET, MODEL, OTHER, parquet, server

from harness.contracts.sources import Hub
from harness.data import hub, reading
from harness.data.hub import inert
from harness.errors import HarnessError
from harness.kinds import text_classification
from harness.publish.card import base_model
from harness.spec import Task

__all__ = ["server"]  # a fixture

BERT = Hub("toys/bert", revision=COMMIT)
MODEL_FILES = {"README.md", "config.json", "model.safetensors", "tokenizer.json"}


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def refusal(source: Hub, repo_type: str = "model") -> str:
    with pytest.raises(HarnessError) as caught:
        hub.fetch(source, repo_type)
    return str(caught.value)


# Selection


def test_model_download_prefers_safetensors(server):
    folder = hub.fetch(BERT, "model")
    assert MODEL_FILES == names(folder)
    assert MODEL["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_model_download_falls_back_to_pickles(server):
    files = {name: content for name, content in MODEL.items() if name != "model.safetensors"}
    server.put("model", "toys/old", COMMIT, files)
    folder = hub.fetch(Hub("toys/old", revision=COMMIT), "model")
    assert {"README.md", "config.json", "pytorch_model.bin", "tokenizer.json"} == names(folder)


def test_model_without_weights_is_refused(server):
    server.put("model", "toys/empty", COMMIT, {"config.json": b"{}"})
    assert "neither model.safetensors nor pytorch_model.bin" in refusal(Hub("toys/empty", revision=COMMIT))


@pytest.mark.parametrize(
    ("card", "name"),
    [("---\nlicense: mit\n---\n", "mit"), ("a model", "unknown"), ("---\nlicense: [\n---\n", "unknown")],
)
def test_model_licence_comes_from_downloaded_card(server, card, name):
    server.put("model", "toys/bert", COMMIT, MODEL | {"README.md": card.encode()})
    hub.fetch(BERT, "model")
    source = {"type": "Hub", "repo": "toys/bert", "revision": COMMIT}
    assert name == base_model({"source": source})[1].name


def test_dataset_download_takes_one_configuration(server):
    folder = hub.fetch(Hub("toys/glue", "mrpc", revision=COMMIT), "dataset")
    assert {"README.md", "mrpc/train-00000-of-00001.parquet", "mrpc/test-00000-of-00001.parquet"} == names(folder)


def rows(source, folder):
    """Return split → number of rows, the names of labels, and the notes."""
    task = Task(
        name="toy", kind=text_classification, dataset=source, inputs=("text",), label="label", metric="accuracy"
    )
    parts, listed, notes = reading.read(task, folder)
    return {split: len(part) for split, part in parts.items()}, list(dict.fromkeys(listed)), notes


def test_configuration_is_read_whatever_the_others_are(server, tmp_path):
    source = Hub("toys/glue", "mrpc", revision=COMMIT)
    assert ({"train": 20, "test": 10}, ["not_mrpc", "mrpc"], []) == rows(source, tmp_path)


def test_default_configuration_is_read_and_noted(server, tmp_path):
    sizes, labels, notes = rows(Hub("toys/glue", revision=COMMIT), tmp_path)
    assert ({"train": 8, "test": 6}, ["not_cola", "cola"]) == (sizes, labels)
    assert ["toys/glue: configuration cola, the card's default, is read"] == notes


def test_missing_configuration_is_refused_with_choices(server):
    assert "ax, cola, mnli, mrpc" in refusal(Hub("toys/glue", "mprc", revision=COMMIT), "dataset")
    without = CARD.replace("  default: true\n", "").encode()
    server.put("dataset", "toys/several", COMMIT, DATASET | {"README.md": without})
    assert "it has the configurations ax, cola" in refusal(Hub("toys/several", revision=COMMIT), "dataset")
    message = refusal(Hub("toys/glue", "rte", revision=COMMIT), "dataset")
    assert "its card names rte/train-* for rte, which matches none" in message


CSV = b"text,label\nx,0\ny,1\nz,1\n"
FEATURES = [{"name": "label", "dtype": {"class_label": {"names": {"0": "bad", "1": "good"}}}}]
INFOS = {"default": {"features": {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}}}
FOLDERS = [{"config_name": "x", "data_dir": "x"}, {"config_name": "y"}]
SEPARATED = [{"config_name": "x", "data_dir": "x", "data_files": "*.csv", "sep": ";"}]


def card(**metadata):
    return f"---\n{json.dumps(metadata)}\n---\n".encode()


def configured(*entries):
    return card(configs=list(entries))


LAYOUTS = {
    "split names": ({"README.md": b"rows", "train.csv": CSV, "test.csv": CSV}, {"train": 3, "test": 3}, []),
    "features": ({"README.md": card(dataset_info={"features": FEATURES}), "a.csv": CSV}, {"train": 3}, ["bad", "good"]),
    "infos": ({"train.csv": CSV, "dataset_infos.json": json.dumps(INFOS).encode()}, {"train": 3}, ["bad", "good"]),
    "shards": ({"README.md": b"", "data/train-00000-of-00001.csv": CSV, "other.csv": CSV}, {"train": 3}, []),
    "glob": ({"README.md": configured({"data_files": "*.csv"}), "a.csv": CSV, "sub/b.csv": CSV}, {"train": 3}, []),
    "folder": ({"README.md": configured(*FOLDERS), "x/train.csv": CSV, "y/train.csv": CSV}, {"train": 3}, []),
    "separator": (
        {"README.md": configured(*SEPARATED), "x/a.csv": CSV.replace(b",", b";"), "a.csv": CSV},
        {"train": 3},
        [],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_repositories_of_every_layout_are_read(layout, server, tmp_path):
    files, sizes, labels = LAYOUTS[layout]
    server.put("dataset", "toys/rows", COMMIT, files)
    config = "x" if any(name.startswith("x/") for name in files) else None
    assert (sizes, labels) == rows(Hub("toys/rows", config, revision=COMMIT), tmp_path)[:2]


CONVERTED_TWICE = {"a/train/0000.parquet": b"", "b/train/0000.parquet": b""}
SKIPPED = configured({"config_name": "x", "data_files": "*", "skiprows": 3})


@pytest.mark.parametrize(
    ("files", "config", "message"),
    [
        ({"rows.py": b"", "README.md": b""}, None, "rows.py, which is not run; pin a commit listed at"),
        ({"rows.py": b"", "train.csv": CSV}, None, "refs%2Fconvert%2Fparquet"),
        ({"README.md": b"rows", "train.csv": CSV}, "deflaut", "unknown configuration 'deflaut'"),
        (CONVERTED_TWICE, None, "it has the configurations a, b; name one"),
        (CONVERTED_TWICE, "c", "unknown configuration 'c'"),
        ({"README.md": SKIPPED, "a.csv": CSV}, None, "its card reads x with skiprows, which is not supported"),
    ],
    ids=["script", "script beside rows", "typing error", "converted", "converted, typing error", "reader's settings"],
)
def test_unclear_repositories_are_refused(files, config, message, server):
    server.put("dataset", "toys/rows", COMMIT, files)
    assert message in refusal(Hub("toys/rows", config, revision=COMMIT), "dataset")


@pytest.mark.parametrize(
    "data_files",
    ["rows/*.parquet", ["rows/a.parquet", "rows/b.parquet"], "**/*.parquet", [{"split": "train", "path": ["rows/*"]}]],
    ids=str,
)
def test_card_may_name_files_in_several_ways(data_files, server):
    card = "---\n" + json.dumps({"configs": [{"config_name": "default", "data_files": data_files}]}) + "\n---\n"
    files = {f"rows/{name}.parquet": MODEL["config.json"] for name in "ab"}
    server.put("dataset", "toys/rows", COMMIT, {"README.md": card.encode(), **files})
    assert {"README.md", *files} == names(hub.fetch(Hub("toys/rows", revision=COMMIT), "dataset"))


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


def test_converted_dataset_is_read_by_configuration(server, tmp_path, monkeypatch):
    source, task = converted(server, tmp_path, monkeypatch, splits={"train": "train", "test": "validation"})
    assert {name for name in CONVERTED if name.startswith("small/")} == names(hub.fetch(source, "dataset"))
    tables, *_ = reading.read(task, tmp_path)
    assert {"train": 40, "test": 30} == {split: len(rows) for split, rows in tables.items()}


def test_missing_split_is_refused_with_choices(server, tmp_path, monkeypatch):
    _, task = converted(server, tmp_path, monkeypatch, splits={"train": "train", "test": "test"})
    with pytest.raises(HarnessError, match=r"toys/pictures small: splits= names test; it has train, validation"):
        reading.read(task, tmp_path)


def test_unusual_split_names_are_refused(server, tmp_path, monkeypatch):
    _, task = converted(server, tmp_path, monkeypatch, splits={"training": "train"})
    with pytest.raises(
        HarnessError,
        match=r"splits= must map train, optionally .*; it has train, validation",
    ):
        reading.read(task, tmp_path)


@pytest.mark.parametrize("card", [{}, {"README.md": b"# rows"}], ids=["bare", "with card"])
def test_dataset_without_readable_rows_is_refused(card, server):
    server.put("dataset", "toys/zip", COMMIT, {"rows.zip": b"zip"} | card)
    assert "it has no files of a supported type" in refusal(Hub("toys/zip", revision=COMMIT), "dataset")


def test_partly_unreadable_dataset_is_refused(server):
    card = b'---\nconfigs: [{config_name: default, data_files: "rows/*"}]\n---\n'
    server.put("dataset", "toys/some", COMMIT, {"README.md": card, "rows/a.parquet": b"", "rows/b.csv.gz": b""})
    message = refusal(Hub("toys/some", revision=COMMIT), "dataset")
    assert "1 of its files have an unsupported type, for example rows/b.csv.gz" in message


def test_upper_case_suffixes_are_selected(server):
    pictures = {f"train/{name}": b"" for name in ("a.JPG", "b.jpg", "c.webp")}
    server.put("dataset", "toys/photos", COMMIT, pictures)
    assert set(pictures) == names(hub.fetch(Hub("toys/photos", revision=COMMIT), "dataset"))


# Pins


def test_moved_branch_changes_nothing(server):
    server.put("model", "toys/bert", OTHER, MODEL | {"config.json": b'{"new": 1}'})
    assert b"{}" == (hub.fetch(BERT, "model") / "config.json").read_bytes()


@pytest.mark.parametrize(
    ("revision", "problem"), [(None, "revision= is missing"), ("main", "revision='main' is not a commit")]
)
def test_unpinned_source_is_refused_with_commit(revision, problem, server):
    message = f"toys/bert: {problem}; pin the commit: Hub('toys/bert', revision='{COMMIT}')"
    assert message == refusal(Hub("toys/bert", revision=revision))
    assert [] == [request for request in server.asked if "resolve" in request]


def test_pin_hint_repeats_the_configuration(server):
    assert f"Hub('toys/glue', 'mrpc', revision='{COMMIT}')" in refusal(Hub("toys/glue", "mrpc"), "dataset")


@pytest.mark.parametrize("revision", ["typo", "a" * 39, "A" * 40])
def test_unknown_branch_says_where_commits_are(revision, server):
    message = refusal(Hub("toys/bert", revision=revision))
    assert "pin the commit: Hub('toys/bert', revision='<40 hex digits>')" in message
    assert f"revision {revision} does not exist; {server.endpoint}/toys/bert/commits/main lists the commits" in message


def test_unpinned_source_offline_asks_nobody(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = refusal(Hub("toys/glue"), "dataset")
    assert f"{server.endpoint}/datasets/toys/glue/commits/main lists the commits" in message
    assert [] == server.asked


def test_content_is_the_commit(tmp_path):
    assert COMMIT == BERT.content(tmp_path)
    with pytest.raises(HarnessError, match="toys/bert: pin a commit"):
        Hub("toys/bert", revision="main").content(tmp_path)


def test_another_commit_is_never_taken(server):
    message = refusal(Hub("toys/bert", revision=OTHER))
    assert f"revision {OTHER} does not exist; {server.endpoint}/toys/bert/commits/main lists the commits" in message
    assert [] == [request for request in server.asked if "resolve" in request]


@pytest.mark.parametrize("name", ["bert", "a/b/c", "toys/be rt", ""])
def test_repository_needs_an_owner(name):
    with pytest.raises(HarnessError, match="a repository is named owner/name"):
        Hub(name, revision=COMMIT)


# Reuse and digests


def test_complete_download_is_reused_offline(server, monkeypatch):
    folder = hub.fetch(BERT, "model")
    hub.attempt.cache_clear()
    requests = list(server.asked)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert folder == hub.fetch(BERT, "model")
    assert requests == server.asked


def test_missing_download_is_refused_offline(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert f"toys/bert: HF_HUB_OFFLINE is set, and commit {COMMIT} is not downloaded" in refusal(BERT)
    assert [] == server.asked


@pytest.mark.parametrize("damage", [b"something else", MODEL["model.safetensors"][:-1] + b"x"], ids=["length", "bit"])
def test_damaged_cached_file_is_downloaded_again(damage, server):
    folder = hub.fetch(BERT, "model")
    (folder / "model.safetensors").resolve().write_bytes(damage)
    hub.attempt.cache_clear()
    assert MODEL["model.safetensors"] == (hub.fetch(BERT, "model") / "model.safetensors").read_bytes()


def test_overlong_partial_file_is_downloaded_again(server):
    folder = hub.fetch(BERT, "model")
    blob = (folder / "model.safetensors").resolve()
    blob.rename(f"{blob}.incomplete").write_bytes(MODEL["model.safetensors"] * 2)
    (folder / "model.safetensors").unlink()
    hub.attempt.cache_clear()
    assert MODEL["model.safetensors"] == (hub.fetch(BERT, "model") / "model.safetensors").read_bytes()


def test_unreadable_note_is_ignored(server, tmp_path):
    folder = hub.fetch(BERT, "model")
    (note,) = (tmp_path / "home" / "shipbench").iterdir()
    note.write_text("{")
    hub.attempt.cache_clear()
    assert folder == hub.fetch(BERT, "model")


# Refusals


def test_failed_download_is_not_repeated_in_session(server):
    missing = Hub("toys/missing", revision=COMMIT)
    message = refusal(missing)
    requests = len(server.asked)
    assert message == refusal(missing)
    assert requests == len(server.asked)


def test_gated_repository_says_where_terms_are(server):
    server.repositories["model", "toys/bert"].gated = True
    expected = f"toys/bert @ {COMMIT}: it is gated: accept its terms at {server.endpoint}/toys/bert, and set HF_TOKEN"
    assert expected in refusal(BERT)


def test_missing_repository_may_be_private(server):
    message = refusal(Hub("toys/missing", revision=COMMIT))
    assert f"{server.endpoint}/toys/missing does not exist, or it is private" in message


def test_unreachable_hub_is_named(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "no complete answer from http://127.0.0.1:9" in refusal(BERT)
    hint = refusal(Hub("toys/bert"))
    assert "http://127.0.0.1:9/toys/bert/commits/main lists the commits (the Hub could not be asked: no comp" in hint


@pytest.fixture
def impatient(monkeypatch):
    """Shorten the timeouts and the waits between tries."""
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", 0.2)
    monkeypatch.setattr("huggingface_hub.file_download._ETAG_RETRY_TIMEOUT", 0.2)
    monkeypatch.setitem(unwrap(http_backoff).__kwdefaults__, "base_wait_time", 0)
    monkeypatch.setitem(unwrap(http_get).__kwdefaults__, "_nb_retries", 0)


TROUBLES = {
    "429": "the Hub asks for fewer requests (429)",
    "500": "the Hub failed with status 500",
    "reset": "Server disconnected",
    "truncated": "no complete answer from",
    "wrong-hash": "does not have the digest that the Hub states",
    "stalled": "timed out",
    "more": "Consistency check failed",
    "silent": "timed out",
}


@pytest.mark.parametrize(
    ("trouble", "at"),
    [
        *((trouble, "/resolve/") for trouble in TROUBLES),
        *((trouble, "/api/") for trouble in ("429", "500", "reset", "silent")),
    ],
)
def test_failing_hub_is_explained_and_leaves_nothing_wrong(trouble, at, server, impatient):
    server.trouble, server.trouble_at = trouble, at
    assert TROUBLES[trouble] in refusal(BERT)
    server.trouble = ""
    hub.attempt.cache_clear()
    folder = hub.fetch(BERT, "model")
    assert MODEL["model.safetensors"] == (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "text", ["failed for https://cdn/x?Signature=hf_secret&Key=1", "GET '/x?token=hf_secret' failed", "(/x?hf_secret)"]
)
def test_inert_text_drops_url_queries(text):
    assert "hf_secret" not in inert(text)


def test_inert_text_is_short_and_one_line():
    assert 300 == len(inert("word\n" * 1000))
