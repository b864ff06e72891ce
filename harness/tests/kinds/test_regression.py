"""One number a row: how it is read, the head that answers, gates in the metric's unit, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from transformers import BertConfig, BertForSequenceClassification
from users import BAG

from harness.artifacts.cache import HeldOutRows
from harness.backends import PYTORCH
from harness.contracts.kind import EncodedRows
from harness.contracts.sources import Folder, Local, Native
from harness.data import splits
from harness.data.inputs import Inputs
from harness.errors import HarnessError
from harness.kinds import text_regression
from harness.kinds.common import word_tokenizer
from harness.metrics import Metric
from harness.pytest_plugin.preflight import _check_gate
from harness.spec import Gate, Model, Recipe, Task, cases
from harness.training import fit
from harness.training.pretrained import Fit
from harness.training.train import Workspace, fine_tune
from harness.util.console import Progress
from harness.util.store import Store

ROWS = [(f"{'good ' * (n % 6)}{'bad ' * (5 - n % 6)}n{n}", f"{n % 6}.{n % 10}") for n in range(240)]
TASK = Task(name="stars", kind="text-regression", dataset=Folder("rows.csv"), inputs=("text",), label="stars",
            metric="mae", also=("pearson",))  # fmt: skip
MODEL = Model(name="mine", source=Local("model"), max_length=16)
TRAINED = replace(MODEL, recipe=Recipe(epochs=24, learning_rate=1e-2))


@pytest.fixture(autouse=True)
def _rows(tmp_path):
    write(tmp_path, ROWS)


def write(folder, rows):
    (folder / "rows.csv").write_text("text,stars\n" + "".join(f'{text},"{stars}"\n' for text, stars in rows))


def refusal(folder, **changes):
    with pytest.raises(HarnessError) as error:
        splits.load(replace(TASK, **changes), folder)
    return str(error.value)


def save(folder, outputs=1, **config):
    torch.manual_seed(0)
    tokenizer = word_tokenizer((text for text, _ in ROWS), 50)
    bert = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, num_labels=outputs, **config,
    )  # fmt: skip
    BertForSequenceClassification(bert).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def problem(folder, task=TASK):
    with pytest.raises(HarnessError) as error:
        fit.check(task, MODEL, folder)
    return str(error.value)


# Rows


def test_numbers_are_read_as_they_are_written(tmp_path):
    split = splits.load(TASK, tmp_path)
    expected = {text: float(stars) for text, stars in ROWS}
    assert () == split.labels
    for part in (split.train, split.test):
        assert [expected[text] for text in part["text"][:]] == part["label"][:]


@pytest.mark.parametrize("odd", ["nan", "inf", "-Infinity", "five", "4,5", "1_000", "0x10", "true"])
def test_values_that_are_no_number_are_refused(tmp_path, odd):
    write(tmp_path, [*ROWS, ("one more", odd)])
    message = refusal(tmp_path)
    assert f"task stars: row 240 of train has {odd!r} in stars, which is no finite number" in message
    assert "(1 of 241 rows have none); write it like 4.5" in message


def test_missing_number_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("text,stars\nwell,4\nill,\n")
    assert "row 1 of train has no value in stars" in refusal(tmp_path)


def test_lists_are_refused(tmp_path):
    lines = (json.dumps({"text": text, "stars": [1.0, 2.0]}) + "\n" for text, _ in ROWS)
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    assert "which is no finite number" in refusal(tmp_path, dataset=Folder("rows.jsonl"))


def test_names_of_labels_are_refused(tmp_path):
    features = Features({"text": Value("string"), "stars": ClassLabel(names=["one star", "two stars"])})
    rows = {"text": [text for text, _ in ROWS], "stars": [number % 2 for number, _ in enumerate(ROWS)]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "rows.parquet")
    assert "holds labels (one star, two stars), no numbers" in refusal(tmp_path, dataset=Folder("rows.parquet"))


def test_equal_numbers_in_all_test_rows_are_refused(tmp_path):
    write(tmp_path, [(text, "3.5") for text, _ in ROWS])
    assert "task stars: every test row has the number 3.5; ask for more test rows" == refusal(tmp_path)


def test_many_contradictory_numbers_are_refused(tmp_path):
    write(tmp_path, [*ROWS, *((text, "9") for text, _ in ROWS[:60])])
    assert "60 of 240 distinct inputs have rows with different labels" in refusal(tmp_path)


# Heads


@pytest.mark.parametrize("problem_type", [None, "regression"])
def test_head_with_one_output_fits(tmp_path, problem_type):
    save(tmp_path, problem_type=problem_type)
    assert () == fit.check(TASK, MODEL, tmp_path)


def test_head_with_three_outputs_is_refused(tmp_path):
    save(tmp_path, outputs=3, problem_type="regression")
    message = problem(tmp_path)
    assert "config.json: its head answers 3 numbers a row for problem_type 'regression' (num_labels)" in message
    assert "text-regression reads one" in message


@pytest.mark.parametrize(
    ("outputs", "problem_type", "expected"),
    [
        (2, "single_label_classification", "its head answers 2 numbers a row for problem_type 'single_label_classi"),
        (1, "multi_label_classification", "whose answer is not one number; choose the kind multi-label-classification"),
    ],
)
def test_head_of_labels_is_refused(tmp_path, outputs, problem_type, expected):
    save(tmp_path, outputs, problem_type=problem_type)
    assert expected in problem(tmp_path)


def test_number_is_refused_where_a_label_is_read(tmp_path):
    save(tmp_path, problem_type="regression")
    (tmp_path / "labels.csv").write_text("text,stars\n" + "".join(f"{text},{stars[0]}\n" for text, stars in ROWS))
    task = replace(TASK, kind="text-classification", dataset=Folder("labels.csv"), metric="accuracy", also=())
    assert "problem_type 'regression', whose answer is not one label; choose the kind text-regression" in problem(
        tmp_path, task
    )


@pytest.mark.parametrize("name", ["sbert_ce_default_activation_function", "sentence_transformers"])
def test_function_on_the_output_of_a_cross_encoder_is_refused(tmp_path, name):
    function = "torch.nn.modules.activation.Sigmoid"
    save(tmp_path, **{name: {"activation_fn": function} if name == "sentence_transformers" else function})
    assert f"Sentence Transformers applies {function} to its output" in problem(tmp_path)
    save(tmp_path, sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"})
    assert () == fit.check(replace(TASK, name="again"), MODEL, tmp_path)


def test_answer_with_several_numbers_is_refused():
    encoded = EncodedRows(None, [{}], ("text",), [[{}]])
    with pytest.raises(HarnessError, match="the head answers 3 numbers a row, and a regression has one"):
        text_regression.predict(encoded, [{"logits": np.zeros((1, 3))}])
    assert [1.5] == text_regression.predict(encoded, [{"logits": np.array([[1.5]])}])


# Training


def train(folder, model):
    out = folder / "out"
    out.mkdir()
    workspace = Workspace(
        folder=folder, store=Store(folder / "store", print), content="s", threads=1, progress=Progress()
    )
    return fine_tune(TASK, model, splits.load(TASK, folder), workspace, out)


@pytest.mark.parametrize("loop", ["trainer", "native"])
def test_new_head_learns_a_number(tmp_path, loop):
    save(tmp_path, outputs=3, problem_type="single_label_classification")
    info = train(tmp_path, replace(TRAINED, recipe=replace(TRAINED.recipe, loop=loop)))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert ("regression", {"0": "LABEL_0"}) == (config["problem_type"], config["id2label"])
    assert min(info["validation"]) < 0.8 < 1.5  # the mean distance from the mean


def test_epoch_with_the_smallest_error_is_kept(tmp_path):
    save(tmp_path)
    spoilt = replace(TRAINED, recipe=Recipe(epochs=6, learning_rate=8e-2, warmup=0.0))
    info = train(tmp_path, spoilt)
    kept = replace(MODEL, source=Local("out"))
    assert min(info["validation"]) < max(info["validation"])
    split = splits.load(TASK, tmp_path)
    answers = Fit(TASK, kept, tmp_path, tmp_path / "out").answer(list(split.validation))["logits"]
    distances = np.abs(answers[:, 0] - np.array(split.validation["label"][:]))
    assert pytest.approx(min(info["validation"]), abs=1e-5) == distances.mean()


def test_number_that_pytorch_would_ignore_is_learnt(tmp_path):
    write(tmp_path, [(text, "-100" if number % 2 else stars) for number, (text, stars) in enumerate(ROWS)])
    save(tmp_path)
    info = train(tmp_path, replace(TRAINED, recipe=replace(TRAINED.recipe, epochs=1)))
    assert info["rows"] / 16 <= info["steps"] < info["rows"] / 16 + 1


def test_native_module_learns_a_number(tmp_path):
    (tmp_path / "bag.py").write_text(BAG)
    recipe = Recipe(loop="native", epochs=20, learning_rate=2e-2)
    info = train(tmp_path, Model(name="bag", source=Native("bag.py:Bag"), recipe=recipe))
    assert min(info["validation"]) < 0.8


# Gates


def test_gate_has_one_limit_of_the_score():
    for limits in ({}, {"min_score": 0.5, "max_score": 0.5}):
        with pytest.raises(HarnessError, match="give either min_score, or max_score if less"):
            Gate(max_drop=0.1, **limits)
    with pytest.raises(HarnessError, match="max_score and max_drop are in the metric's unit, and must not be"):
        Gate(max_score=-1.0, max_drop=0.1)
    assert 12.0 == Gate(max_score=4000.0, max_drop=12.0).max_drop


@pytest.mark.parametrize(
    ("metric", "gate", "expected"),
    [
        ("mae", Gate(min_score=0.5, max_drop=0.1), "less of the metric mae is better, so min_score=0.5 makes no sense"),
        (
            "pearson",
            Gate(max_score=0.5, max_drop=0.1),
            "more of the metric pearson is better, so max_score=0.5 makes no",
        ),
    ],
)
def test_gate_against_the_metrics_direction_is_refused(metric, gate, expected):
    with pytest.raises(HarnessError, match=f"task stars, model mine: {expected}"):
        cases(replace(TASK, metric=metric, also=()), {MODEL: gate}, [PYTORCH])


@pytest.mark.parametrize("score", [0.29, 0.3, 0.31])
def test_limits_admit_scores_on_their_side(score):
    assert (score >= 0.3) == Gate(min_score=0.3, max_drop=0.1).admits(score)
    assert (score <= 0.3) == Gate(max_score=0.3, max_drop=0.1).admits(score)


def test_drop_that_the_rows_cannot_prove_is_refused(tmp_path):
    with pytest.raises(HarnessError, match=r"stars/mine: max_drop=0.1 cannot be proven with 72 test rows"):
        _check_gate(TASK, MODEL, Gate(max_score=1.0, max_drop=0.1), tmp_path)
    _check_gate(TASK, MODEL, Gate(max_score=1.0, max_drop=0.4), tmp_path)


def test_builds_keep_what_has_the_smaller_error():
    rows = [{"text": "", "label": number} for number in (1.0, 2.0)]
    encoded = EncodedRows(None, rows, ("text",), [[{}]] * 2)
    held_out = HeldOutRows(None, Inputs(text_regression, encoded), Metric("mae"), 0.1, "")
    near, far = ([{"logits": np.array([[number + miss]])} for number in (1.0, 2.0)] for miss in (0.1, 0.5))
    assert (pytest.approx(-0.1), pytest.approx(-0.5)) == (held_out.score(near), held_out.score(far))
