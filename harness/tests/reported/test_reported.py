"""Every input that users reported of tools in this field: measured rightly, or refused in words that help."""

import os
import re
import subprocess
import sys
from itertools import chain

import pandas as pd
import pytest
import warm
from reports import REPORTS

from harness.util.identity import python_path

SUITE = """
import pytest
from harness import Backend, Folder, Gate, Local, Model, Native, Recipe, Session, Task, cases
from harness.backends import ONNXRUNTIME, PYTORCH

def load(artifact, target):
    import onnxruntime
    session = onnxruntime.InferenceSession(artifact / "model.onnx")
    names = [node.name for node in session.get_inputs()]
    def run(arrays):
        logits = session.run(["logits"], {{name: arrays[name] for name in names}})[0].copy()
        {backend}
        return {{"logits": logits}}
    return Session(run=run, device="cpu", settings={{}})

FALSIFIED = Backend(name="falsified", source=ONNXRUNTIME, load=load, devices=("cpu",), lossy=True)
TASK = Task(name="reported", kind={kind!r}, dataset=Folder({dataset!r}), inputs={inputs!r}, label={label!r},
            metric={metric!r}, test=300, validation=60, calibration=60, {task})
MODELS = {{Model(name="mine", source={source}, {model}): Gate(min_score=0.0, max_drop=0.03)}}
BACKENDS = [{backends}]

@pytest.mark.parametrize("case", cases(TASK, MODELS, backends=BACKENDS), ids=str)
def test_reported(case, bench):
    bench(case)
"""
OPTIONS = (
    "-p", "no:randomly", "-p", "no:cacheprovider", "--ship-device", "cpu", "--ship-threads", "1", "--ship-launches",
    "1", "--ship-budget", "0.5", "--ship-batch-sizes", "1", "--ship-no-page", "--ship-artifacts", "artifacts",
)  # fmt: skip


BACKENDS = {"pytorch": "PYTORCH", "onnxruntime": "ONNXRUNTIME", "falsified": "ONNXRUNTIME, FALSIFIED"}
"""Backend → what the suite lists for it: without a verdict to look at, its export proves nothing."""
TIMEOUT_S = 600.0


def run_suite(folder, report):
    """Return the output of the report's suite in `folder`, and the rows of its table, if one was written."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    values = {
        name: getattr(report, name) for name in ("kind", "dataset", "inputs", "label", "metric", "task", "source")
    }
    values |= {"model": report.model, "backend": report.backend or "pass"}
    text = SUITE.format(**values, backends=", ".join(BACKENDS[name] for name in ("pytorch", *report.verdicts)))
    (folder / "test_suite.py").write_text(text)
    places = () if "--ship-results" in report.options else ("--ship-results", "results")
    words = ["pytest", *OPTIONS, *places, *report.options, "test_suite.py"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": python_path()} | report.environment
    if report.environment:  # which libraries read when they are imported
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
    else:
        _, *streams = warm.run(words, folder, environment, TIMEOUT_S)
        output = "\n".join(chain.from_iterable(streams))
    table = folder / "results/local/comparison.csv"
    return output, pd.read_csv(table) if table.exists() else pd.DataFrame()


@pytest.mark.parametrize("name", REPORTS)
def test_reported_input_is_measured_rightly_or_refused(name, tmp_path):
    report = REPORTS[name](tmp_path)
    output, table = run_suite(tmp_path, report)
    missing = [pattern for pattern in (*report.refused, *report.printed) if not re.search(pattern, output)]
    assert not missing, output
    assert "Traceback" not in output, output
    if report.refused:
        assert table.empty or set(table["status"]) == {"failed"}, output
        return
    rows = table.set_index("backend")
    assert rows.loc["pytorch", "score"] == pytest.approx(report.score, abs=0.02), output
    for backend, expected in report.verdicts.items():
        assert expected in (rows.loc[backend, "status"], rows.loc[backend, "verdict"]), output
    assert "falsified" not in rows.index or not rows.loc["falsified", "recommended"], output
