"""The label rule: drops of recall by label, answers never given, references that know nothing, labels with few rows."""

from dataclasses import replace

import numpy as np
import pytest
from factory import answers, result
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.results import store
from harness.results.schema import LabelRows, Seed
from harness.spec import Gate
from harness.verdicts.accuracy import collapse_sentence, is_collapsed
from harness.verdicts.labels import ERROR_RATE, label_drops, label_notes, own_collapse, reference_collapse, worse_labels
from harness.verdicts.recommendation import recommend
from harness.verdicts.verdict import shortfalls, verdict

GATE = Gate(min_score=0.5, max_drop=0.03)
SEED = Seed(seed=0, score=0.99, majority_score=0.9, majority_label="normal", beats_chance=True)
COLLAPSED = replace(SEED, only_label="normal", beats_chance=False)


def label(name="fault", rows=6, lost=0, gained=0, **changed):
    """A label that the reference always answers correctly."""
    known = LabelRows(
        label=name,
        rows=rows,
        correct=rows - gained,
        lost=lost,
        gained=gained,
        answered=rows - lost,
        reference_answered=rows,
    )
    return replace(known, **changed)


def labelled(*labels, factor=2.0, seed=SEED, gate=GATE, **changed):
    """A faster backend with these labels."""
    lost, gained, rows = (int(sum(getattr(one, name) for one in labels)) for name in ("lost", "gained", "rows"))
    known = answers(lost, gained, rows=rows, labels=labels)
    return result("own", factor, answers=replace(known, **changed), gate=gate, seeds=(seed,))


NORMAL = label("normal", 594, answered=600)
RARE = labelled(label(lost=6), NORMAL)


# Drops


def test_rare_label_never_answered_is_worse_and_not_recommended():
    assert "worse" == verdict(RARE).word
    worse, silent = verdict(RARE).reasons
    assert worse == (
        "recall of label 'fault' drops 100.00 points [3.36, 100.00], more than the 3 allowed "
        "(6 of its 6 rows lost, 0 gained)"
    )
    assert (
        "this backend answers only 'normal', and never answers 'fault' (6 test rows), which the reference does"
        == silent
    )
    assert [worse, silent] == shortfalls(RARE)
    best, reason = recommend([replace(RARE, backend="pytorch"), RARE])
    assert ("pytorch", True) == (best.backend, "own: recall of label 'fault'" in reason or "own: worse" in reason)


def test_recall_that_drops_is_worse_though_the_score_does_not():
    one = labelled(label("a", 300, lost=60), label("b", 700, gained=60))
    assert "worse" == verdict(one).word
    (reason,) = verdict(one).reasons
    assert reason.startswith("recall of label 'a' drops 20.00 points [15.")


def test_label_not_proven_worse_ships():
    assert "ship" == verdict(labelled(label(lost=1, answered=5), NORMAL)).word


def test_worst_labels_are_named_first_and_the_others_after():
    many = labelled(*(label(name, 100, lost=lost) for name, lost in zip("abcde", (40, 50, 60, 70, 0), strict=True)))
    sentences = worse_labels(many)
    assert ["'d'", "'c'", "'b'"] == [text.split()[3] for text in sentences[:3]]
    assert "the recall of these labels drops by more than that, too: 'a'" == sentences[3]


def test_older_results_without_labels_are_judged_as_before():
    older = replace(RARE, answers=replace(RARE.answers, labels=()))
    assert ("ship", []) == (verdict(older).word, label_notes(older))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 200), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_intervals_are_wider_with_more_labels(counts):
    labels = [
        label(str(number), rows, int(lost * rows), int(gained * (rows - int(lost * rows))))
        for number, (rows, lost, gained) in enumerate(counts)
    ]
    alone = [next(label_drops(labelled(one).answers))[1] for one in labels]
    for (one, drop), single in zip(label_drops(labelled(*labels).answers), alone, strict=True):
        assert drop.low <= single.low <= (one.lost - one.gained) / one.rows <= single.high <= drop.high


@pytest.mark.parametrize("flips", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("sizes", [(100,) * 10, (5, 5, 5, 10, 10, 20, 40, 80, 160, 665)], ids=["even", "rare"])
def test_equal_backends_are_rarely_called_worse(flips, sizes):
    """As many rows lost as gained in truth, by `flips` of each label's rows; no drop is allowed at all."""
    rng, trials = np.random.default_rng(1), 400
    wrong = 0
    for _ in range(trials):
        drawn = (rng.multinomial(rows, [flips / 2, flips / 2, 1 - flips]) for rows in sizes)
        labels = [
            label(str(n), rows, int(lost), int(gained), answered=1)
            for n, (rows, (lost, gained, _)) in enumerate(zip(sizes, drawn, strict=True))
        ]
        wrong += bool(worse_labels(labelled(*labels, gate=Gate(min_score=0.0, max_drop=0.0))))
    assert wrong <= ERROR_RATE * trials


# Answers that are never given


def test_label_never_answered_is_undecided_where_rows_are_few():
    one = labelled(label(rows=2, lost=2), replace(NORMAL, label="a"), replace(NORMAL, label="b"))
    assert "undecided" == verdict(one).word
    assert "this backend never answers 'fault' (2 test rows), which the reference does" in verdict(one).reasons
    assert [] == shortfalls(one)
    assert "own never answers 'fault' (2 test rows), which the reference does" in label_notes(one)


def test_label_never_answered_is_named_for_slower_backends():
    slower = replace(labelled(label(rows=1, lost=1), NORMAL, factor=0.5), backend="own")
    assert "slower" == verdict(slower).word
    assert "never answers 'fault' (1 test row)" in verdict(slower).reasons[-1]


@pytest.mark.parametrize("changed", [{"rows": 0, "correct": 0}, {"reference_answered": 0}])
def test_label_of_no_row_or_unknown_to_the_reference_is_no_collapse(changed):
    assert own_collapse(labelled(label(answered=0, **changed), NORMAL).answers) is None


def test_equal_outputs_for_all_rows_are_worse_and_named():
    one = result("own", 2.0, answers=answers(constant="output"))
    assert ("worse", ("this backend gives the same output for every row",)) == (verdict(one).word, verdict(one).reasons)
    assert ["this backend gives the same output for every row"] == shortfalls(one)
    assert ["own gives the same output for every row"] == label_notes(one)


def test_equal_texts_for_all_rows_never_ship():
    one = result("own", 2.0, answers=answers(constant="answer"))
    assert "undecided" == verdict(one).word
    assert "this backend gives the same answer for every row" in verdict(one).reasons


# References that know nothing


@pytest.mark.parametrize(
    ("seed", "constant", "reason"),
    [
        (COLLAPSED, "", "the reference answers only 'normal'"),
        (
            replace(SEED, score=0.9, beats_chance=False),
            "",
            "the reference's score 0.9000 is no more than the 0.9000 of always answering 'normal'",
        ),
        (
            replace(COLLAPSED, majority_score=1.0),
            "",
            "the reference answers only 'normal', the only label of the test rows",
        ),
        (Seed(seed=0, score=0.1), "answer", "the reference gives the same answer for every row"),
        (Seed(seed=0, score=0.1), "output", "the reference gives the same output for every row"),
    ],
)
@pytest.mark.parametrize("recipe", [{}, {"epochs": 0}], ids=["fine-tuned", "as it is"])
def test_collapsed_reference_makes_the_comparison_invalid(seed, constant, reason, recipe):
    one = labelled(label(lost=6), NORMAL, seed=seed, reference_constant=constant, constant=constant)
    one = replace(one, recipe=recipe)
    assert ("invalid", (f"{reason}, so a drop against it means nothing",)) == (verdict(one).word, verdict(one).reasons)
    assert [] == shortfalls(one)
    best, why = recommend([replace(one, backend="pytorch"), one])
    assert best is None
    assert why.startswith(f"{reason}, so nothing can be compared with it")


def test_collapsed_reference_below_its_gate_is_invalid_and_red():
    one = labelled(NORMAL, seed=COLLAPSED, gate=Gate(min_score=0.99, max_drop=0.01))
    assert "invalid" == verdict(one).word
    assert shortfalls(one) == list(verdict(one).reasons[1:]) != []


def test_low_score_with_answers_beyond_chance_is_no_collapse():
    sound = replace(SEED, score=0.8)
    assert not is_collapsed(sound)
    assert reference_collapse(labelled(NORMAL, seed=sound)) is None
    assert is_collapsed(replace(sound, beats_chance=None))


def test_fine_tuning_is_named_only_where_there_was_any():
    assert "seed 0 collapsed: score 0.9900, and every answer is 'normal'" == collapse_sentence(COLLAPSED)
    assert "the reference answers only 'normal'" == collapse_sentence(COLLAPSED, is_trained=False)


# Notes


def test_labels_with_few_rows_are_noted():
    rare = labelled(label(), label("normal", 594))
    text = "few test rows for 'fault' (6 test rows): a drop of up to 39 points of its recall cannot be excluded"
    assert [text] == label_notes(rare)
    assert "ship" == verdict(rare).word
    assert [] == label_notes(labelled(label(rows=40), label("normal", 594)))
    assert [] == label_notes(replace(rare, backend="pytorch"))


def test_many_labels_with_few_rows_are_one_note():
    (note,) = label_notes(labelled(*(label(str(rows), rows) for rows in (9, 3, 5, 7, 900))))
    assert note == (
        "few test rows for '3' (3 test rows), '5' (5 test rows), '7' (7 test rows) and 1 more: "
        "a drop of one of them by up to 63 points of its recall cannot be excluded"
    )


def test_labels_are_stored_and_read_back(tmp_path):
    labels = (label(lost=0.5, answered=5), NORMAL)
    stored = replace(RARE, answers=replace(RARE.answers, labels=labels, constant="answer"))
    assert stored == store.load(store.save(tmp_path, stored))
