"""Error rates of transcripts: they equal an own alignment and jiwer's, in the form that is stated, and are bounded."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.evaluation.score import correct_rows, score, score_drop, score_interval, unseen_change
from harness.metrics import Metric
from harness.metrics.transcripts import normalize_transcript

jiwer = pytest.importorskip("jiwer")

texts = st.lists(st.sampled_from(["a", "ba", "cab", "d"]), min_size=1, max_size=6).map(" ".join)
tables = st.lists(st.tuples(texts | st.just(""), texts), min_size=1, max_size=100)


def distance(own, truth):
    """Levenshtein's, by its definition."""
    row = list(range(len(truth) + 1))
    for i, a in enumerate(own, 1):
        before, row = row, [i]
        for j, b in enumerate(truth, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
    return row[-1]


@pytest.mark.parametrize(("name", "parts"), [("wer", str.split), ("cer", list)])
@settings(max_examples=25, deadline=None)
@given(tables)
def test_rate_is_edits_over_parts(name, parts, table):
    own, truth = map(list, zip(*table, strict=True))
    edits = sum(distance(parts(a), parts(b)) for a, b in table)
    expected = edits / sum(len(parts(b)) for b in truth)
    assert math.isclose(expected, score(Metric(name), own, truth), rel_tol=1e-9, abs_tol=1e-12)
    assert math.isclose(expected, getattr(jiwer, name)(truth, own), rel_tol=1e-9, abs_tol=1e-12)
    assert [a == b for a, b in table] == correct_rows(Metric(name), own, truth).tolist()


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Don't, they said.", "dont they said"),
        ("It’s  well-known!", "its well known"),
        ("ﬁne", "fine"),
        ("Straße 5%", "strasse 5"),
        ("हिन्दी।", "हिन्दी"),
        ("…", ""),
    ],
)
def test_texts_are_compared_without_case_and_punctuation(text, plain):
    assert plain == normalize_transcript(text)
    if plain:
        assert 0 == score(Metric("wer"), [text], [plain])


def test_more_words_than_were_said_are_errors_too():
    assert 3.0 == score(Metric("wer"), ["no no no no"], ["no"])


def test_unseen_rows_are_the_longest_text_not_heard():
    own = truth = ["one", "two three four"]
    assert pytest.approx(0.1 * 3 / (0.9 * 2 + 0.1 * 3), rel=0.4) == unseen_change(Metric("wer"), own, truth, 0.1)


def test_bounds_contain_a_drop_of_a_known_size():
    truth = ["one two three four five"] * 200
    own = [text if row % 10 else "one two three four" for row, text in enumerate(truth)]
    drop = score_drop(Metric("wer"), own, truth, truth)
    assert pytest.approx(0.02) == drop.estimate
    assert drop.low < 0.02 < drop.high < 0.05
    interval = score_interval(Metric("wer"), own, truth)
    assert 0 <= interval.low < 0.02 < interval.high
