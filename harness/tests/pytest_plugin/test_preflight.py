"""The preflight's checks, one by one: places, rows before models, notes."""

import csv
import io
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import factory
import pytest

from harness.backends import ONNXRUNTIME, PYTORCH
from harness.contracts.sources import Folder, Local, Native
from harness.errors import HarnessError
from harness.pytest_plugin.preflight import (
    _check_earlier,
    _check_source,
    _check_space,
    _check_transformers,
    check_cases,
)
from harness.results import store
from harness.spec import Case, Model, Recipe, Task
from harness.util.console import Progress
from harness.util.files import check_writable


def case(folder, texts=100, source="nowhere", **changes):
    """Return a case over toy rows in `folder`, and the folder."""
    with (folder / "rows.csv").open("w") as file:
        csv.writer(file).writerows([["text", "team"], *([f"words {n}", "ab"[n % 2]] for n in range(texts))])
    arguments = {
        "name": "toy", "kind": "text-classification", "dataset": Folder("rows.csv"), "inputs": ("text",),
        "label": "team", "metric": "accuracy",
    }  # fmt: skip
    model = Model(name="mine", source=Local(source), recipe=Recipe(epochs=1))
    return Case(task=Task(**(arguments | changes)), model=model, backend=PYTORCH, device="cpu"), folder


def problems(*selected, places=()):
    """Return the problems of cases, and the line that is printed first."""
    log = io.StringIO()
    with pytest.raises(HarnessError) as error:
        check_cases(selected, Progress(log=log), dict(places))
    return str(error.value).splitlines(), log.getvalue()


def test_misspelt_column_is_reported_with_the_missing_model(tmp_path):
    lines, log = problems(case(tmp_path, label="teem"))
    assert "checking the rows and models of toy\n" == log
    model, column = lines
    assert "nowhere" in model
    assert f"task toy: {tmp_path}/rows.csv: train has no column teem; it has text, team; did you mean 'team'?" == column


def test_places_are_reported_before_rows_are_read(tmp_path):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "results"
    lines, _ = problems(case(tmp_path, label="teem"), places={place: "--ship-results"})
    expected = (
        f"{place} cannot be written: Not a directory; set --ship-results to a folder that can, or make room there"
    )
    assert [expected] == lines


def test_missing_model_is_reported_once(tmp_path):
    lines, _ = problems(case(tmp_path))
    assert 1 == len(lines)


def test_notes_on_rows_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.pytest_plugin.preflight._check_source", lambda *_: None)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    selected = [case(tmp_path, texts=40, source="model")]
    note = "toy/mine: only 20 rows to train on; its score may differ much from seed to seed"
    assert [note] == check_cases(selected, Progress(), {tmp_path / "results": "--ship-results"})
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("place", ["file/results", "file", "dangling"])
def test_place_that_cannot_be_written_is_an_error(place, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "file" / "beyond")
    with pytest.raises(HarnessError, match=rf"{place} cannot be written: .*; set --ship-results to a folder that"):
        check_writable(tmp_path / place, "--ship-results")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("place", ["/dev/null/results", "/proc/results"])
def test_system_folders_cannot_be_written(place):
    with pytest.raises(HarnessError, match=f"{place} cannot be written"):
        check_writable(Path(place), "--ship-results")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(HarnessError, match="Permission denied"):
        check_writable(tmp_path / "results", "--ship-results")


def test_trial_leaves_nothing(tmp_path):
    (tmp_path / "kept").mkdir()
    check_writable(tmp_path / "a" / "b", "--ship-results")
    check_writable(tmp_path / "kept", "--ship-results")
    assert [tmp_path / "kept"] == list(tmp_path.rglob("*"))


def test_cache_that_cannot_be_written_names_its_variable(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "file" / "datasets")
    lines, _ = problems(case(tmp_path))
    assert 1 == len(lines)
    assert "Not a directory; set HF_HOME or HF_DATASETS_CACHE to a folder that can" in lines[0]


@pytest.mark.parametrize("line", ["from helper import Net", "import helper", "from .helper import Net"])
def test_a_module_that_imports_its_neighbour_is_refused(line, tmp_path):
    (tmp_path / "helper.py").write_text("class Net: pass\n")
    (tmp_path / "own.py").write_text(f"import csv\n{line}\nclass Own: pass\n")
    selected, folder = case(tmp_path)
    model = Model(name="own", source=Native("own.py:Own"), recipe=Recipe(loop="native"))
    with pytest.raises(HarnessError, match=r"own.py imports \.?helper beside it"):
        _check_source(selected.task, model, folder)


def test_results_of_another_task_of_the_name_are_noted(tmp_path):
    own, results = case(tmp_path)[0], tmp_path / "results"
    data = replace(factory.result().data, source=str(own.task.dataset), inputs=("text",))
    store.save(results, factory.result(task="toy", data=data))
    assert [] == _check_earlier(next(results.rglob("toy")), own.task)
    store.save(results, factory.result(task="toy", data=replace(data, source="tickets.csv")))
    (note,) = _check_earlier(next(results.rglob("toy")), own.task)
    assert "is of another task toy: dataset was tickets.csv, is rows.csv; its results are replaced: rename one" in note


@pytest.mark.parametrize(("free", "notes"), [(2_999_999_999, 1), (3_000_000_000, 0)])
def test_a_full_disk_is_noted_with_sizes(tmp_path, monkeypatch, free, notes):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    with (model / "model.safetensors").open("wb") as file:
        file.truncate(10**9)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    own, folder = case(tmp_path, source="model")
    lines = _check_space(tmp_path / "new" / "artifacts", [(own, folder), (replace(own, backend=ONNXRUNTIME), folder)])
    assert notes == len(lines)
    assert not notes or re.search(r"artifacts has 3.0 GB free, and .* may take 3.0 GB; make room, or set", lines[0])


@pytest.mark.parametrize(("release", "notes"), [("5.23.0", 0), ("5.24.7", 0), ("5.25.0", 1), ("6.0.0.dev0", 1)])
def test_a_transformers_newer_than_tested_is_noted(monkeypatch, release, notes):
    monkeypatch.setattr("harness.pytest_plugin.preflight.version", lambda _: release)
    text = "".join(_check_transformers())
    assert bool(notes) == (f"transformers {release} is installed, and shipbench is tested with 5.23 to 5.24; " in text)
