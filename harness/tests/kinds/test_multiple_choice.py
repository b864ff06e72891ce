"""Multiple choice: rows of several choices become entries, a training example, and one answer."""

import numpy as np
import pytest
import torch
from test_kinds import encode, wordpieces
from transformers import BertConfig, BertForMultipleChoice

from harness import checkpoint
from harness.backends.onnx_optimum import _single_rows
from harness.contracts.backend import Session
from harness.contracts.kind import IGNORE_INDEX
from harness.data.inputs import Inputs
from harness.kinds import multiple_choice
from harness.kinds.multiple_choice import answer_index, read_row
from harness.measure.adapters import with_length_sorting
from harness.metrics import Metric

ROWS = [
    {"question": "who lives in london", "choices": ["tony blair", "he"], "label": 0},
    {"question": "where", "choices": ["is", "in london", "it lives"], "label": "in london"},
]
INPUTS = ("question", "choices")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertForMultipleChoice(BertConfig(vocab_size=17, **sizes, initializer_range=0.5)).eval()


def test_choices_come_from_a_list_or_from_columns():
    assert ("who is he", ["a", "b"]) == read_row({"x": "who", "y": "is he", "z": ["a", "b"]}, ("x", "y", "z"))
    assert ("who", ["a", "b"]) == read_row({"x": "who", "y": "a", "z": "b"}, ("x", "y", "z"))


@pytest.mark.parametrize(
    ("label", "place"),
    [(1, 1), ("1", 1), ("b", 1), ("c", 2), (3, -1), (-1, -1), ("x", -1), (True, -1), (1.0, -1), (None, -1)],
)
def test_label_is_a_place_or_a_text(label, place):
    assert place == answer_index(label, ["a", "b", "c"])


def test_label_that_may_be_two_choices_is_none():
    assert 0 == answer_index("2", ["2", "3"])  # no place
    assert 1 == answer_index("1", ["2", "1"])  # the same one
    assert -1 == answer_index("1", ["1", "2"])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"label": 2}, r"its label '2' must be the text of one of its choices, or its place from 0 to 1"),
        ({"label": "she"}, r"its label 'she' must be"),
        ({"choices": ["he"]}, "it has 1 choices, and needs two at least"),
        ({"choices": ["he", " "]}, "its choice 1 is blank"),
        ({"choices": ["he", "it", "he"]}, "it has the choice 'he' more than once"),
        ({"choices": ["he", 3]}, "must be texts, the last may be a list of choices"),
        ({"question": ["who"]}, "must be texts, the last may be a list of choices"),
    ],
)
def test_row_that_cannot_be_used_is_refused(changes, problem):
    found = multiple_choice.problem({**ROWS[0], **changes}, INPUTS)
    assert problem in found
    assert bool(problem) == bool(found)


def test_each_choice_is_an_entry_with_its_question():
    tokenizer = wordpieces()
    encoded = encode(multiple_choice, tokenizer, ROWS, INPUTS)
    assert [2, 3] == [len(entries) for entries in encoded.examples]
    assert "[CLS] where [SEP] in london [SEP]" == tokenizer.decode(encoded.examples[1][1]["input_ids"])
    batch = multiple_choice.collate(tokenizer, [entry for entries in encoded.examples for entry in entries])
    assert {(5, 1, 10)} == {array.shape for array in batch.values()}


def test_answer_is_the_choice_that_transformers_prefers(model):
    """All choices in one call, one by one, and padded in a batch of two rows: the same logits."""
    encoded = encode(multiple_choice, wordpieces(), ROWS, INPUTS)
    inputs, run = Inputs(multiple_choice, encoded), checkpoint.make_run(model, "cpu")
    whole = wordpieces()(["where"] * 3, ROWS[1]["choices"], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**{name: whole[name][None] for name in ("input_ids", "attention_mask")}).logits[0].numpy()
    alone = run(inputs.batch([1]))["logits"]
    padded = run(inputs.batch([0, 1]))["logits"][2:]
    np.testing.assert_allclose(alone[:, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(padded, alone, rtol=1e-5, atol=1e-6)
    outputs = [{"logits": np.array([[1.0], [2.0]])}, {"logits": alone}]
    assert [1, expected.argmax()] == inputs.predictions(outputs)
    assert [0, 1] == inputs.truths()
    assert {"accuracy": 0.5} == Metric("accuracy").load().compute(predictions=[1, 1], references=[0, 1])


def test_training_compares_the_choices_of_a_row(model):
    tokenizer = wordpieces()
    encoded = encode(multiple_choice, tokenizer, ROWS, INPUTS)
    targets = multiple_choice.targets(encoded)
    assert [[0, IGNORE_INDEX], [1, IGNORE_INDEX, IGNORE_INDEX]] == [[t["labels"] for t in row] for row in targets]
    examples = [{n: v for n, v in row[0].items() if n != "labels"} for row in targets]
    batch = multiple_choice.collate(tokenizer, examples)
    assert {(2, 3, 10)} == {array.shape for array in batch.values()}
    assert [1, 1] == [int(batch["attention_mask"][0, 2].sum()), int((batch["input_ids"][0, 2] != 0).sum())]
    with torch.no_grad():
        answer = model(**{name: torch.from_numpy(array) for name, array in batch.items()}, labels=torch.tensor([0, 1]))
    alone = checkpoint.make_run(model, "cpu")(Inputs(multiple_choice, encoded).batch([1]))["logits"]
    np.testing.assert_allclose(answer.logits[1].numpy(), alone[:, 0], rtol=1e-5, atol=1e-6)
    assert answer.loss > 0


def test_single_rows_lose_their_padding():
    example = Inputs(multiple_choice, encode(multiple_choice, wordpieces(), ROWS, INPUTS)).batch([0, 1])
    lengths = example["attention_mask"].sum(axis=(1, 2))
    assert [(1, 1, length) for length in lengths] == [row["input_ids"].shape for row in _single_rows(example)]


def test_chunks_of_similar_length_answer_as_the_whole(model):
    batch = Inputs(multiple_choice, encode(multiple_choice, wordpieces(), ROWS, INPUTS)).batch([0, 1])
    run = checkpoint.make_run(model, "cpu")
    widths = []

    def recorded(arrays):
        widths.append(arrays["input_ids"].shape)
        return run(arrays)

    chunked = with_length_sorting(Session(recorded, "cpu", {}), 2).run(batch)["logits"]
    np.testing.assert_allclose(chunked, run(batch)["logits"], rtol=1e-5, atol=1e-6)
    assert 3 == len(widths)
    assert widths[0] < (2, 1, 10)
