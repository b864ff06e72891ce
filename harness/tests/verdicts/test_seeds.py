# the expectation stands on the left
"""Seeds: what collapsed is named, how far the others lie apart is told, and the floor they allow has laws."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import t

from conftest import REPOSITORY, Once, Run, Toy
from harness.commands.collection import collect
from harness.contracts.kind import EncodedRows
from harness.data.inputs import Inputs
from harness.errors import HarnessError
from harness.kinds import feature_extraction, text_classification, token_classification
from harness.results.schema import Seed
from harness.training.train import seed_of
from harness.verdicts.seeds import ENOUGH, FEWEST, Proposal, collapse, is_collapsed, next_run_bound, propose, sound

pytest_plugins = "pytester"

LAW = settings(max_examples=200)
NAMES = ("animals", "plants", "numbers")
SEED = Seed(seed=0, score=0.9, majority=0.25, frequent="plants")
STEP = 0.005
ROUNDING = 1e-9


def seeds(scores: list[float]) -> list[Seed]:
    return [replace(SEED, seed=number, score=score) for number, score in enumerate(scores)]


def tagged(labels: list[list[int]]) -> Inputs:
    """Rows of words with these labels."""
    rows = [{"text": [""] * len(parts), "label": parts} for parts in labels]
    return Inputs(token_classification, EncodedRows(None, rows, ("text",), [[{}]] * len(rows)), ("O", "B-A", "B-C"))


def asked(labels: list[int]) -> Inputs:
    """Rows with these labels."""
    rows = [{"text": "", "label": label} for label in labels]
    return Inputs(text_classification, EncodedRows(None, rows, ("text",), [[{}]] * len(rows)), NAMES)


def floor_of(found: Proposal) -> float:
    """With none below any."""
    return -np.inf if found.min_score is None else found.min_score


rows = st.lists(st.integers(0, 2), min_size=3, max_size=40)
scores = st.lists(st.floats(0.3, 1.0), min_size=FEWEST, max_size=20)
allowed = st.floats(0.0, 0.1)
collapsed = st.one_of(
    st.builds(replace, st.just(SEED), score=st.floats(0.0, SEED.majority)),
    st.builds(replace, st.just(SEED), score=st.floats(0.0, 1.0), only=st.just("plants")),
)

# ------------------------------------------------------------------------------------------------------- collapse


@LAW
@given(rows, st.sampled_from(range(3)), st.sampled_from(["accuracy", "f1-macro"]))
def test_whoever_always_gives_one_label_collapsed(labels: list[int], label: int, metric: str) -> None:
    found = seed_of(7, [label] * len(labels), 0.4, asked(labels), metric)
    assert NAMES[label] == found.only
    assert is_collapsed(found)
    assert f"every answer is {NAMES[label]!r}" in collapse(found)


@pytest.mark.parametrize("metric", ["accuracy", "f1-macro"])
def test_a_score_no_better_than_the_most_frequent_label_is_collapse_and_says_so(metric: str) -> None:
    labels = [0, 1, 1, 1, 2, 2]
    majority = {"accuracy": 3 / 6, "f1-macro": (2 * 3 / 9) / 3}[metric]
    found = seed_of(7, [1, 2, 1, 1, 0, 0], majority, asked(labels), metric)
    assert pytest.approx(majority) == found.majority
    assert is_collapsed(found)
    assert (
        f"seed 7 collapsed: score {majority:.4f} is no more than the {majority:.4f} of always answering 'plants'"
        == (collapse(found))
    )
    assert not is_collapsed(replace(found, score=majority + 1e-6))


def test_of_equally_frequent_labels_the_first_stands_for_the_majority() -> None:
    assert "animals" == seed_of(0, [1, 0], 0.0, asked([1, 0]), "accuracy").frequent


def test_one_label_with_an_undefined_score_is_collapse_too() -> None:
    found = seed_of(0, [2, 2], None, asked([1, 0]), "accuracy")
    assert "seed 0 collapsed: its score is undefined, and every answer is 'numbers'" == collapse(found)
    assert [] == sound([found, replace(SEED, score=None)])


def test_of_labels_for_each_word_the_most_frequent_word_stands_for_the_majority() -> None:
    found = seed_of(0, [["O", "B-A"], ["B-C"]], 0.9, tagged([[0, 0, 1], [0]]), "word-accuracy")
    assert ("O", pytest.approx(3 / 4), None) == (found.frequent, found.majority, found.only)


def test_whoever_gives_every_word_one_label_collapsed() -> None:
    found = seed_of(3, [["O", "O"], ["O"]], 0.9, tagged([[0, 1], [0]]), "word-accuracy")
    assert is_collapsed(found)
    assert "seed 3 collapsed: score 0.9000, and every answer is 'O'" == collapse(found)


def test_where_rows_have_no_labels_nothing_is_known_to_collapse() -> None:
    rows = [{"query": "what?", "document": "that"}]
    unlabelled = Inputs(feature_extraction, EncodedRows(None, rows, ("query", "document"), [[{}, {}]]))
    found = seed_of(0, [[1, 0]], 0.0, unlabelled, "mrr")
    assert (None, False) == (found.majority, is_collapsed(found))
    assert [0.0] == sound([found])


# --------------------------------------------------------------------------------------------------------- floors


@LAW
@given(scores, allowed)
def test_a_floor_lies_under_every_score_and_under_the_bound_less_the_loss(values: list[float], drop: float) -> None:
    found = propose(seeds(values), drop)
    assert found.bound is not None
    assert floor_of(found) <= min(*values, found.bound - drop)


@LAW
@given(scores, allowed)
def test_a_floor_is_the_highest_multiple_of_half_a_point_that_may_be_promised(values: list[float], drop: float) -> None:
    found = propose(seeds(values), drop)
    assert found.bound is not None
    if found.min_score is not None:
        assert min(*values, found.bound - drop) - STEP - ROUNDING < found.min_score
        assert pytest.approx(round(found.min_score / STEP)) == found.min_score / STEP


@LAW
@given(scores, allowed, st.lists(collapsed, max_size=3), st.randoms())
def test_a_collapsed_run_moves_no_floor(values: list[float], drop: float, dead: list[Seed], dice: object) -> None:
    mixed = [*seeds(values), *dead]
    dice.shuffle(mixed)  # type: ignore[attr-defined]
    alone, beside = propose(seeds(values), drop), propose(mixed, drop)
    assert (alone.min_score, pytest.approx(alone.bound)) == (beside.min_score, beside.bound)
    assert sorted(values) == sorted(beside.scores)


@LAW
@given(scores, allowed, st.floats(1.0, 4.0))
def test_more_spread_never_raises_a_floor(values: list[float], drop: float, factor: float) -> None:
    middle = float(np.mean(values))
    wider = [middle + factor * (value - middle) - ROUNDING for value in values]
    assume(min(wider) > SEED.majority)  # below, it is no spread but collapse
    assert floor_of(propose(seeds(wider), drop)) <= floor_of(propose(seeds(values), drop))


@LAW
@given(scores, st.floats(-0.2, 0.2))
def test_a_shift_of_all_scores_shifts_the_floor_but_for_rounding(values: list[float], shift: float) -> None:
    before, after = propose(seeds(values), 0.0), propose(seeds([value + shift for value in values]), 0.0)
    assert before.bound is not None
    if min(values) + shift > SEED.majority:
        assert pytest.approx(before.bound + shift) == after.bound
        if before.min_score is not None and after.min_score is not None:
            assert abs(after.min_score - before.min_score - shift) <= STEP + ROUNDING


@LAW
@given(scores, allowed, st.floats(0.0, 0.1))
def test_a_larger_allowed_loss_never_raises_a_floor(values: list[float], drop: float, more: float) -> None:
    assert floor_of(propose(seeds(values), drop + more)) <= floor_of(propose(seeds(values), drop))


def test_the_next_run_stays_above_the_bound_as_often_as_it_says() -> None:
    dice = np.random.default_rng(0)
    runs = dice.normal(0.95, 0.01, size=(4000, 11))
    below = sum(float(last) < next_run_bound(list(map(float, first))) for *first, last in runs)
    # One in a hundred; 4 standard deviations of that count around it.
    assert 40 - 25 <= below <= 40 + 25


def test_the_bound_is_the_textbook_s() -> None:
    values = [0.95, 0.96, 0.97, 0.94]
    expected = 0.955 - t.ppf(0.99, 3) * np.std(values, ddof=1) * np.sqrt(1.25)
    assert pytest.approx(expected) == next_run_bound(values)


def test_equal_scores_are_a_floor_themselves() -> None:
    assert 0.965 == propose(seeds([0.965] * ENOUGH), 0.0).min_score


@pytest.mark.parametrize("count", range(FEWEST))
def test_two_seeds_allow_no_floor_and_the_reason_says_how_many_count(count: int) -> None:
    found = propose([*seeds([0.9] * count), replace(SEED, score=0.1)], 0.0)
    assert (None, None) == (found.bound, found.min_score)
    assert f"a spread takes 3 seeds, and {count} count" == found.why


def test_a_floor_that_a_collapsed_run_would_reach_is_none() -> None:
    found = propose(seeds([0.3, 0.6, 0.9]), 0.0)
    assert found.min_score is None
    assert "and a model that collapsed scores 0.2500" in found.why


@pytest.mark.parametrize(("count", "provisional"), [(ENOUGH - 1, True), (ENOUGH, False)])
def test_a_floor_from_fewer_than_ten_sound_seeds_is_provisional(count: int, provisional: bool) -> None:
    found = propose([*seeds([0.9] * count), replace(SEED, score=0.1)], 0.0)
    assert provisional == found.provisional


# ----------------------------------------------------------------------------------------------------- --ship-seeds


@pytest.fixture
def seeded(once: Once) -> tuple[Toy, Run]:
    """A model that goes well with seeds 0 and 2, diverges with 1, collapses with 3; another starts with 3."""

    def make(toy: Toy) -> Run:
        toy.copy("seeded.py", "own.py", "moody.py")
        return toy.run("test_toy.py", "-m", "not cuda", "--ship-seeds=4", "--ship-budget=1", "-p", "no:randomly")

    return once("seeded", make)


def test_every_result_holds_the_seeds_that_have_a_score_the_measured_one_first(seeded: tuple[Toy, Run]) -> None:
    toy, _ = seeded
    for backend in ("pytorch", "numpy"):
        result = toy.results[f"toy/moody.{backend}.cpu"]
        assert "ok" == result.status
        assert [0, 2, 3] == [seed.seed for seed in result.seeds]
        assert result.answers is not None
        assert result.answers.reference_score == result.seeds[0].score
        assert [False, False, True] == [is_collapsed(seed) for seed in result.seeds]


def test_seeds_differ_in_their_checkpoints(seeded: tuple[Toy, Run]) -> None:
    toy, _ = seeded
    assert 3 == len(list(toy.artifacts.glob("toy/moody/checkpoint-*/shipbench.json")))


def test_a_seed_whose_training_failed_is_named_and_costs_no_result(seeded: tuple[Toy, Run]) -> None:
    toy, run = seeded
    (note,) = [note for note in toy.results["toy/moody.numpy.cpu"].notes if note.startswith("seed ")]
    assert "seed 1 has no score: toy/moody: training diverged" in note
    assert f"toy/moody: {note}" in run.out


def test_the_spread_of_seeds_stands_beside_what_backends_differ_by(seeded: tuple[Toy, Run]) -> None:
    toy, run = seeded
    low, high = sorted(seed.score or 0.0 for seed in toy.results["toy/moody.pytorch.cpu"].seeds[:2])
    said = re.escape(f"Fine-tuned with 2 of 3 seeds, the reference scores {low:.4f} to {high:.4f}: ")
    said += r"\d+\.\d\d points apart \(standard deviation \d+\.\d\d\); "
    said += r"backends of one fine-tuning differ from it by \d+\.\d\d at most\."
    assert re.search(f"^{said}$", run.text, re.MULTILINE)
    assert re.search(f"^- {said}$", (toy.folder / "results/local/comparison.md").read_text(), re.MULTILINE)


def test_a_collapsed_seed_is_named_with_the_label_it_gives(seeded: tuple[Toy, Run]) -> None:
    _, run = seeded
    said = r"^Fine-tuning with seed 3 collapsed: score 0\.\d{4}, and every answer is '\w+'\.$"
    assert 2 == len(re.findall(said, run.text, re.MULTILINE))  # once under each model


def test_a_collapsed_run_that_was_measured_says_so_where_it_fails(seeded: tuple[Toy, Run]) -> None:
    toy, run = seeded
    assert [3, 4, 5, 6] == [seed.seed for seed in toy.results["toy/dull.pytorch.cpu"].seeds]
    _, _, told = run.text.partition("toy/dull.pytorch.cpu\n  score ")
    assert re.match(r".*\n\s+seed 3 collapsed: score 0\.\d{4}, and every answer is ", told)


@pytest.mark.parametrize("number", [0, -1])
def test_fewer_than_one_seed_is_refused(number: int, toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    run = toy.run("test_toy.py", f"--ship-seeds={number}")
    assert pytest.ExitCode.USAGE_ERROR == run.status
    assert f"--ship-seeds {number}: must be positive" in run.text


# ---------------------------------------------------------------------------------------------- the command floors


def floors(toy: Toy, *words: str) -> Run:
    return toy.command("harness", "floors", *words, f"--ship-artifacts={toy.artifacts}")


@pytest.fixture
def proposed(once: Once, seeded: tuple[Toy, Run]) -> tuple[Toy, Run]:
    """Floors for one model of that suite, from the checkpoints that are there already and one more."""

    def make(toy: Toy) -> Run:
        toy.copy("seeded.py", "own.py", "moody.py")
        there = Toy(toy.folder, seeded[0].artifacts, toy.pytester)
        return floors(there, "test_toy.py", "--seeds=5", "-k", "moody")

    return once("proposed", make)


def test_the_command_prints_a_floor_beside_the_present_one(proposed: tuple[Toy, Run]) -> None:
    _, run = proposed
    assert 0 == run.status
    (line,) = [line for line in run.out if line.startswith("toy ")]
    fields = line.split(maxsplit=11)
    assert ["toy", "moody", "3"] == fields[:3]
    lowest, middle, highest, _, bound, allowed, floor, present = map(float, fields[3:11])
    assert lowest <= middle <= highest
    assert floor <= min(lowest, bound - allowed)
    assert (0.1, 0.9) == (allowed, present)
    assert "provisional: under 10 seeds" == fields[11]


def test_the_command_names_what_collapsed_and_what_failed(proposed: tuple[Toy, Run]) -> None:
    _, run = proposed
    assert re.search(r"^toy/moody: seed 3 collapsed: .*; it is left out of the proposal$", run.text, re.MULTILINE)
    assert re.search(r"^toy/moody: seed 1 has no score: .*training diverged", run.text, re.MULTILINE)


def test_the_command_trains_no_seed_twice(proposed: tuple[Toy, Run], seeded: tuple[Toy, Run]) -> None:
    assert 4 == len(list(seeded[0].artifacts.glob("toy/moody/checkpoint-*/shipbench.json")))
    assert not (proposed[0].folder / "results").exists()


def test_one_seed_gives_no_floor_but_the_reason(proposed: tuple[Toy, Run], seeded: tuple[Toy, Run], toy: Toy) -> None:
    toy.copy("seeded.py", "own.py", "moody.py")
    run = floors(Toy(toy.folder, seeded[0].artifacts, toy.pytester), "test_toy.py", "--seeds=1", "-k", "moody")
    assert 0 == run.status
    assert "toy/moody: no floor: a spread takes 3 seeds, and 1 count" in run.out


BAD = {
    "a suite that is not there": (["test_nowhere.py"], "test_nowhere.py: no such suite"),
    "a -k that selects nothing": (["test_toy.py", "-k", "nobody"], "test_toy.py: no case matches -k 'nobody'"),
    "a -k that is no expression": (["test_toy.py", "-k", "not ("], "Wrong expression passed to '-k': not ("),
    "no seed": (["test_toy.py", "--seeds=0"], "--seeds 0: must be positive"),
    "a number of seeds that is none": (["test_toy.py", "--seeds=many"], "invalid int value: 'many'"),
    "more threads than cores": (["test_toy.py", "--ship-threads=5000"], "--ship-threads 5000: this process may use"),
    "a file without cases": (["own.py"], "own.py: no case in it"),
    "a suite that does not import": (["test_broken.py"], "no_such_module"),
    "a model that is not there": (["test_lost.py"], "nowhere.py"),
}


@pytest.fixture
def careless(toy: Toy) -> Toy:
    toy.copy("seeded.py", "own.py", "moody.py")
    (toy.folder / "test_broken.py").write_text("import no_such_module\n")
    suite = (toy.folder / "test_toy.py").read_text()
    (toy.folder / "test_lost.py").write_text(suite.replace("moody.py:Moody", "nowhere.py:Moody"))
    return toy


@pytest.mark.parametrize("mistake", BAD)
def test_bad_input_is_named_and_nothing_is_trained(mistake: str, careless: Toy) -> None:
    words, said = BAD[mistake]
    alone = Toy(careless.folder, careless.folder / "artifacts", careless.pytester)
    run = floors(alone, *words)
    assert (2 if mistake == "a number of seeds that is none" else 4) == run.status
    assert said in run.text
    assert "Traceback" not in "".join(run.err[:1])
    assert not alone.artifacts.exists()


def test_collecting_finds_every_case_with_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    found = collect("suites/test_digits.py", "cpu")
    assert {"digits"} == {case.task.name for case, _ in found.cases}
    assert {REPOSITORY / "suites"} == {folder for _, folder in found.cases}
    assert REPOSITORY / ".artifacts" == found.artifacts


def test_collecting_says_nothing(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_a():\n    pass\n")
    with pytest.raises(HarnessError, match="no case in it"):
        collect(str(tmp_path))
    assert ("", "") == capfd.readouterr()
