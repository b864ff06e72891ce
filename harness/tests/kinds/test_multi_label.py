"""Several labels a row: both forms of the data, the head that answers, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification
from users import BAG

from harness import checkpoint
from harness.contracts.kind import EncodedRows
from harness.contracts.sources import Folder, Local, Native
from harness.data import splits
from harness.data.inputs import Inputs
from harness.errors import HarnessError
from harness.evaluation.answers import compare_answers, summarize_seed
from harness.evaluation.predictions import Evaluation
from harness.kinds import multi_label_classification
from harness.kinds.common import word_tokenizer
from harness.metrics import Metric
from harness.spec import Model, Recipe, Task
from harness.training import fit
from harness.training.train import Workspace, fine_tune
from harness.util.console import Progress
from harness.util.store import Store
from harness.verdicts.accuracy import collapse_sentence, is_collapsed

NAMES = ("angry", "late", "urgent")
WORDS = {"angry": "furious", "late": "delayed", "urgent": "now"}
ROWS = [
    {
        "text": " ".join(
            ["please", *(WORDS[name] for bit, name in enumerate(NAMES) if number >> bit & 1), f"n{number}"]
        ),
        "labels": [name for bit, name in reversed([*enumerate(NAMES)]) if number >> bit & 1],
    }
    for number in range(240)
]
TASK = Task(name="moods", kind="multi-label-classification", dataset=Folder("rows.jsonl"), inputs=("text",),
            label="labels", metric="f1-micro")  # fmt: skip
MODEL = Model(name="mine", source=Local("model"), max_length=16)


@pytest.fixture(autouse=True)
def _rows(tmp_path):
    write(tmp_path, ROWS)


def write(folder, rows):
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def flags(rows, yes="1", no="0"):
    lines = (",".join([row["text"], *(yes if name in row["labels"] else no for name in NAMES)]) for row in rows)
    return "\n".join([f"text,{','.join(NAMES)}", *lines]) + "\n"


def load(folder, **changes):
    return splits.load(replace(TASK, **changes), folder)


def refusal(folder, **changes):
    with pytest.raises(HarnessError) as error:
        load(folder, **changes)
    return str(error.value)


def save(folder, labels=NAMES, problem_type="multi_label_classification"):
    torch.manual_seed(0)
    tokenizer = word_tokenizer((row["text"] for row in ROWS), 50)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, problem_type=problem_type, id2label=dict(enumerate(labels)),
        label2id={name: number for number, name in enumerate(labels)},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def problem(folder, task=TASK, model=MODEL):
    with pytest.raises(HarnessError) as error:
        fit.check(task, model, folder)
    return str(error.value)


# Rows


def test_lists_of_names_become_a_flag_for_each_label(tmp_path):
    split = load(tmp_path)
    assert NAMES == split.labels
    for row in split.test:
        assert [WORDS[name] in row["text"].split() for name in NAMES] == row["label"]


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("true", "false"), ("True", "False"), ("1.0", "0.0")])
def test_columns_of_0_and_1_hold_the_same_as_lists(tmp_path, yes, no):
    (tmp_path / "flags.csv").write_text(flags(ROWS, yes, no))
    split = load(tmp_path, dataset=Folder("flags.csv"), label=NAMES)
    assert load(tmp_path).test["label"][:] == split.test["label"][:]
    assert load(tmp_path).test["text"][:] == split.test["text"][:]
    assert NAMES == split.labels


def test_columns_give_labels_their_order(tmp_path):
    (tmp_path / "flags.csv").write_text(flags(ROWS))
    assert ("urgent", "angry") == load(tmp_path, dataset=Folder("flags.csv"), label=("urgent", "angry")).labels


def test_rows_without_a_label_are_kept(tmp_path):
    split = load(tmp_path)
    assert sum(split.sizes().values()) == len(ROWS)
    assert any(not any(row) for row in split.train["label"][:])


def test_order_of_a_rows_labels_is_no_contradiction(tmp_path):
    twin = next(row for row in ROWS if len(row["labels"]) > 1)
    write(tmp_path, [*ROWS, twin | {"labels": twin["labels"][::-1]}])
    split = load(tmp_path)
    assert 1 == split.duplicates
    assert not any("different labels" in note for note in split.notes)


REFUSED = {
    "text": ([row | {"labels": "late"} for row in ROWS], "must hold a list of labels per row"),
    "0/1 hint": ([row | {"labels": "late"} for row in ROWS], r"a column of 0 and 1 for each label, as in label=('urg"),
    "twice": ([*ROWS, {"text": "x", "labels": ["late", "late"]}], "row 240 of train has a label twice in labels"),
    "null": ([*ROWS, {"text": "x", "labels": ["late", None]}], "row 240 of train has a label without a name in labels"),
    "none": ([row | {"labels": row["labels"][:1] and ["late"]} for row in ROWS], "needs at least two"),
    "spelling": ([*ROWS, {"text": "x", "labels": ["Late"]}], "'Late' and 'late' differ in spelling only"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_unusable_lists_are_refused(tmp_path, reason):
    rows, expected = REFUSED[reason]
    write(tmp_path, rows)
    assert expected in refusal(tmp_path)


def test_flag_that_is_neither_0_nor_1_is_refused(tmp_path):
    (tmp_path / "flags.csv").write_text(flags(ROWS) + "one more,1,2,0\n")
    message = refusal(tmp_path, dataset=Folder("flags.csv"), label=NAMES)
    assert "row 240 of train has '2' in late, which as one of several columns in label= holds 0 or 1" in message
    assert "(1 of 241 rows do not)" in message


def test_label_that_no_row_has_is_refused(tmp_path):
    (tmp_path / "flags.csv").write_text(flags([row | {"labels": [*{*row["labels"]} - {"late"}]} for row in ROWS]))
    assert "late is 0 in every row" in refusal(tmp_path, dataset=Folder("flags.csv"), label=NAMES)


def test_labels_that_training_never_sees_are_refused(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    write(folder, ROWS)
    (folder / "rows.jsonl").rename(folder / "train.jsonl")
    write(folder, [{"text": f"test {n}", "labels": ["late", "odd"]} for n in range(30)])
    (folder / "rows.jsonl").rename(folder / "test.jsonl")
    assert "30 of 30 rows of test have labels that training never sees: odd" in refusal(
        tmp_path, dataset=Folder("parts")
    )


def test_test_rows_without_any_label_are_refused(tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    for part, rows in {"train": ROWS, "test": [{"text": f"test {n}", "labels": []} for n in range(30)]}.items():
        write(folder, rows)
        (folder / "rows.jsonl").rename(folder / f"{part}.jsonl")
    assert "no test row has a label; ask for more test rows" in refusal(tmp_path, dataset=Folder("bare"))


def test_rows_with_several_labels_are_refused_where_one_is_read(tmp_path):
    message = refusal(tmp_path, kind="text-classification", metric="accuracy")
    assert "must hold one label per row" in message
    assert "multi-label-classification reads lists" in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "text-classification", "metric": "accuracy"}, "choose multi-label-classification for rows with sev"),
        ({"label": ("angry",)}, "must name at least two columns, each once, that are no inputs"),
        ({"label": ("angry", "angry")}, "must name at least two columns, each once"),
        ({"label": ("angry", "text")}, "that are no inputs"),
        ({"label": ["angry", "late"]}, "label="),
    ],
)
def test_wrong_label_columns_are_refused(changes, expected):
    with pytest.raises(HarnessError, match=r"task moods") as error:
        replace(TASK, **({"label": NAMES} | changes))
    assert expected in str(error.value)


# Heads


def test_finished_model_fits(tmp_path):
    save(tmp_path)
    assert () == fit.check(TASK, MODEL, tmp_path)


@pytest.mark.parametrize("problem_type", [None, "single_label_classification"])
def test_head_of_one_label_is_refused(tmp_path, problem_type):
    save(tmp_path, problem_type=problem_type)
    message = problem(tmp_path)
    assert f"config.json: problem_type {problem_type!r} does not say that each label has a probability" in message
    assert "set it to 'multi_label_classification'" in message


def test_head_of_a_number_is_refused(tmp_path):
    save(tmp_path, problem_type="regression")
    assert "problem_type 'regression', whose answer is not several labels; choose the kind text-reg" in problem(
        tmp_path
    )


def test_head_of_several_labels_is_refused_where_one_is_read(tmp_path):
    save(tmp_path)
    rows = [row | {"labels": NAMES[number % 3]} for number, row in enumerate(ROWS)]
    write(tmp_path, rows)
    message = problem(tmp_path, replace(TASK, kind="text-classification", metric="accuracy"))
    assert "problem_type 'multi_label_classification', whose answer is not one label" in message
    assert "choose the kind multi-label-classification" in message


def test_label_that_the_head_lacks_is_refused(tmp_path):
    save(tmp_path, labels=("angry", "late", "other"))
    assert "its head answers angry, late, other, but not urgent" in problem(tmp_path)


def test_head_with_further_labels_is_used_and_they_count_as_wrong(tmp_path):
    save(tmp_path, labels=("urgent", "other", "late", "angry"))
    split = load(tmp_path)
    inputs = inputs_of(split, order=[2, -2, 1, 0])
    logits = [{"logits": np.array([[1.0, 2.0, -1.0, 3.0]])}] * len(inputs)
    assert [[-2, 0, 2]] * len(inputs) == inputs.predictions(logits)
    assert "(a label of no row), angry, urgent" == inputs.describe([-2, 0, 2])
    assert "(no label)" == inputs.describe([])


# Training


def workspace(folder):
    return Workspace(
        folder=folder, store=Store(folder / "store", print), content="moods", threads=1, progress=Progress()
    )


@pytest.mark.parametrize("loop", ["trainer", "native"])
def test_new_head_learns_each_label_on_its_own(tmp_path, loop):
    save(tmp_path, labels=("x", "y"), problem_type=None)
    model = replace(MODEL, recipe=Recipe(epochs=8, learning_rate=1e-2, loop=loop))
    out = tmp_path / "out"
    out.mkdir()
    info = fine_tune(TASK, model, load(tmp_path), workspace(tmp_path), out)
    config = json.loads((out / "config.json").read_text())
    assert "multi_label_classification" == config["problem_type"]
    assert dict(zip("012", NAMES, strict=True)) == config["id2label"]
    assert 0.75 < max(info["validation"])  # all labels for every row have two thirds


def test_native_module_learns_each_label_on_its_own(tmp_path):
    (tmp_path / "bag.py").write_text(BAG)
    recipe = Recipe(loop="native", epochs=8, learning_rate=5e-2)
    model = Model(name="bag", source=Native("bag.py:Bag"), recipe=recipe)
    out = tmp_path / "out"
    out.mkdir()
    assert 0.9 < max(fine_tune(TASK, model, load(tmp_path), workspace(tmp_path), out)["validation"])
    assert not checkpoint.load(out).training


# Answers


def inputs_of(split, order=None):
    rows = list(split.test)
    encoded = EncodedRows(None, rows, ("text",), [[{}]] * len(rows))
    return Inputs(multi_label_classification, encoded, split.labels, order, {"f1-micro": Metric("f1-micro")})


def evaluation(predictions):
    outputs = [{"logits": np.array([[float(n in own) for n in range(3)]])} for own in predictions]
    return Evaluation(single=outputs, padded=[], predictions=predictions, score=0.9, other_scores={})


def test_recall_is_counted_for_each_label(tmp_path):
    inputs = inputs_of(load(tmp_path))
    truths = inputs.truths()
    own = evaluation([[label for label in labels if label != 1] for labels in truths])
    answers = compare_answers(own, evaluation(truths), evaluation(truths), "pytorch", inputs, Metric("f1-micro"))
    rows = {one.label: one for one in answers.labels}
    assert {"angry": 0, "late": sum(1 in labels for labels in truths), "urgent": 0} == {
        name: one.lost for name, one in rows.items()
    }
    assert (0, rows["late"].rows) == (rows["late"].answered, rows["late"].reference_answered)


@pytest.mark.parametrize("always", [[], [0], [0, 2]])
def test_one_answer_to_every_row_is_a_collapse(tmp_path, always):
    inputs = inputs_of(load(tmp_path))
    seed = summarize_seed(0, evaluation([always] * len(inputs)), inputs, Metric("f1-micro"))
    assert is_collapsed(seed)
    assert f"every answer is {inputs.describe(always)!r}" in collapse_sentence(seed)


def test_sound_answers_are_no_collapse(tmp_path):
    inputs = inputs_of(load(tmp_path))
    seed = summarize_seed(0, evaluation(inputs.truths()), inputs, Metric("f1-micro"))
    assert not is_collapsed(seed)
    assert seed.beats_chance
    assert seed.majority_label in NAMES
