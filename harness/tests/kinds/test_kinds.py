"""Laws of the kinds: how their rows become examples, what is taught, and what outputs mean."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

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
from harness.kinds.fill_mask import covered
from harness.kinds.question_answering import answers_of

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "tony", "bl", "##air", "lives", "in", "london", "where", "does",
          "who", "is", "he", "it")  # fmt: skip


@pytest.fixture(scope="module")
def words():
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


def asked(kind, tokenizer, rows, inputs, length=32):
    return EncodedRows(tokenizer, rows, inputs, kind.encode(tokenizer, rows, inputs, length))


def one_hot(places, width, classes=None):
    """Logits that are largest at the places."""
    out = np.zeros((1, len(places), classes) if classes else (1, width), dtype=np.float32)
    for at, place in enumerate(places):
        out[(0, at, place) if classes else (0, place)] = 5
    return out


# Token classification


TAGGED = {"words": ["Tony", "Blair", "lives", "in", "London"], "label": [1, 2, 0, 0, 1]}


def test_the_first_piece_of_a_word_is_taught_and_no_other(words):
    given = asked(token_classification, words, [TAGGED], ("words",))
    ((example,),) = given.examples
    assert ["[CLS]", "tony", "bl", "##air", "lives", "in", "london", "[SEP]"] == words.convert_ids_to_tokens(
        example["input_ids"]
    )
    ((taught,),) = token_classification.targets(given)
    assert [-100, 1, 2, -100, 0, 0, 1, -100] == taught["labels"]


def test_a_words_answer_is_that_of_its_first_piece(words):
    given = asked(token_classification, words, [TAGGED], ("words",))
    logits = one_hot([0, 1, 2, 0, 0, 0, 1, 0], 8, classes=3)
    assert [[1, 2, 0, 0, 1]] == token_classification.predict(given, [{"logits": logits}])


def test_words_beyond_max_length_have_no_answer_and_labels_have_names(words):
    given = asked(token_classification, words, [TAGGED], ("words",), length=5)
    inputs = Inputs(token_classification, given, ("O", "B-PER", "I-PER"), order=[2, -2, 0])
    logits = one_hot([0, 0, 1, 0, 0], 5, classes=3)
    assert [["I-PER", NO_LABEL, NO_ANSWER, NO_ANSWER, NO_ANSWER]] == inputs.predictions([{"logits": logits}])
    assert [["B-PER", "I-PER", "O", "O", "B-PER"]] == inputs.truths()


def test_text_where_words_are_asked_for_is_refused(words):
    with pytest.raises(HarnessError, match="column words is to be read as a list of words, and holds str"):
        token_classification.encode(words, [{"words": "Tony Blair"}], ("words",), 8)


def test_what_stands_where_a_batch_is_padded_is_nobodys_answer():
    batch = {"attention_mask": np.array([[1, 1, 0]])}
    found = token_classification.reduce(batch, {"logits": np.ones((1, 3, 2), dtype=np.float32)})["logits"]
    assert [[1, 1], [1, 1], [0, 0]] == found[0].tolist()
    assert np.float32 == found.dtype


# Question answering


ASKED = {
    "question": "where does he lives",
    "context": "who is it it is Tony Blair he lives in London",
    "label": {"text": ["Tony Blair"], "answer_start": [16]},
}


def test_a_long_context_comes_in_windows_that_hold_the_answer_or_say_they_do_not(words):
    given = asked(question_answering, words, [ASKED], ("question", "context"), length=14)
    (windows,) = given.examples
    assert 1 < len(windows)
    assert {14} == {len(window["input_ids"]) for window in windows[:-1]}
    (taught,) = question_answering.targets(given)
    whole = [(w, t) for w, t in zip(windows, taught, strict=True) if t["start_positions"]]
    assert whole
    for window, target in whole:
        pieces = window["input_ids"][target["start_positions"] : target["end_positions"] + 1]
        assert ["tony", "bl", "##air"] == words.convert_ids_to_tokens(pieces)
    assert {0} == {t["end_positions"] for t in taught if not t["start_positions"]}


def test_the_best_stretch_of_all_windows_is_the_answer(words):
    given = asked(question_answering, words, [ASKED], ("question", "context"), length=14)
    (windows,) = given.examples
    taught = question_answering.targets(given)[0]
    launches, ends = (np.zeros((len(windows), 14), dtype=np.float32) for _ in range(2))
    for at, target in enumerate(taught):
        launches[at, target["start_positions"]] = ends[at, target["end_positions"]] = 5
        launches[at, 1] = ends[at, 2] = 9  # of the question, which no answer is taken from
    assert ["Tony Blair"] == question_answering.predict(given, [{"start_logits": launches, "end_logits": ends}])
    assert [["Tony Blair"]] == question_answering.truths(given)


def test_an_answer_never_ends_before_it_begins(words):
    given = asked(question_answering, words, [ASKED | {"context": "it is Tony Blair"}], ("question", "context"))
    size = len(given.examples[0][0]["input_ids"])
    # From "Tony" back to "is".
    backwards = {"start_logits": one_hot([size - 4], size), "end_logits": one_hot([size - 5], size)}
    assert ["Tony"] == question_answering.predict(given, [backwards])


@pytest.mark.parametrize(
    ("label", "texts", "launches"),
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
def test_answers_come_in_several_forms(label, texts, launches):
    assert (texts, launches) == answers_of(label)


def test_white_space_around_an_answer_is_taught_to_no_token(words):
    row = ASKED | {"label": {"text": [" Tony Blair "], "answer_start": [15]}}
    assert "" == question_answering.problem(row, ("question", "context"))
    given = asked(question_answering, words, [row], ("question", "context"))
    plain = asked(question_answering, words, [ASKED], ("question", "context"))
    assert question_answering.targets(plain) == question_answering.targets(given)
    assert question_answering.targets(given)[0][0]["start_positions"]


def test_a_question_as_long_as_the_window_leaves_room_for_its_context(words):
    row = ASKED | {"question": "where does he lives " * 20}
    (windows,) = question_answering.encode(words, [row], ("question", "context"), 24)
    assert all(any(start >= 0 for start, _ in window["offsets"]) for window in windows)


# Fill-mask


def test_one_word_is_covered_and_it_is_the_same_for_every_model(words):
    row = {"text": "Tony lives in London"}
    word = covered(row["text"]).group()
    given = asked(fill_mask, words, [row], ("text",))
    ((example,),) = given.examples
    assert words.mask_token_id == example["input_ids"][example["mask_position"][0]]
    assert [word.lower()] == fill_mask.truths(given)
    ((taught,),) = fill_mask.targets(given)
    assert {-100, words.convert_tokens_to_ids(word.lower())} == set(taught["labels"])


def test_a_word_of_several_pieces_cannot_be_answered(words):
    given = asked(fill_mask, words, [{"text": "is it Blair"}], ("text",))
    assert ["Blair"] == fill_mask.truths(given)
    assert {-100} == set(fill_mask.targets(given)[0][0]["labels"])


def test_the_mask_of_each_row_is_what_is_kept(words):
    rows = [{"text": "Tony is it"}, {"text": "who is he it is Tony"}]
    given = asked(fill_mask, words, rows, ("text",))
    batch = fill_mask.collate(words, [example for (example,) in given.examples])
    at_mask = batch["input_ids"][np.arange(2), batch["mask_position"]]
    assert [words.mask_token_id] * 2 == at_mask.tolist()
    logits = np.zeros((*batch["input_ids"].shape, len(PIECES)), dtype=np.float32)
    logits[np.arange(2), batch["mask_position"], PIECES.index("tony")] = 9
    kept = fill_mask.reduce(batch, {"logits": logits})
    assert [(2, 5), (2, 5), (2, 1)] == [kept[name].shape for name in ("tokens", "logits", "logsumexp")]
    outputs = [{name: values[row : row + 1] for name, values in kept.items()} for row in range(2)]
    assert ["tony", "tony"] == [best[0] for best in fill_mask.predict(given, outputs)]


@pytest.mark.parametrize(
    "kind", [fill_mask, token_classification, question_answering, feature_extraction], ids=lambda kind: kind.name
)
def test_kinds_that_look_at_single_tokens_pad_on_the_right_whatever_a_tokenizer_prefers(kind, tmp_path):
    wordpieces(padding_side="left").save_pretrained(tmp_path)
    assert "right" == kind.load_processor(tmp_path).padding_side
    assert "left" == text_classification.load_processor(tmp_path).padding_side


def test_a_tokenizer_that_does_not_mark_padding_is_refused_where_padding_must_be_known(tmp_path):
    found = wordpieces()
    found.init_kwargs["model_input_names"] = ["input_ids"]
    found.model_input_names = ["input_ids"]
    found.save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match="does not mark padding, which this kind must know of"):
        feature_extraction.load_processor(tmp_path)


def test_the_sum_over_the_vocabulary_changes_with_any_of_its_logits():
    batch = {"mask_position": np.array([0])}
    logits = np.random.default_rng(0).normal(size=(1, 1, 40)).astype(np.float32)
    least = logits.argmin()
    known = fill_mask.reduce(batch, {"logits": logits})
    logits[0, 0, least] += 1
    assert known["tokens"].tolist() == fill_mask.reduce(batch, {"logits": logits})["tokens"].tolist()
    assert (known["logsumexp"] < fill_mask.reduce(batch, {"logits": logits})["logsumexp"]).all()


def test_a_row_cut_before_its_mask_is_still_asked_somewhere(words):
    ((example,),) = fill_mask.encode(words, [{"text": "is it is it is it is Tony"}], ("text",), 32)
    assert [3] == fill_mask.shorten(example, 4)["mask_position"]


# Feature extraction


def test_embeddings_are_means_over_tokens_of_length_one():
    states = np.array([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]], dtype=np.float32)
    found = feature_extraction.reduce({"attention_mask": np.array([[1, 1, 0]])}, {"last_hidden_state": states})
    np.testing.assert_allclose([[0.6, 0.8]], found["embedding"], rtol=1e-6)


def test_a_prediction_are_the_documents_nearest_to_a_query(words):
    rows = [{"q": "who", "d": "tony"}, {"q": "where", "d": "london"}, {"q": "he", "d": "tony"}]
    given = asked(feature_extraction, words, rows, ("q", "d"))
    assert [2, 2, 2] == [len(examples) for examples in given.examples]
    tony, london = [1.0, 0.0], [0.0, 1.0]
    pairs = [(tony, tony), (tony, london), ([0.9, 0.1], tony)]
    outputs = [{"embedding": np.array(pair, dtype=np.float32)} for pair in pairs]
    assert [[0, 1]] * 3 == feature_extraction.predict(given, outputs)
    assert [0, 1, 0] == feature_extraction.truths(given)


def test_one_column_cannot_be_compared(words):
    with pytest.raises(HarnessError, match="feature extraction compares two columns, a query and its document"):
        feature_extraction.encode(words, [{"q": "who"}], ("q",), 8)


# Generation


def test_a_prediction_is_the_text_without_what_begins_and_ends_it(words):
    given = asked(translation, words, [{"text": "who", "label": "tony"}], ("text",))
    ids = words.convert_tokens_to_ids(["[SEP]", "tony", "lives", "[SEP]", "[PAD]"])
    outputs = [{"sequences": np.array([ids])}]
    assert ["tony lives"] == translation.predict(given, outputs)
    assert (3,) == Inputs(translation, given).tokens(outputs)
    ((taught,),) = translation.targets(given)
    assert ["[CLS]", "tony", "[SEP]"] == words.convert_ids_to_tokens(taught["labels"])


def test_kinds_that_generate_nothing_count_no_tokens(words):
    given = asked(text_classification, words, [{"text": "who", "label": 0}], ("text",))
    assert () == Inputs(text_classification, given, ("a", "b")).tokens([{"logits": np.zeros((1, 2))}])
