"""Seeds: which runs collapsed, which min_score the others allow, and what a session with several seeds records."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import t

from conftest import Once, Run, Toy
from harness.contracts.kind import EncodedRows
from harness.data.inputs import Inputs
from harness.evaluation.answers import summarize_seed
from harness.evaluation.predictions import Evaluation
from harness.kinds import feature_extraction, text_classification, token_classification
from harness.metrics import Metric
from harness.results.schema import Seed
from harness.verdicts.accuracy import (
    ENOUGH,
    FEWEST,
    Proposal,
    collapse_sentence,
    is_collapsed,
    next_run_bound,
    propose,
    sound_scores,
)

pytest_plugins = "pytester"

LAW = settings(max_examples=200)
NAMES = ("animals", "plants", "numbers")
SEED = Seed(seed=0, score=0.9, majority_score=0.25, majority_label="plants")
STEP = 0.005
ROUNDING = 1e-9


def seeds(scores: list[float]) -> list[Seed]:
    return [replace(SEED, seed=number, score=score) for number, score in enumerate(scores)]


def words(labels: list[list[int]]) -> Inputs:
    """Rows of words with these labels."""
    rows = [{"text": [""] * len(parts), "label": parts} for parts in labels]
    return Inputs(token_classification, EncodedRows(None, rows, ("text",), [[{}]] * len(rows)), ("O", "B-A", "B-C"))


def texts(labels: list[int]) -> Inputs:
    """Rows with these labels."""
    rows = [{"text": "", "label": label} for label in labels]
    return Inputs(text_classification, EncodedRows(None, rows, ("text",), [[{}]] * len(rows)), NAMES)


def seed_of(number: int, predictions: list[object], score: float | None, inputs: Inputs, metric: str) -> Seed:
    """The seed of a model with these predictions."""
    evaluation = Evaluation(single=[], padded=[], predictions=predictions, score=score, other_scores={})
    return summarize_seed(number, evaluation, inputs, Metric(metric))


def proposed(proposal: Proposal) -> float:
    """The min_score, where none lies below any."""
    return -np.inf if proposal.min_score is None else proposal.min_score


labels = st.lists(st.integers(0, 2), min_size=3, max_size=40)
scores = st.lists(st.floats(0.3, 1.0), min_size=FEWEST, max_size=20)
drops = st.floats(0.0, 0.1)
collapsed = st.one_of(
    st.builds(replace, st.just(SEED), score=st.floats(0.0, SEED.majority_score)),
    st.builds(replace, st.just(SEED), score=st.floats(0.0, 1.0), only_label=st.just("plants")),
)

# Collapse


@LAW
@given(labels, st.sampled_from(range(3)), st.sampled_from(["accuracy", "f1-macro"]))
def test_single_label_is_a_collapse(labels: list[int], label: int, metric: str) -> None:
    seed = seed_of(7, [label] * len(labels), 0.4, texts(labels), metric)
    assert NAMES[label] == seed.only_label
    assert is_collapsed(seed)
    assert f"every answer is {NAMES[label]!r}" in collapse_sentence(seed)


@pytest.mark.parametrize("metric", ["accuracy", "f1-macro"])
def test_score_of_the_majority_label_is_a_collapse(metric: str) -> None:
    majority = {"accuracy": 3 / 6, "f1-macro": (2 * 3 / 9) / 3}[metric]
    seed = seed_of(7, [1, 2, 1, 1, 0, 0], majority, texts([0, 1, 1, 1, 2, 2]), metric)
    assert pytest.approx(majority) == seed.majority_score
    assert is_collapsed(seed)
    assert collapse_sentence(seed) == (
        f"seed 7 collapsed: score {majority:.4f} is no more than the {majority:.4f} of always answering 'plants'"
    )
    assert not is_collapsed(replace(seed, score=majority + 1e-6))


def test_first_of_equally_frequent_labels_is_the_majority() -> None:
    assert "animals" == seed_of(0, [1, 0], 0.0, texts([1, 0]), "accuracy").majority_label


def test_single_label_with_undefined_score_is_a_collapse() -> None:
    seed = seed_of(0, [2, 2], None, texts([1, 0]), "accuracy")
    assert "seed 0 collapsed: its score is undefined, and every answer is 'numbers'" == collapse_sentence(seed)
    assert [] == sound_scores([seed, replace(SEED, score=None)])


def test_labels_of_words_are_counted_by_word() -> None:
    seed = seed_of(0, [["O", "B-A", "O"], ["B-C"]], 0.9, words([[0, 0, 1], [0]]), "word-accuracy")
    assert ("O", pytest.approx(3 / 4), None) == (seed.majority_label, seed.majority_score, seed.only_label)
    seed = seed_of(3, [["O", "O"], ["O"]], 0.9, words([[0, 1], [0]]), "word-accuracy")
    assert "seed 3 collapsed: score 0.9000, and every answer is 'O'" == collapse_sentence(seed)


def test_rows_without_labels_never_collapse() -> None:
    rows = [{"query": "what?", "document": "that"}]
    unlabelled = Inputs(feature_extraction, EncodedRows(None, rows, ("query", "document"), [[{}, {}]]))
    seed = seed_of(0, [[1, 0]], 0.0, unlabelled, "mrr")
    assert (None, False) == (seed.majority_score, is_collapsed(seed))
    assert [0.0] == sound_scores([seed])


# Proposals


@LAW
@given(scores, drops)
def test_proposal_is_the_highest_step_below_scores_and_bound(values: list[float], drop: float) -> None:
    proposal = propose(seeds(values), drop)
    assert proposal.bound is not None
    limit = min(*values, proposal.bound - drop)
    assert proposed(proposal) <= limit
    if proposal.min_score is not None:
        assert limit - STEP - ROUNDING < proposal.min_score
        assert pytest.approx(round(proposal.min_score / STEP)) == proposal.min_score / STEP


@LAW
@given(scores, drops, st.lists(collapsed, max_size=3), st.randoms())
def test_collapsed_runs_do_not_count(values: list[float], drop: float, dead: list[Seed], rng: object) -> None:
    mixed = [*seeds(values), *dead]
    rng.shuffle(mixed)  # type: ignore[attr-defined]
    alone, beside = propose(seeds(values), drop), propose(mixed, drop)
    assert (alone.min_score, pytest.approx(alone.bound)) == (beside.min_score, beside.bound)
    assert sorted(values) == sorted(beside.scores)


@LAW
@given(scores, drops, st.floats(1.0, 4.0), st.floats(0.0, 0.1))
def test_spread_and_max_drop_never_raise_the_proposal(
    values: list[float], drop: float, factor: float, more: float
) -> None:
    assert proposed(propose(seeds(values), drop + more)) <= proposed(propose(seeds(values), drop))
    middle = float(np.mean(values))
    wider = [middle + factor * (value - middle) - ROUNDING for value in values]
    assume(min(wider) > SEED.majority_score)  # lower scores would be a collapse
    assert proposed(propose(seeds(wider), drop)) <= proposed(propose(seeds(values), drop))


@LAW
@given(scores, st.floats(-0.2, 0.2))
def test_shifted_scores_shift_the_proposal(values: list[float], shift: float) -> None:
    before, after = propose(seeds(values), 0.0), propose(seeds([value + shift for value in values]), 0.0)
    assert before.bound is not None
    if min(values) + shift > SEED.majority_score:
        assert pytest.approx(before.bound + shift) == after.bound
        if before.min_score is not None and after.min_score is not None:
            assert abs(after.min_score - before.min_score - shift) <= STEP + ROUNDING


def test_next_run_stays_above_the_bound_as_promised() -> None:
    rng = np.random.default_rng(0)
    runs = rng.normal(0.95, 0.01, size=(4000, 11))
    below = sum(float(last) < next_run_bound(list(map(float, first))) for *first, last in runs)
    # One in a hundred; 4 standard deviations of that count around it.
    assert 40 - 25 <= below <= 40 + 25


def test_bound_matches_the_textbook() -> None:
    values = [0.95, 0.96, 0.97, 0.94]
    expected = 0.955 - t.ppf(0.99, 3) * np.std(values, ddof=1) * np.sqrt(1.25)
    assert pytest.approx(expected) == next_run_bound(values)
    assert 0.965 == propose(seeds([0.965] * ENOUGH), 0.0).min_score


@pytest.mark.parametrize("count", range(FEWEST))
def test_too_few_seeds_give_no_proposal(count: int) -> None:
    proposal = propose([*seeds([0.9] * count), replace(SEED, score=0.1)], 0.0)
    assert (None, None) == (proposal.bound, proposal.min_score)
    assert f"a spread takes 3 seeds, and {count} count" == proposal.why


def test_proposal_within_reach_of_a_collapsed_run_is_withheld() -> None:
    proposal = propose(seeds([0.3, 0.6, 0.9]), 0.0)
    assert proposal.min_score is None
    assert "and a collapsed model scores 0.2500" in proposal.why


@pytest.mark.parametrize(("count", "provisional"), [(ENOUGH - 1, True), (ENOUGH, False)])
def test_proposal_from_under_ten_sound_seeds_is_provisional(count: int, provisional: bool) -> None:
    proposal = propose([*seeds([0.9] * count), replace(SEED, score=0.1)], 0.0)
    assert provisional == (len(proposal.scores) < ENOUGH)


# --ship-seeds


@pytest.fixture
def seeded(once: Once) -> tuple[Toy, Run]:
    """A model that trains well with seeds 0 and 2, diverges with 1, collapses with 3; another begins with seed 3."""

    def make(toy: Toy) -> Run:
        toy.copy("seeded.py", "own.py", "moody.py")
        return toy.run("test_toy.py", "-m", "not cuda", "--ship-seeds=4", "--ship-budget=1", "-p", "no:randomly")

    return once("seeded", make)


def test_results_record_scored_seeds(seeded: tuple[Toy, Run]) -> None:
    toy, run = seeded
    for backend in ("pytorch", "numpy"):
        result = toy.results[f"toy/moody.{backend}.cpu"]
        assert "ok" == result.status
        assert [0, 2, 3] == [seed.seed for seed in result.seeds]
        assert result.answers is not None
        assert result.answers.reference_score == result.seeds[0].score
        assert [False, False, True] == [is_collapsed(seed) for seed in result.seeds]
    assert 3 == len(list(toy.artifacts.glob("toy/moody/checkpoint-*/shipbench.json")))
    (note,) = [note for note in toy.results["toy/moody.numpy.cpu"].notes if note.startswith("seed ")]
    assert "seed 1 has no score: toy/moody: training diverged" in note
    assert note in run.err


def test_summary_compares_seeds_and_names_the_collapsed(seeded: tuple[Toy, Run]) -> None:
    toy, run = seeded
    low, high = sorted(seed.score or 0.0 for seed in toy.results["toy/moody.pytorch.cpu"].seeds[:2])
    pattern = re.escape(f"Fine-tuned with 2 of 3 seeds, the reference scores {low:.4f} to {high:.4f}: ")
    pattern += r"a range of \d+\.\d\d points \(standard deviation \d+\.\d\d\); "
    pattern += r"backends differ from it by at most \d+\.\d\d points\."
    assert re.search(f"^toy/moody: {pattern}$", run.text, re.MULTILINE)
    assert re.search(f"^- {pattern}$", (toy.folder / "results/local/comparison.md").read_text(), re.MULTILINE)
    pattern = r"^toy/\w+: Fine-tuning with seed 3 collapsed: score 0\.\d{4}, and every answer is '\w+'\.$"
    assert 2 == len(re.findall(pattern, run.text, re.MULTILINE))  # once under each model


def test_failure_of_a_collapsed_run_names_the_collapse(seeded: tuple[Toy, Run]) -> None:
    toy, run = seeded
    assert [3, 4, 5, 6] == [seed.seed for seed in toy.results["toy/dull.pytorch.cpu"].seeds]
    _, _, failure = run.text.partition("toy/dull.pytorch.cpu\n  score ")
    assert re.match(r".*\n\s+seed 3 collapsed: score 0\.\d{4}, and every answer is ", failure)
