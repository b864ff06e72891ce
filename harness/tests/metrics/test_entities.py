"""Entities are read as seqeval's strict mode reads them, and as counted by hand where seqeval errs."""

import pytest
import seqeval.scheme
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report

from harness.evaluation.score import score
from harness.metrics import Metric
from harness.metrics.entities import SCHEMES, entities, misplaced_tag

PER, LOC = "PER", "LOC"


def tagged(letters):
    """Rows of one to six words with these letters and two types."""
    tags = st.sampled_from(["O", *(f"{letter}-{kind}" for letter in letters for kind in (PER, LOC))])
    return st.integers(1, 6).flatmap(
        lambda words: st.tuples(*[st.lists(tags, min_size=words, max_size=words).map(tuple)] * 2)
    )


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "IOE2", "IOBES", "BILOU"])
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_scores_equal_seqevals_strict_report(scheme, data):
    truths, own = zip(*data.draw(st.lists(tagged(SCHEMES[scheme]), min_size=1, max_size=6)), strict=True)
    strict = {"mode": "strict", "scheme": getattr(seqeval.scheme, scheme), "output_dict": True, "zero_division": 0}
    try:
        report = classification_report(list(map(list, truths)), list(map(list, own)), **strict)
    except ValueError:  # seqeval reports nothing where it reads no entity
        report = {"micro avg": {"f1-score": 0.0}}
    assert pytest.approx(report["micro avg"]["f1-score"]) == score(Metric("entity-f1", f"{scheme} prefix"), own, truths)


@pytest.mark.parametrize(
    ("scheme", "form", "tags", "expected"),
    [
        ("IOB2", "prefix", "B-PER I-PER B-PER O", {(PER, 0, 2), (PER, 2, 3)}),
        ("IOB2", "prefix", "b-per i-per o", {("per", 0, 2)}),
        ("IOB2", "prefix", "B_PER I_PER B-PER-1 I-PER-1", {(PER, 0, 2), ("PER-1", 2, 4)}),
        ("IOB2", "prefix", "B I O B", {("_", 0, 2), ("_", 3, 4)}),
        ("IOB2", "suffix", "PER-B PER-I O LOC-B", {(PER, 0, 2), (LOC, 3, 4)}),
        ("IOB2", "prefix", "O I-PER B-PER I-LOC", {(PER, 2, 3)}),
        ("IOB1", "prefix", "I-PER I-PER B-PER I-LOC", {(PER, 0, 2), (PER, 2, 3), (LOC, 3, 4)}),
        ("IOE1", "prefix", "E-PER I-PER O I-LOC", {(PER, 0, 1), (PER, 1, 2), (LOC, 3, 4)}),
        ("IOE1", "prefix", "I-PER E-PER E-PER I-PER", {(PER, 0, 2), (PER, 2, 3), (PER, 3, 4)}),
        ("IOE1", "prefix", "I-PER E-PER O", set()),
        ("IOE2", "prefix", "I-PER E-PER E-PER O", {(PER, 0, 2), (PER, 2, 3)}),
        ("IOBES", "prefix", "S-PER B-PER I-PER E-PER S-PER", {(PER, 0, 1), (PER, 1, 4), (PER, 4, 5)}),
        ("IOBES", "prefix", "B-PER O B-PER I-PER", set()),
        ("BMES", "prefix", "S-PER B-PER M-PER E-PER", {(PER, 0, 1), (PER, 1, 4)}),
        ("BILOU", "prefix", "U-PER B-PER I-PER L-PER", {(PER, 0, 1), (PER, 1, 4)}),
        ("bare", "bare", "PER PER LOC O ORG", {(PER, 0, 2), (LOC, 2, 3), ("ORG", 4, 5)}),
        ("IOB2", "prefix", "", set()),
    ],
)
def test_entities_are_those_counted_by_hand(scheme, form, tags, expected):
    assert expected == entities(tuple(tags.split()), scheme, form)


def test_first_tag_of_no_entity_is_located():
    assert 1 == misplaced_tag(("O", "I-PER", "B-PER"), "IOB2", "prefix")
    assert misplaced_tag(("O", "I-PER", "B-PER"), "IOB1", "prefix") is None
    assert 0 == misplaced_tag(("B-PER", "I-PER"), "IOBES", "prefix")


def test_ignored_entity_type_costs_score():
    truths = [["O", "ORG", "PERSON", "O"]] * 10
    own = [["O", "O", "PERSON", "O"]] * 10
    assert pytest.approx(2 / 3) == score(Metric("entity-f1", "bare bare"), own, truths)
