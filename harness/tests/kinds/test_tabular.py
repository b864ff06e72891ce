"""Tables: numbers as they stand in the data, standardised inside the module, and refused where they are none."""

import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import REPOSITORY
from harness import Folder, Local, Model, Native, Recipe, Task, checkpoint
from harness.backends import onnx_export, onnx_graphs
from harness.data import splits
from harness.errors import HarnessError
from harness.kinds import tabular_classification, tabular_regression
from harness.training.train import Workspace, fine_tune
from harness.util.console import Progress
from harness.util.store import Store

INPUTS = ("months", "price", "always")
TASK = Task(
    name="churn", kind="tabular-classification", dataset=Folder("churn.csv"), inputs=INPUTS, label="left",
    metric="accuracy", test=60, validation=40, calibration=20,
)  # fmt: skip
MODEL = Model(
    name="mine", source=Native("perceptron.py:Perceptron"), recipe=Recipe(loop="native", epochs=6, learning_rate=3e-2)
)


@pytest.fixture
def suite(tmp_path):
    rng = random.Random(0)
    rows = [(rng.randrange(1, 60), round(rng.uniform(5e5, 9e5), 2)) for _ in range(300)]
    lines = [f"{months},{price},7,{'yes' if price > 7e5 else 'no'},{months / 2}" for months, price in rows]
    (tmp_path / "churn.csv").write_text("\n".join(["months,price,always,left,half", *lines]))
    shutil.copy(REPOSITORY / "suites" / "models" / "perceptron.py", tmp_path)
    return tmp_path


def train(suite, task):
    out = suite / "out"
    out.mkdir()
    workspace = Workspace(folder=suite, store=Store(suite / "store", print), content="", threads=1, progress=Progress())
    return fine_tune(task, MODEL, splits.load(task, suite), workspace, out), out


def test_module_standardises_by_the_training_rows(suite):
    info, out = train(suite, TASK)
    assert 0.9 < max(info["validation"])
    rows = splits.load(TASK, suite).train
    months = np.array(rows["months"][:], dtype=float)
    module = checkpoint.load(out)
    np.testing.assert_allclose([months.mean(), 7], module.means[[0, 2]], rtol=1e-6)
    np.testing.assert_allclose([months.std(), 1], module.scales[[0, 2]], rtol=1e-6)
    raw = checkpoint.example(out)["features"]
    assert np.float32 == raw.dtype
    np.testing.assert_allclose(raw, [[float(row[name]) for name in INPUTS] for row in rows.select([0, 1])], rtol=1e-6)


def test_graph_takes_raw_numbers_of_any_batch(suite, tmp_path):
    import onnxruntime

    _, out = train(suite, TASK)
    onnx_export.export_native(out, tmp_path, TASK.kind)
    session = onnxruntime.InferenceSession(str(tmp_path / onnx_graphs.FILE), providers=["CPUExecutionProvider"])
    batch = {"features": np.array([[3, 6e5, 7], [50, 8.5e5, 7], [9, 7e5, 7]], dtype=np.float32)}
    expected = checkpoint.make_run(checkpoint.load(out), "cpu")(batch)["logits"]
    np.testing.assert_allclose(onnx_graphs.host_run(session)(batch)["logits"], expected, rtol=1e-4, atol=1e-4)


def test_number_is_learnt_too(suite):
    info, out = train(suite, replace(TASK, kind="tabular-regression", label="half", metric="spearman"))
    assert 0.9 < max(info["validation"])
    with torch.no_grad():
        assert (2, 1) == checkpoint.load(out)(torch.from_numpy(checkpoint.example(out)["features"])).shape


@pytest.mark.parametrize("value", ["12a", "4,5", "nan", "inf", "1e300", "1_000", "", "true", None])
def test_cell_that_is_no_number_is_refused(value):
    row = {"months": "1", "price": value, "always": "-2.5e3", "label": "yes"}
    assert f"its price is {str(value)!r}, and tables hold numbers" in tabular_classification.problem(row, INPUTS)
    assert "" == tabular_regression.problem({**row, "price": " 3.5"}, INPUTS)


def test_row_of_a_file_is_named(suite):
    file = suite / "churn.csv"
    file.write_text(file.read_text().replace(",7,", ",seven,", 1))
    with pytest.raises(HarnessError, match=r"churn: row 0 of train: its always is 'seven', and tables hold"):
        splits.load(TASK, suite)


def test_pretrained_model_is_refused(suite):
    with pytest.raises(HarnessError, match="tables are for native modules"):
        tabular_classification.processor(Local("x"), suite, [], INPUTS)
    with pytest.raises(HarnessError, match="tables are for native modules; use Native"):
        tabular_classification.processor(Local("x"), None, [], INPUTS)
