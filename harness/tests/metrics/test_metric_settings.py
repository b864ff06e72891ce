"""Metrics whose assumption a task declares, the rows decide, or nobody does: then the task is refused with a choice."""

import pytest
from datasets import Dataset

from harness.contracts.sources import Folder
from harness.data.metric_settings import settle
from harness.errors import HarnessError
from harness.evaluation.score import score
from harness.spec import Task

LABELLED = {"kind": "text-classification", "inputs": ("text",), "label": "label"}
TAGGED = {"kind": "token-classification", "inputs": ("words",), "label": "tags", "metric": "entity-f1"}
WRITTEN = {"kind": "translation", "inputs": ("text",), "label": "label", "metric": "bleu"}
ASKED = {"kind": "question-answering", "inputs": ("question", "context"), "label": "answers", "metric": "exact-match"}
SOUGHT = {"kind": "feature-extraction", "inputs": ("query", "document"), "metric": "accuracy@1"}
LONG = "one two three four five"


HEARD = {"kind": "automatic-speech-recognition", "inputs": ("audio",), "label": "label", "metric": "wer"}


def settled(arguments, labels=(), **columns):
    """Return the metric of a task with these test rows, and the notes."""
    task = Task(name="toy", dataset=Folder("rows.csv"), **arguments)
    metrics, notes = settle(task, tuple(labels), {"test": Dataset.from_dict(columns)})
    return metrics[task.metric], notes


def classes(metric, labels, used=None, **changes):
    """Settle a metric of labels, each of which has a test row."""
    rows = range(len(labels)) if used is None else used
    return settled({**LABELLED, "metric": metric, **changes}, labels, label=list(rows))


def words(*rows, **changes):
    """Settle the scheme of rows of tags."""
    lists = [row.split() for row in rows]
    labels = sorted({tag for row in lists for tag in row})
    return settled({**TAGGED, **changes}, labels, label=[[labels.index(tag) for tag in row] for row in lists])


# f1


@pytest.mark.parametrize(("positive", "expected"), [("fault", 2 / 3), ("fine", 0.8)])
def test_f1_counts_the_declared_label(positive, expected):
    labels = ("fault", "fine")
    metric, notes = classes("f1", labels, positive=positive)
    assert pytest.approx(expected) == score(metric, [0, 1, 1, 1], [0, 0, 1, 1])
    assert (f"of {positive!r}", []) == (metric.reading, notes)


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (("0", "1"), "1"), (("Yes", "No"), "Yes"), (("False", "True"), "True"), (("NEGATIVE", "POSITIVE"), "POSITIVE"),
        (("not_equivalent", "equivalent"), "equivalent"), (("spam", "non-spam"), "spam"),
        (("no fault", "fault"), "fault"),
    ],
)  # fmt: skip
def test_opposites_decide_the_label_of_f1(labels, positive):
    metric, (note,) = classes("f1", labels)
    assert (labels.index(positive), f"of {positive!r}") == (metric.setting, metric.reading)
    assert note.startswith(f"f1 is of {positive!r}")


@pytest.mark.parametrize("labels", [("fault", "fine"), ("ham", "spam"), ("a", "b", "c"), ("1", "2"), ("not", "yes")])
def test_f1_of_other_labels_needs_a_declaration(labels):
    listed = ", ".join(map(repr, labels))
    with pytest.raises(HarnessError, match=f"f1 counts one label, and the rows have {listed}: declare which"):
        classes("f1", labels)


def test_positive_may_be_one_of_many_labels():
    metric, _ = classes("f1", ("a", "b", "c"), positive="b")
    assert pytest.approx(2 / 3) == score(metric, [0, 1, 1], [2, 1, 0])


def test_misspelt_positive_label_is_corrected():
    with pytest.raises(HarnessError, match=r"unknown label in positive= 'falt'.*did you mean 'fault'\?"):
        classes("f1", ("fault", "fine"), positive="falt")


def test_positive_label_needs_test_rows():
    with pytest.raises(HarnessError, match="f1 is of 'fault', which no test row has"):
        classes("f1", ("fault", "fine"), used=[1, 1], positive="fault")


# Order


def test_declared_order_decides_who_is_a_neighbour():
    labels = ("excellent", "fair", "good", "poor")
    metric, notes = classes("off-by-one-accuracy", labels, order=("poor", "fair", "good", "excellent"))
    assert ("over poor < fair < good < excellent", []) == (metric.reading, notes)
    excellent, fair, good, poor = range(4)
    truths, own = [excellent, excellent, fair, poor], [fair, good, poor, good]
    assert [False, True, True, False] == metric.load().correct_rows(own, truths)


@pytest.mark.parametrize(
    ("labels", "ranks"),
    [
        (("1", "2", "3"), (0, 1, 2)), (("10", "2", "6"), (2, 0, 1)), (("1 star", "2 stars", "5 stars"), (0, 1, 4)),
        (("-1", "0", "1"), (0, 1, 2)), (("1.5", "1", "2"), (1, 0, 2)), (("0", "50", "100"), (0, 1, 2)),
    ],
)  # fmt: skip
def test_numbers_have_an_order(labels, ranks):
    metric, (note,) = classes("off-by-one-accuracy", labels)
    assert ranks == metric.setting
    assert note.startswith("off-by-one-accuracy goes by ")


@pytest.mark.parametrize(
    "labels",
    [("bad", "good", "ok"), ("1", "one"), ("1 star", "1 stars"), ("2 weeks", "3 days"), ("a1", "a2"), ("1.0", "1")],
)
def test_labels_without_an_order_are_refused(labels):
    with pytest.raises(HarnessError, match=r"needs an order, .*: " + ", ".join(labels) + r"; declare it"):
        classes("off-by-one-accuracy", labels)


@pytest.mark.parametrize(
    ("order", "problem"),
    [(("bad", "good"), "it lacks ok"), (("bad", "ok", "god"), r"'god'.*did you mean 'good'\?")],
)
def test_order_names_every_label_once(order, problem):
    with pytest.raises(HarnessError, match=problem):
        classes("off-by-one-accuracy", ("bad", "good", "ok"), order=order)


# Entity tags


@pytest.mark.parametrize(
    ("rows", "setting"),
    [
        (("B-PER I-PER O", "O B-LOC B-LOC"), "IOB2 prefix"),
        (("I-PER I-PER O", "O I-LOC B-LOC"), "IOB1 prefix"),
        (("I-CAPS I-Name O", "O I-Name"), "IOB1 prefix"),
        (("I-PER E-PER O", "E-LOC O"), "IOE2 prefix"),
        (("I-PER E-PER I-PER O", "I-LOC O"), "IOE1 prefix"),
        (("B-PER E-PER S-LOC",), "IOBES prefix"),
        (("B-PER M-PER E-PER S-LOC",), "BMES prefix"),
        (("B-PER L-PER U-LOC",), "BILOU prefix"),
        (("PER-B PER-I O", "LOC-B O"), "IOB2 suffix"),
        (("b_per i_per o",), "IOB2 prefix"),
        (("B I O",), "IOB2 prefix"),
        (("B-PER I-PER", "B-LOC B-PER"), "IOB2 prefix"),
        (("PERSON O ORG ORG",), "bare bare"),
    ],
)
def test_schemes_that_every_row_fits_are_recognised(rows, setting):
    metric, (note,) = words(*rows)
    assert setting == metric.setting
    assert note.startswith("entity-f1 is ")


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            ("B-PER I-PER O", "O I-LOC"),
            r"IOB2 finds tags of no entity in 1 of 2 rows, first 'I-LOC' after 'O' in row 1 of",
        ),
        (("B-PER I-LOC O",), "'I-LOC' after 'B-PER' in row 0 of test"),
        (("B-PER E-PER O", "B-LOC O"), "IOBES finds tags of no entity in 1 of 2 rows, first 'B-LOC'"),
        (("B-PER I-PER 0", "PER O"), r"the tag '0' \(row 0 of test\) has no letter, as 'B-PER' has"),
        (("PHONE E-MAIL O",), r"the tag 'PHONE' \(row 0 of test\) has no letter, as 'E-MAIL' has"),
        (("NOUN VERB",), "no word has the tag O"),
        (("BPER IPER O",), "differs in its first or last letter"),
        (("PERB PERI O",), "differs in its first or last letter"),
        (("S-PER E-PER O",), "which are those of no scheme"),
        (("B-PER M-PER L-PER O",), "the letters of the tags are B, L, M"),
    ],
)
def test_tags_of_no_certain_scheme_are_refused(rows, problem):
    with pytest.raises(HarnessError, match=problem) as refused:
        words(*rows)
    assert "declare scheme=, one of IOB2, IOB1, IOE2" in str(refused.value)


def test_declared_scheme_reads_rows_that_break_it_strictly():
    metric, (note,) = words("B-PER I-PER O", "O I-LOC", scheme="IOB2")
    assert "entity-f1 finds tags of no entity in 1 of 2 rows, first 'I-LOC' after 'O' in row 1 of test" == note
    assert "in IOB2" == metric.reading


def test_schemes_have_synonyms():
    assert "IOB2 prefix" == words("B-PER I-PER O", scheme="BIO")[0].setting


def test_declared_bare_tags_may_look_like_letters():
    metric, _ = words("PHONE E-MAIL O", scheme="bare")
    assert "bare bare" == metric.setting


@pytest.mark.parametrize(
    ("row", "scheme", "problem"),
    [("B-PER I-PER O", "BILOU", None), ("B-PER I-PER O", "IOBES", "finds"), ("B-PER I-PER O", "IOE2", "those of"),
     ("PER LOC O", "IOB2", "no letter of IOB2"), ("B-PER I-PER O", "bare", "not bare")],
)  # fmt: skip
def test_declared_scheme_must_have_the_letters(row, scheme, problem):
    if problem in (None, "finds"):  # B and I are letters of these, but no entity ends
        assert "finds tags of no entity in 1 of 1 rows" in words(row, scheme=scheme)[1][0]
    else:
        with pytest.raises(HarnessError, match=problem):
            words(row, scheme=scheme)


# Texts


@pytest.mark.parametrize(
    ("text", "tokenizer"),
    [
        ("今天天气很好我们去公园", "zh"),
        ("今日は天気がいいですね", "ja-mecab"),
        ("오늘은 날씨가 좋네요 정말로", "ko-mecab"),
        ("วันนี้อากาศดีมาก", "flores200"),
        ("ມື້ນີ້ອາກາດດີ", "flores200"),
        ("ဒီနေ့ရာသီဥတု", "flores200"),
    ],
)
def test_bleu_of_unspaced_scripts_needs_a_tokenizer(text, tokenizer):
    with pytest.raises(HarnessError, match=f"bleu splits words at spaces.*declare Task\\(tokenize='{tokenizer}'\\)"):
        settled(WRITTEN, label=[text] * 3)


def test_declared_tokenizer_scores_chinese():
    text = "今天天气很好我们去公园"
    metric, notes = settled({**WRITTEN, "tokenize": "zh"}, label=[text])
    assert ("by sacrebleu's tokenizer zh", []) == (metric.reading, notes)
    assert pytest.approx(1) == score(metric, [text], [text])
    assert 0.3 < score(metric, ["今天天气很好我们去学校"], [text]) < 0.9


def test_few_foreign_letters_change_no_tokenizer():
    metric, notes = settled(WRITTEN, label=[f"{LONG} six seven eight nine 東"] * 3)
    assert ("by sacrebleu's tokenizer 13a", []) == (metric.reading, notes)


def test_short_references_are_refused_or_counted():
    with pytest.raises(HarnessError, match="2 of 3 test references have fewer, the first in row 0; take chrf"):
        settled(WRITTEN, label=["two words", "one", LONG])
    _, (note,) = settled(WRITTEN, label=[LONG, LONG, "one"])
    assert "bleu counts four tokens in a row, and 1 of 3 test references have fewer" == note


@pytest.mark.parametrize("metric", ["exact-match", "token-f1"])
def test_answers_that_squads_rules_empty_are_refused(metric):
    asked = {**ASKED, "metric": metric}
    with pytest.raises(HarnessError, match="of which 2 of 4 test answers consist, the first in row 1"):
        settled(asked, label=["Rome", "the", "?", "Paris"])
    _, (note,) = settled(asked, label=["Rome"] * 199 + ["A"])
    assert f"{metric} ignores articles and punctuation, of which 1 of 200 test answers consist" in note


def test_words_of_unspaced_answers_are_named():
    _, (note,) = settled({**ASKED, "metric": "token-f1"}, label=["東京都", "大阪"])
    assert "it is nearly exact-match" in note


# Rankings and labels


def test_repeated_queries_and_twin_documents_are_counted():
    _, (note,) = settled(SOUGHT, query=["a", "a", "b"], document=["One two", "one  two", "three"])
    assert "2 test rows share their query with others; it takes a twin of the document as wrong, and 2 doc" in note


def test_single_document_is_no_ranking():
    with pytest.raises(HarnessError, match="chooses among the documents of the test rows, which are all the same"):
        settled(SOUGHT, query=["a", "b"], document=["one", "one"])


def test_labels_without_test_rows_are_named():
    _, notes = classes("accuracy", ("a", "b", "c"), used=[0, 2])
    assert ["no test row has the label 'b': the scores say nothing of it"] == notes


def test_kinds_of_a_user_may_need_their_processor():
    from dataclasses import replace

    from harness.kinds import translation

    own = replace(translation, truths=lambda encoded: encoded.processor.decode(encoded.rows))
    assert "by sacrebleu's tokenizer 13a" == settled({**WRITTEN, "kind": own}, label=["short"])[0].reading


# wer and cer


def test_error_rates_state_the_form_of_texts():
    pytest.importorskip("jiwer")
    metric, notes = settled(HEARD, label=["One.", "two"])
    assert ("in lower case, without punctuation", []) == (metric.reading, notes)


@pytest.mark.parametrize(
    ("metric", "texts", "message"),
    [
        ("wer", ["one", "…", ""], "wer counts errors per word, and 2 of 3 test texts have none, first row 1"),
        ("wer", ["你好世界", "谢谢"], "splits words at spaces.*take cer"),
        ("cer", [1, 2], "cer compares texts, and row 0 of test has 1"),
    ],
)
def test_texts_without_words_are_refused(metric, texts, message):
    pytest.importorskip("jiwer")
    with pytest.raises(HarnessError, match=message):
        settled({**HEARD, "metric": metric}, label=texts)


def test_missing_jiwer_is_named(monkeypatch):
    monkeypatch.setattr("harness.data.metric_settings.missing_module", lambda *_: "jiwer is not installed")
    with pytest.raises(HarnessError, match="wer is counted by jiwer, and jiwer is not installed"):
        settled(HEARD, label=["one"])
