"""Every tracker that is installed, told for real: the table lands in the run of its fine-tuning, and nowhere else."""

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

from harness.training.tracking import log_tables, run_folder

SMALL = {"rows": 64, "batch_size": 64, "epochs": 2}
SEEDS = (0, 1)
SPEEDUP = "speedup/onnxruntime.cpu"


def needs(name):
    return pytest.mark.skipif(find_spec(name) is None, reason=f'no {name}: pip install -e ".[cpu,{name}]"')


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder where trackers may leave what they leave."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    return tmp_path


def tell(tracker, folder):
    """Fine-tune with each seed, log the tables, and those again; validation scores and noted runs by seed."""
    scores, runs = {}, {}
    for seed in SEEDS:
        made = train(folder / f"checkpoint-{seed}", **SMALL, seed=seed, report_to=(tracker,))
        scores[seed] = made["validation"]
        note = run_folder(folder, "digits", VIT.name, seed)
        runs[seed] = json.loads(note.with_name(f"{note.name}.json").read_text())[tracker]
    assert runs[0] != runs[1]
    for seed in (*SEEDS, 0):  # the last time as in a later session, that trains nothing
        (said,) = log_tables(tracker, measured(seed), folder)
        assert all(value in said for value in runs[seed].values() if value)
    for seed in SEEDS:
        note = run_folder(folder, "digits", VIT.name, seed)
        assert runs[seed] == json.loads(note.with_name(f"{note.name}.json").read_text())[tracker]
    return scores, runs


def measured(seed):
    """Of a model with a speed-up of its own, so that a table in the wrong run is seen."""
    known = {"task": "digits", "model": VIT.name, "recipe": {"seed": seed}}
    return [factory.result(**known), factory.result("onnxruntime", 1.5 + seed, **known)]


@needs("mlflow")
def test_mlflow_has_one_run_a_fine_tuning_with_its_table(there):
    import mlflow

    scores, runs = tell("mlflow", there)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{there}/mlflow.db")
    found = {run.info.run_id: run for run in client.search_runs(["0"])}
    assert {run["run"] for run in runs.values()} == found.keys()
    for seed in SEEDS:
        run = found[runs[seed]["run"]]
        assert ("FINISHED", f"digits.{VIT.name}.seed-{seed}") == (run.info.status, run.info.run_name)
        told = client.get_metric_history(run.info.run_id, "eval_accuracy")
        assert scores[seed] == pytest.approx([one.value for one in sorted(told, key=lambda one: one.step)])
        assert 1.5 + seed == pytest.approx(run.data.metrics[SPEEDUP], rel=0.02)
        text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/comparison/cpu.md")
        assert "| onnxruntime |" in text


@needs("trackio")
def test_trackio_has_one_run_a_fine_tuning_with_its_table(there):
    # It decides where its files lie when it is imported.
    code = textwrap.dedent("""
        import json, sys
        from pathlib import Path
        sys.path[:0] = json.loads(sys.argv[1])
        from test_trackers import tell
        Path("told.json").write_text(json.dumps(tell("trackio", Path.cwd())))
    """)
    env = os.environ | {"TRACKIO_DIR": str(there / "trackio")}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(sys.path)], env=env, check=False, capture_output=True, text=True
    )
    assert 0 == done.returncode, done.stderr
    scores, runs = json.loads((there / "told.json").read_text())
    with closing(sqlite3.connect(there / "trackio" / "huggingface.db")) as store:
        rows = store.execute("select run_name, metrics from metrics order by id").fetchall()
    assert {run["run"] for run in runs.values()} == {name for name, _ in rows}
    for seed in map(str, SEEDS):
        told = [json.loads(metrics) for name, metrics in rows if name == runs[seed]["run"]]
        assert scores[seed] == pytest.approx([one["eval/accuracy"] for one in told if "eval/accuracy" in one])
        tables = [one for one in told if "comparison/cpu" in one]
        assert all("| onnxruntime |" in json.dumps(one["comparison/cpu"]) for one in tables)
        assert {1.5 + int(seed)} == {round(one[SPEEDUP], 1) for one in tables}


def records(file):
    """What W&B kept of a run: a log in LevelDB's form, of W&B's own messages."""
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
            found = Record()
            found.ParseFromString(whole)
            yield found
            whole = b""


BLOCK = 32 * 1024


@needs("wandb")
def test_wandb_has_one_run_a_fine_tuning_with_its_table_when_offline(there):
    scores, runs = tell("wandb", there)
    kept = {seed: [] for seed in SEEDS}
    for file in sorted(there.rglob("*.wandb"), key=lambda one: one.parent.name):
        entries = list(records(file))
        (begun,) = [one.run for one in entries if one.WhichOneof("record_type") == "run"][:1]
        (seed,) = [seed for seed, run in runs.items() if run["id"] == begun.run_id]
        assert (f"digits.{VIT.name}.seed-{seed}", "huggingface") == (begun.display_name, begun.project)
        for one in entries:
            if one.WhichOneof("record_type") == "history":
                kept[seed].append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in one.history.item})
    for seed in SEEDS:
        told = [one["eval/accuracy"] for one in kept[seed] if "eval/accuracy" in one]
        assert scores[seed] == pytest.approx(told)
        assert {1.5 + seed} == {round(one[SPEEDUP], 1) for one in kept[seed] if SPEEDUP in one}
        assert any("table-file" == one.get("comparison/cpu/_type") for one in kept[seed])
    tables = [path.read_text() for path in there.rglob("*.table.json")]
    assert tables
    assert all("| onnxruntime |" in text for text in tables)
