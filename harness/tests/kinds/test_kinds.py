"""Kinds: how their rows become examples, which targets they train on, and how outputs become predictions."""

import re

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import GenerationConfig, PreTrainedTokenizerFast

from harness.contracts.kind import NO_ANSWER, NO_LABEL, EncodedRows
from harness.data.inputs import Inputs
from harness.errors import HarnessError
from harness.kinds import (
    feature_extraction,
    fill_mask,
    question_answering,
    text_classification,
    token_classification,
    translation,
)
from harness.kinds.fill_mask import masked_word
from harness.kinds.question_answering import read_answers

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "tony", "bl", "##air", "lives", "in", "london", "where", "does",
          "who", "is", "he", "it")  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return wordpieces()


def wordpieces(**settings):
    """WordPiece over a handful of words, lower-casing, in BERT's manner."""
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "attention_mask"], **settings,
    )  # fmt: skip


def encode(kind, tokenizer, rows, inputs, length=32):
    return EncodedRows(tokenizer, rows, inputs, kind.encode(tokenizer, rows, inputs, length))


def one_hot(places, width, classes=None):
    """Logits that are largest at the places."""
    out = np.zeros((1, len(places), classes) if classes else (1, width), dtype=np.float32)
    for at, place in enumerate(places):
        out[(0, at, place) if classes else (0, place)] = 5
    return out


# Token classification


TAGGED = {"words": ["Tony", "Blair", "lives", "in", "London"], "label": [1, 2, 0, 0, 1]}


def test_only_the_first_piece_of_a_word_is_trained(tokenizer):
    encoded = encode(token_classification, tokenizer, [TAGGED], ("words",))
    ((example,),) = encoded.examples
    assert ["[CLS]", "tony", "bl", "##air", "lives", "in", "london", "[SEP]"] == tokenizer.convert_ids_to_tokens(
        example["input_ids"]
    )
    ((targets,),) = token_classification.targets(encoded)
    assert [-100, 1, 2, -100, 0, 0, 1, -100] == targets["labels"]


def test_a_words_prediction_is_its_first_pieces(tokenizer):
    encoded = encode(token_classification, tokenizer, [TAGGED], ("words",))
    logits = one_hot([0, 1, 2, 0, 0, 0, 1, 0], 8, classes=3)
    assert [[1, 2, 0, 0, 1]] == token_classification.predict(encoded, [{"logits": logits}])


def test_words_beyond_max_length_have_no_answer(tokenizer):
    encoded = encode(token_classification, tokenizer, [TAGGED], ("words",), length=5)
    inputs = Inputs(token_classification, encoded, ("O", "B-PER", "I-PER"), order=[2, -2, 0])
    logits = one_hot([0, 0, 1, 0, 0], 5, classes=3)
    assert [["I-PER", NO_LABEL, NO_ANSWER, NO_ANSWER, NO_ANSWER]] == inputs.predictions([{"logits": logits}])
    assert [["B-PER", "I-PER", "O", "O", "B-PER"]] == inputs.truths()


@pytest.mark.parametrize(("side", "ids", "mask"), [("right", [5, 6, 0], [1, 1, 0]), ("left", [0, 5, 6], [0, 1, 1])])
def test_batches_are_padded_on_the_tokenizers_side(side, ids, mask):
    examples = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in ([7, 8, 9], [5, 6])]
    batch = text_classification.collate(wordpieces(padding_side=side), examples)
    assert {"input_ids": [[7, 8, 9], ids], "attention_mask": [[1, 1, 1], mask]} == {
        name: values.tolist() for name, values in batch.items()
    }
    assert {"int64"} == {str(values.dtype) for values in batch.values()}


def test_logits_of_padding_are_zeroed():
    batch = {"attention_mask": np.array([[1, 1, 0]])}
    logits = token_classification.reduce(batch, {"logits": np.ones((1, 3, 2), dtype=np.float32)})["logits"]
    assert [[1, 1], [1, 1], [0, 0]] == logits[0].tolist()
    assert np.float32 == logits.dtype


# Question answering


QUESTION = {
    "question": "where does he lives",
    "context": "who is it it is Tony Blair he lives in London",
    "label": {"text": ["Tony Blair"], "answer_start": [16]},
}


def test_windows_without_the_answer_have_target_zero(tokenizer):
    encoded = encode(question_answering, tokenizer, [QUESTION], ("question", "context"), length=14)
    (windows,) = encoded.examples
    assert 1 < len(windows)
    assert {14} == {len(window["input_ids"]) for window in windows[:-1]}
    (targets,) = question_answering.targets(encoded)
    whole = [(w, t) for w, t in zip(windows, targets, strict=True) if t["start_positions"]]
    assert whole
    for window, target in whole:
        pieces = window["input_ids"][target["start_positions"] : target["end_positions"] + 1]
        assert ["tony", "bl", "##air"] == tokenizer.convert_ids_to_tokens(pieces)
    assert {0} == {t["end_positions"] for t in targets if not t["start_positions"]}


def test_the_best_span_of_all_windows_is_predicted(tokenizer):
    encoded = encode(question_answering, tokenizer, [QUESTION], ("question", "context"), length=14)
    (windows,) = encoded.examples
    targets = question_answering.targets(encoded)[0]
    starts, ends = (np.zeros((len(windows), 14), dtype=np.float32) for _ in range(2))
    for at, target in enumerate(targets):
        starts[at, target["start_positions"]] = ends[at, target["end_positions"]] = 5
        starts[at, 1] = ends[at, 2] = 9  # of the question, which no answer is taken from
    assert ["Tony Blair"] == question_answering.predict(encoded, [{"start_logits": starts, "end_logits": ends}])
    assert [["Tony Blair"]] == question_answering.truths(encoded)


def test_an_answer_of_forty_words_is_predicted_whole(tokenizer):
    row = QUESTION | {"context": "who " + "tony " * 40 + "london"}
    encoded = encode(question_answering, tokenizer, [row], ("question", "context"), length=64)
    size = len(encoded.examples[0][0]["input_ids"])
    logits = {"start_logits": one_hot([size - 42], size), "end_logits": one_hot([size - 3], size)}
    assert [("tony " * 40).strip()] == question_answering.predict(encoded, [logits])


def test_answers_that_fit_no_window_are_counted(tokenizer):
    rows = [QUESTION, QUESTION | {"context": "tony " * 40, "label": ("tony " * 30).strip()}]
    encoded = encode(question_answering, tokenizer, rows, ("question", "context"))
    assert "the answers of 1 of 2 test rows fit into no window of 24 tokens" in question_answering.remark(
        None,
        encoded._replace(examples=question_answering.encode(tokenizer, rows, encoded.inputs, 24), max_length=24),
        [],
    )
    assert "" == question_answering.remark(None, encode(question_answering, tokenizer, [QUESTION], encoded.inputs), [])


def test_an_answer_never_ends_before_it_starts(tokenizer):
    encoded = encode(
        question_answering, tokenizer, [QUESTION | {"context": "it is Tony Blair"}], ("question", "context")
    )
    size = len(encoded.examples[0][0]["input_ids"])
    # From "Tony" back to "is".
    backwards = {"start_logits": one_hot([size - 4], size), "end_logits": one_hot([size - 5], size)}
    assert ["Tony"] == question_answering.predict(encoded, [backwards])


@pytest.mark.parametrize(
    ("label", "texts", "starts"),
    [
        ("Tony", ["Tony"], []),
        (["Tony", "Blair"], ["Tony", "Blair"], []),
        (1997, ["1997"], []),
        ({"text": ["Tony"], "answer_start": [3]}, ["Tony"], [3]),
        ({"text": "Tony", "answer_start": 3}, ["Tony"], [3]),
        ([{"text": "Tony", "answer_start": 3}, {"text": "he", "answer_start": 9}], ["Tony", "he"], [3, 9]),
        ([], [], []),
    ],
    ids=str,
)
def test_answers_are_read_in_several_forms(label, texts, starts):
    assert (texts, starts) == read_answers(label)


def test_white_space_around_an_answer_is_ignored(tokenizer):
    row = QUESTION | {"label": {"text": [" Tony Blair "], "answer_start": [15]}}
    assert "" == question_answering.problem(row, ("question", "context"))
    encoded = encode(question_answering, tokenizer, [row], ("question", "context"))
    plain = encode(question_answering, tokenizer, [QUESTION], ("question", "context"))
    assert question_answering.targets(plain) == question_answering.targets(encoded)
    assert question_answering.targets(encoded)[0][0]["start_positions"]


def test_a_long_question_leaves_room_for_its_context(tokenizer):
    row = QUESTION | {"question": "where does he lives " * 20}
    (windows,) = question_answering.encode(tokenizer, [row], ("question", "context"), 24)
    assert all(any(start >= 0 for start, _ in window["offsets"]) for window in windows)


# Fill-mask


def test_one_word_is_masked_and_trained(tokenizer):
    row = {"text": "Tony lives in London"}
    word = masked_word(row["text"]).group()
    encoded = encode(fill_mask, tokenizer, [row], ("text",))
    ((example,),) = encoded.examples
    assert tokenizer.mask_token_id == example["input_ids"][example["mask_position"][0]]
    assert [word.lower()] == fill_mask.truths(encoded)
    ((targets,),) = fill_mask.targets(encoded)
    assert {-100, tokenizer.convert_tokens_to_ids(word.lower())} == set(targets["labels"])


def test_a_word_of_several_pieces_is_not_trained(tokenizer):
    encoded = encode(fill_mask, tokenizer, [{"text": "is it Blair"}], ("text",))
    assert ["Blair"] == fill_mask.truths(encoded)
    assert {-100} == set(fill_mask.targets(encoded)[0][0]["labels"])


def test_the_logits_at_each_rows_mask_are_kept(tokenizer):
    rows = [{"text": "Tony is it"}, {"text": "who is he it is Tony"}]
    encoded = encode(fill_mask, tokenizer, rows, ("text",))
    batch = fill_mask.collate(tokenizer, [example for (example,) in encoded.examples])
    at_mask = batch["input_ids"][np.arange(2), batch["mask_position"]]
    assert [tokenizer.mask_token_id] * 2 == at_mask.tolist()
    logits = np.zeros((*batch["input_ids"].shape, len(PIECES)), dtype=np.float32)
    logits[np.arange(2), batch["mask_position"], PIECES.index("tony")] = 9
    kept = fill_mask.reduce(batch, {"logits": logits})
    assert [(2, 5), (2, 5), (2, 1)] == [kept[name].shape for name in ("tokens", "logits", "logsumexp")]
    outputs = [{name: values[row : row + 1] for name, values in kept.items()} for row in range(2)]
    assert ["tony", "tony"] == [best[0] for best in fill_mask.predict(encoded, outputs)]


@pytest.mark.parametrize(
    "kind", [fill_mask, token_classification, question_answering, feature_extraction], ids=lambda kind: kind.name
)
def test_kinds_that_read_tokens_pad_on_the_right(kind, tmp_path):
    wordpieces(padding_side="left").save_pretrained(tmp_path)
    assert "right" == kind.load_processor(tmp_path).padding_side
    assert "left" == text_classification.load_processor(tmp_path).padding_side


def test_a_tokenizer_without_attention_mask_is_refused(tmp_path):
    unmasked = wordpieces()
    unmasked.init_kwargs["model_input_names"] = ["input_ids"]
    unmasked.model_input_names = ["input_ids"]
    unmasked.save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match="writes no attention_mask, which this kind needs"):
        feature_extraction.load_processor(tmp_path)


def test_logsumexp_changes_with_every_logit():
    batch = {"mask_position": np.array([0])}
    logits = np.random.default_rng(0).normal(size=(1, 1, 40)).astype(np.float32)
    least = logits.argmin()
    known = fill_mask.reduce(batch, {"logits": logits})
    logits[0, 0, least] += 1
    assert known["tokens"].tolist() == fill_mask.reduce(batch, {"logits": logits})["tokens"].tolist()
    assert (known["logsumexp"] < fill_mask.reduce(batch, {"logits": logits})["logsumexp"]).all()


@pytest.mark.parametrize("length", [2, 4, 7])
def test_a_cut_row_keeps_its_mask(tokenizer, length):
    ((example,),) = fill_mask.encode(tokenizer, [{"text": "is it is it is it is Tony"}], ("text",), 32)
    cut = fill_mask.shorten(tokenizer, example, length)
    assert max(4, length) == len(cut["input_ids"]) == len(cut["attention_mask"])
    assert [tokenizer.mask_token_id] == [cut["input_ids"][position] for position in cut["mask_position"]]


def test_a_cut_row_keeps_its_special_tokens(tokenizer):
    ((example,),) = text_classification.encode(
        tokenizer, [{"one": "is it is [UNK] it is", "two": "it is it"}], ("one", "two"), 32
    )
    cut = text_classification.shorten(tokenizer, example, 6)
    tokens = tokenizer.convert_ids_to_tokens(cut["input_ids"])
    assert ["[CLS]", "is", "it", "is", "[SEP]", "[SEP]"] == tokens


# Feature extraction


def test_embeddings_are_normalised_means_over_tokens():
    states = np.array([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]], dtype=np.float32)
    batch = {"attention_mask": np.array([[1, 1, 0]]), "pooling": np.array([0]), "normalize": np.array([1])}
    reduced = feature_extraction.reduce(batch, {"last_hidden_state": states})
    np.testing.assert_allclose([[0.6, 0.8]], reduced["embedding"], rtol=1e-6)


def test_the_nearest_documents_are_predicted(tokenizer):
    rows = [{"q": "who", "d": "tony"}, {"q": "where", "d": "london"}, {"q": "he", "d": "tony"}]
    encoded = encode(feature_extraction, tokenizer, rows, ("q", "d"))
    assert [2, 2, 2] == [len(examples) for examples in encoded.examples]
    tony, london = [1.0, 0.0], [0.0, 1.0]
    pairs = [(tony, tony), (tony, london), ([0.9, 0.1], tony)]
    outputs = [{"embedding": np.array(pair, dtype=np.float32)} for pair in pairs]
    assert [[0, 1]] * 3 == feature_extraction.predict(encoded, outputs)
    assert [0, 1, 0] == feature_extraction.truths(encoded)


def test_feature_extraction_needs_two_columns(tokenizer):
    with pytest.raises(HarnessError, match="feature extraction compares two columns"):
        feature_extraction.encode(tokenizer, [{"q": "who"}], ("q",), 8)


# Generation


def test_generated_text_loses_its_special_tokens(tokenizer):
    encoded = encode(translation, tokenizer, [{"text": "who", "label": "tony"}], ("text",))
    ids = tokenizer.convert_tokens_to_ids(["[SEP]", "tony", "lives", "[SEP]", "[PAD]"])
    outputs = [{"sequences": np.array([ids])}]
    assert ["tony lives"] == translation.predict(encoded, outputs)
    assert (3,) == Inputs(translation, encoded).tokens(outputs)
    ((targets,),) = translation.targets(encoded)
    assert ["[CLS]", "tony", "[SEP]"] == tokenizer.convert_ids_to_tokens(targets["labels"])


@pytest.mark.parametrize(
    ("settings", "remark"),
    [
        ({}, r"^0 of 2 answers end at the limit of 20 tokens \(Transformers' default.*max_new_tokens\)$"),
        ({"max_new_tokens": 3}, r"^1 of 2 answers end at the limit of 3 tokens \(max_new_tokens in .*; raise max_new"),
        ({"max_length": 4, "do_sample": True}, r"^1 of 2 .* of 3 tokens \(max_length in .*answers without sampling$"),
    ],
    ids=str,
)
def test_answers_at_the_limit_are_counted(settings, remark, tokenizer, tmp_path):
    GenerationConfig(**settings).save_pretrained(tmp_path)
    encoded = encode(translation, tokenizer, [{"text": "who", "label": "tony"}] * 2, ("text",))
    outputs = [{"sequences": np.array([[3, *tokens]])} for tokens in ([5, 8, 10], [5, 3, 0, 0])]
    assert re.search(remark, translation.remark(tmp_path, encoded, outputs))


def test_other_kinds_count_no_tokens(tokenizer):
    encoded = encode(text_classification, tokenizer, [{"text": "who", "label": 0}], ("text",))
    assert () == Inputs(text_classification, encoded, ("a", "b")).tokens([{"logits": np.zeros((1, 2))}])


# Rows that a kind cannot use


@pytest.mark.parametrize(
    ("kind", "row", "problem"),
    [
        (fill_mask, {"text": "a b c 1234"}, "no word of four letters"),
        (fill_mask, {"text": "four letters"}, ""),
        (token_classification, {"text": ["a", "b"], "label": [0]}, "2 words and 1 labels"),
        (token_classification, {"text": "a", "label": [0]}, "holds a text instead of a list of words"),
        (token_classification, {"text": ["a", None], "label": [0, 0]}, "text"),
        (token_classification, {"text": ["a"], "label": [0]}, ""),
        (question_answering, {"text": "x", "label": []}, "it has no answer"),
        (question_answering, {"text": "x", "label": "y"}, "does not contain the answer"),
        (question_answering, {"text": " ", "label": " "}, "it has no answer"),
        (question_answering, {"text": "x y", "label": {"text": ["y"], "answer_start": [0]}}, "answer_start"),
        (question_answering, {"text": "x y", "label": {"text": ["y"], "answer_start": [2]}}, ""),
        (question_answering, {"text": "x y", "label": {"answers": ["y"]}}, "has another form than a text, several, or"),
        (question_answering, {"text": "x y", "label": [{"text": "y"}]}, "its answer [{'text': 'y'}] has another form"),
        (question_answering, {"text": "x y", "label": {"text": ["y"], "answer_start": ["2"]}}, "has other types than"),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_unusable_row_says_why(kind, row, problem):
    message = kind.problem(row, ("text",))
    assert problem in message
    assert bool(problem) == bool(message)


def test_words_without_a_token_are_counted(tokenizer):
    rows = [{"text": ["who", "\u200b", "who"], "label": [0, 0, 0]}, {"text": ["who"], "label": [0]}]
    encoded = encode(token_classification, tokenizer, rows, ("text",))
    text = "1 of 4 words of the test rows have no token and count as wrong: they are blank, or lie beyond max_length="
    assert token_classification.remark(None, encoded, []).startswith(text)
    assert "" == token_classification.remark(None, encode(token_classification, tokenizer, rows[1:], ("text",)), [])


def test_number_is_not_a_text():
    with pytest.raises(HarnessError, match=r"column text must hold text, not int, as in 3; write it as one text"):
        text_classification.encode(None, [{"text": 3}], ("text",), 8)
