"""Rows that two backends answer differently: quoted for reading, but for rows of somebody's own."""

import numpy as np
import pytest
from datasets import Dataset

from harness import rows
from harness.answers import Scored
from harness.contracts import Asked
from harness.data import Split
from harness.inputs import Inputs
from harness.kinds import text_classification
from harness.kinds.labels import NO_LABEL
from harness.sources import Folder, Package
from harness.spec import Task

PACKAGE = Package("toys", "rows.csv", sha256="0")


def scored(*predictions):
    single = [{"logits": np.zeros((1, 2))}] * 3
    return Scored(single=single, padded=[], predictions=list(predictions), score=1.0, others={})


def flips(dataset, own=(0, 1, 1)):
    task = Task(
        name="toy", kind=text_classification, dataset=dataset, inputs=("text",), label="topic", metric="accuracy",
        test=3, validation=1, calibration=1,
    )  # fmt: skip
    part = Dataset.from_dict({"text": ["one", "the  secret\nrow", "three"], "label": [0, 0, 1]})
    split = Split(train=part, validation=part, calibration=part, test=part, labels=("a", "b"), duplicates=0)
    inputs = Inputs(task.kind, Asked(None, part, task.inputs, [[{}]] * 3), split.labels)
    return rows._flips(task, inputs, split, scored(*own), scored(0, 0, 1))


@pytest.mark.parametrize("dataset", [PACKAGE, Folder("rows.csv", keep_text=True)], ids=str)
def test_a_flipped_row_is_quoted_on_one_line(dataset):
    (flip,) = flips(dataset)
    assert (1, "a", "a", "b", "the secret row") == (flip.row, flip.label, flip.reference, flip.own, flip.text)


def test_of_rows_of_ones_own_the_number_is_kept_alone():
    (flip,) = flips(Folder("rows.csv"))
    assert (1, "") == (flip.row, flip.text)


def test_an_answer_that_no_row_has_is_said_to_be_one():
    (flip,) = flips(PACKAGE, own=(0, -3, 1))
    assert NO_LABEL == flip.own
