"""Rows that two backends answer differently, quoted unless they are the user's own, and the table of all answers."""

from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset

from harness.contracts.kind import NO_LABEL, EncodedRows
from harness.contracts.sources import Folder, Package
from harness.data.inputs import Inputs
from harness.data.splits import Split
from harness.evaluation.predictions import Evaluation
from harness.kinds import question_answering, text_classification
from harness.metrics import Metric
from harness.pipeline import record
from harness.spec import Task

PACKAGE = Package("toys", "rows.csv", sha256="0")


def scored(*predictions):
    single = [{"logits": np.zeros((1, 2))}] * 3
    return Evaluation(single=single, padded=[], predictions=list(predictions), score=1.0, other_scores={})


def flips(dataset, own=(0, 1, 1)):
    task = Task(
        name="toy", kind=text_classification, dataset=dataset, inputs=("text",), label="topic", metric="accuracy",
        test=3, validation=1, calibration=1,
    )  # fmt: skip
    part = Dataset.from_dict({"text": ["one", "the  secret\nrow", "three"], "label": [0, 0, 1]})
    split = Split(train=part, validation=part, calibration=part, test=part, labels=("a", "b"), duplicates=0)
    inputs = Inputs(
        task.kind,
        EncodedRows(None, part, task.inputs, [[{}]] * 3),
        split.labels,
        metrics={"accuracy": Metric("accuracy")},
    )
    return record._flips(task, inputs, split, scored(*own), scored(0, 0, 1))


@pytest.mark.parametrize("dataset", [PACKAGE, Folder("rows.csv", keep_text=True)], ids=str)
def test_flipped_row_is_quoted_on_one_line(dataset):
    (flip,) = flips(dataset)
    assert (1, "a", "a", "b", "the secret row") == (flip.row, flip.label, flip.reference, flip.own, flip.text)


def test_own_rows_are_never_quoted():
    (flip,) = flips(Folder("rows.csv"))
    assert (1, "") == (flip.row, flip.text)


def test_label_of_no_row_has_a_name():
    (flip,) = flips(PACKAGE, own=(0, -3, 1))
    assert NO_LABEL == flip.own


# The table


def table(kind, dataset, single, own, reference, labels=()):
    """Answers kept beside a result; the task has a row for each of `single`."""
    part = Dataset.from_dict({"question": ["q"] * len(single), "context": ["a secret"] * len(single)})
    part = part.add_column("label", [0] * len(single) if labels else ["secret"] * len(single))
    task = Task(
        name="toy", kind=kind, dataset=dataset, inputs=("question", "context"), label="topic",
        metric=kind.metrics[0], test=3, validation=1, calibration=1,
    )  # fmt: skip

    def made(predictions):
        return SimpleNamespace(scored=Evaluation(single, [], predictions, 1.0, {}))

    found = SimpleNamespace(
        prepared={"onnxruntime": made(own), "pytorch": made(reference)},
        test=Inputs(
            kind,
            EncodedRows(None, part, task.inputs, [[{}]] * len(single)),
            labels,
            None,
            {kind.metrics[0]: Metric(kind.metrics[0])},
        ),
    )
    return record.answers_table(SimpleNamespace(backend=SimpleNamespace(name="onnxruntime"), task=task), found)


def test_rows_of_one_and_several_windows_share_a_table(tmp_path):
    single = [{"start_logits": np.zeros((windows, 4), dtype=np.float32)} for windows in (1, 2)]
    found = table(question_answering, PACKAGE, single, ["a", "secret"], ["secret", "secret"])
    found.to_parquet(tmp_path / "rows.parquet")
    assert ["row", "label", "prediction", "reference", "start_logits"] == found.columns.tolist()
    assert [1, 2] == found["start_logits"].map(len).tolist()


def test_own_text_is_only_marked_right_or_wrong():
    single = [{"start_logits": np.zeros((1, 4), dtype=np.float32)}] * 2
    found = table(question_answering, Folder("rows.csv"), single, ["a", "secret"], ["secret", "secret"])
    assert {"row": [0, 1], "prediction": ["wrong", "right"], "reference": ["right", "right"]} == found.to_dict("list")


@pytest.mark.parametrize(("size", "kept"), [(128, True), (129, False)])
def test_large_outputs_are_left_out(size, kept):
    single = [{"logits": np.zeros((1, size), dtype=np.float32)}] * 2
    found = table(text_classification, PACKAGE, single, [0, 1], [0, 0], ("a", "b"))
    assert kept == ("logits" in found)
    assert ["a", "b"] == found["prediction"].tolist()
