"""Installed trackers get a run for each fine-tuning and one for each comparison."""

import json
import os
import sqlite3
import struct
import subprocess
import sys
import textwrap
from contextlib import closing
from importlib.util import find_spec

import factory
import pytest
from test_train import VIT, train

from harness.report.integrations import log_tables

SMALL = {"rows": 64, "batch_size": 64, "epochs": 2}
SEEDS = (0, 1)
TRAININGS = [f"digits.{VIT.name}.seed-{seed}" for seed in SEEDS]
COMPARISON = f"digits.{VIT.name}.cpu"
SPEEDUP = "speedup/onnxruntime"
BLOCK = 32 * 1024


def needs(name):
    return pytest.mark.skipif(find_spec(name) is None, reason=f'no {name}: pip install -e ".[cpu,{name}]"')


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder for what trackers write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    return tmp_path


def report(tracker, folder):
    """Fine-tune with each seed, then log one comparison; return validation scores by the run's name."""
    scores = {}
    for seed, name in zip(SEEDS, TRAININGS, strict=True):
        made = train(folder / f"checkpoint-{seed}", **SMALL, seed=seed, report_to=(tracker,))
        scores[name] = made["validation"]
    known = {"task": "digits", "model": VIT.name}
    results = [factory.result(**known), factory.result("onnxruntime", 1.5, **known)]
    assert [COMPARISON] == list(log_tables(tracker, results, folder))
    return scores


@needs("mlflow")
def test_mlflow_gets_fine_tunings_and_comparison(there):
    import mlflow

    scores = report("mlflow", there)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{there}/mlflow.db")
    runs = {run.info.run_name: run for run in client.search_runs(["0"])}
    assert {*TRAININGS, COMPARISON} == runs.keys()
    assert {"FINISHED"} == {run.info.status for run in runs.values()}
    for name in TRAININGS:
        history = client.get_metric_history(runs[name].info.run_id, "eval_accuracy")
        assert scores[name] == pytest.approx([one.value for one in sorted(history, key=lambda one: one.step)])
    final = runs[COMPARISON]
    assert 1.5 == pytest.approx(final.data.metrics[SPEEDUP], rel=0.02)
    assert "| onnxruntime |" in mlflow.artifacts.load_text(f"{final.info.artifact_uri}/comparison.md")


@needs("trackio")
def test_trackio_gets_fine_tunings_and_comparison(there):
    # Trackio chooses its folder when it is imported.
    code = textwrap.dedent("""
        import json, sys
        from pathlib import Path
        sys.path[:0] = json.loads(sys.argv[1])
        from test_trackers import report
        Path("scores.json").write_text(json.dumps(report("trackio", Path.cwd())))
    """)
    env = os.environ | {"TRACKIO_DIR": str(there / "trackio")}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(sys.path)], env=env, check=False, capture_output=True, text=True
    )
    assert 0 == done.returncode, done.stderr
    scores = json.loads((there / "scores.json").read_text())
    with closing(sqlite3.connect(there / "trackio" / "huggingface.db")) as store:
        rows = [
            (name, json.loads(metrics))
            for name, metrics in store.execute("select run_name, metrics from metrics order by id").fetchall()
        ]
    (dated,) = {name for name, _ in rows} - {*TRAININGS}
    assert dated.startswith(f"{COMPARISON}.2026-01-01T")
    for name in TRAININGS:
        logged = [metrics for run, metrics in rows if run == name]
        assert scores[name] == pytest.approx([one["eval/accuracy"] for one in logged if "eval/accuracy" in one])
    (final,) = [metrics for name, metrics in rows if name == dated]
    assert "| onnxruntime |" in json.dumps(final["comparison"])
    assert 1.5 == pytest.approx(final[SPEEDUP], rel=0.02)


def records(file):
    """Yield W&B's messages from the log of a run, which has LevelDB's form."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        left = BLOCK - at % BLOCK
        if left < 7:  # too short for a record's head
            at += left
            continue
        length, part = struct.unpack_from("<HB", content, at + 4)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (1, 4):  # whole, or its last part
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


@needs("wandb")
def test_wandb_gets_fine_tunings_and_comparison_offline(there):
    scores = report("wandb", there)
    logged = {}
    for file in there.rglob("*.wandb"):
        entries = list(records(file))
        run = next(one.run for one in entries if one.WhichOneof("record_type") == "run")
        assert "huggingface" == run.project
        assert run.display_name not in logged
        logged[run.display_name] = [
            {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in one.history.item}
            for one in entries
            if one.WhichOneof("record_type") == "history"
        ]
    assert {*TRAININGS, COMPARISON} == logged.keys()
    for name in TRAININGS:
        assert scores[name] == pytest.approx([one["eval/accuracy"] for one in logged[name] if "eval/accuracy" in one])
    (final,) = logged[COMPARISON]
    assert 1.5 == pytest.approx(final[SPEEDUP], rel=0.02)
    assert "table-file" == final["comparison/_type"]
    (table,) = there.rglob("*.table.json")
    assert "| onnxruntime |" in table.read_text()
