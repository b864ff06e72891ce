"""Laws of answers: collected row by row, held against others, and refused where they are not what was scored."""

import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.kind import ABSOLUTE, ELEMENTWISE, RELATIVE, EncodedRows
from harness.data.inputs import Inputs, split_rows
from harness.errors import HarnessError, WorkerError
from harness.evaluation import parity
from harness.evaluation import predictions as predictions_module
from harness.evaluation.parity import check_parity, check_timed, compare_answers
from harness.evaluation.predictions import Scored, read
from harness.kinds import image_classification, text_classification
from harness.measure.client import Answer
from harness.stats.intervals import resampled
from harness.util.console import Progress

LAW = settings(max_examples=80)


@dataclass
class Toy:
    """Answers like a worker, without a process: `function` of a batch's images."""

    function: object
    name: str = "toy"
    seen: list = field(default_factory=list)

    def put(self, batch):
        self.seen.append(batch["pixel_values"])

    def run(self, loops=1):
        return Answer(
            began_ns=0, ended_ns=1, cpu_ns=1, switches=0, peak_rss_bytes=1, outputs=self.function(self.seen[-1])
        )


def honest(images):
    """Two logits a row that depend on the row alone."""
    middle = images.reshape(len(images), -1).mean(axis=1)
    return {"logits": np.stack([middle, 1 - middle], axis=1).astype(np.float32)}


def inputs(rows=20, labels=()):
    images = np.random.default_rng(0).random((rows, 1, 2, 2), dtype=np.float32)
    return of_examples(image_classification, [[{"pixel_values": image}] for image in images], labels)


def of_examples(kind, examples, labels=()):
    return Inputs(kind, EncodedRows(None, [{"label": label} for label in labels], ("column",), examples))


def truth(rows=20):
    return honest(inputs(rows).batch(range(rows))["pixel_values"])["logits"].argmax(axis=1).tolist()


def collect(folder, worker, rows=20, labels=None, metrics=("accuracy",)):
    info = predictions_module.collect(worker, inputs(rows, labels or truth(rows)), metrics, folder, Progress())
    return read(folder, json.loads(json.dumps(info)))


def by_row(logits):
    """Outputs of rows that take one entry each."""
    return [{"logits": np.asarray(row)[None]} for row in logits]


def scored(single=None, padded=None, predictions=(0, 1), score=1.0):
    logits = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    return Scored(
        single=by_row(logits if single is None else single),
        padded=by_row(logits if padded is None else padded),
        predictions=list(predictions),
        score=score,
        others={},
    )


# Inputs


def test_a_batch_holds_the_rows_that_were_asked_for_in_their_order():
    several = inputs()
    found = several.batch([3, 1, 3])["pixel_values"]
    assert (3, 1, 2, 2) == found.shape
    np.testing.assert_array_equal(several.asked.examples[1][0]["pixel_values"], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize(
    ("rows", "sizes"), [(1, []), (2, [2]), (15, [2]), (16, [2, 16]), (100, [2, 16])], ids=lambda value: str(value)
)
def test_probes_are_the_batches_that_the_test_rows_can_fill(rows, sizes):
    given = inputs(rows)
    for expected, found in zip(sizes, given.probes(), strict=True):
        np.testing.assert_array_equal(given.batch(range(expected))["pixel_values"], found["pixel_values"])


def texts(lengths, axes=("batch", "sequence")):
    """Rows of tokens, padded on the right with zeros and a mask."""

    def collate(processor, rows):
        longest = max(len(row["input_ids"]) for row in rows)
        return {
            name: np.array([[*row[name], *[0] * (longest - len(row[name]))] for row in rows], dtype=np.int64)
            for name in ("input_ids", "attention_mask")
        }

    kind = replace(text_classification, collate=collate, axes=axes)
    return of_examples(kind, [[{"input_ids": [5] * length, "attention_mask": [1] * length}] for length in lengths])


def test_rows_that_are_all_equally_long_are_cut_so_that_something_is_padded():
    whole, more, cut = texts([96] * 20).probes()
    assert [(2, 96), (16, 96), (16, 48)] == [batch["input_ids"].shape for batch in (whole, more, cut)]
    lengths = cut["attention_mask"].sum(axis=1).tolist()
    assert 8 == min(lengths)
    assert 48 == max(lengths)
    assert lengths == sorted(set(lengths))


@pytest.mark.parametrize(
    ("lengths", "wanted"),
    [([40] * 3, [8, 14, 20]), ([3, 40], [3, 20]), ([40], [8]), ([8, 16], None), ([1], None)],
    ids=str,
)
def test_no_row_is_cut_shorter_than_eight_or_a_real_one_and_none_where_that_leaves_no_choice(lengths, wanted):
    *_, last = texts(lengths).probes() or [None]
    if wanted is None:
        assert last is None or 16 == last["input_ids"].shape[1]
    else:
        assert wanted == last["attention_mask"].sum(axis=1).tolist()


def test_rows_without_a_length_are_not_cut():
    assert [(2, 96), (16, 96)] == [b["input_ids"].shape for b in texts([96] * 20, axes=("batch",)).probes()]


# Collecting


def test_every_row_is_answered_alone_and_the_probes_together(tmp_path):
    worker = Toy(honest)
    collect(tmp_path, worker)
    assert [1] * 20 + [2, 16] == [len(batch) for batch in worker.seen]


def test_what_was_collected_is_read_back(tmp_path):
    found = collect(tmp_path, Toy(honest))
    np.testing.assert_array_equal(
        honest(inputs().batch(range(20))["pixel_values"])["logits"],
        np.concatenate([row["logits"] for row in found.single]),
    )
    assert [(1, 2)] * 18 == [entry["logits"].shape for entry in found.padded]
    assert truth() == found.predictions
    assert 1.0 == found.score


def test_the_score_is_the_metric_of_the_predictions(tmp_path):
    wrong = [1 - label for label in truth()[:5]] + truth()[5:]
    assert 0.75 == collect(tmp_path, Toy(honest), labels=wrong).score


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_is_refused_with_its_row(tmp_path, bad):
    third = inputs().asked.examples[3][0]["pixel_values"]

    def sick(images):
        found = honest(images)
        found["logits"][[np.array_equal(image, third) for image in images], 0] = bad
        return found

    with pytest.raises(WorkerError, match="toy: logits of test row 3 holds NaN or infinity"):
        collect(tmp_path, Toy(sick))


def test_an_answer_for_another_number_of_rows_is_refused(tmp_path):
    def early(images):
        return {"logits": honest(images)["logits"][:1]}

    with pytest.raises(WorkerError, match="toy: logits has 1 rows for a batch of 2"):
        collect(tmp_path, Toy(early))


@pytest.mark.parametrize(("outputs", "named"), [({}, "nothing"), ({"scores": np.zeros((1, 2))}, "scores")])
def test_a_classifier_without_logits_is_refused(tmp_path, outputs, named):
    def mute(images):
        return {name: np.zeros((len(images), 2)) for name in outputs}

    with pytest.raises(HarnessError, match=f"the backend answered {named}; this kind reads `logits`"):
        collect(tmp_path, Toy(mute))


def test_a_tie_goes_to_the_first_label():
    assert [0, 1] == image_classification.predict(inputs(2).asked, by_row([[2.0, 2.0], [1.0, 2.0]]))


def test_a_bar_is_told_of_every_row(tmp_path):
    @dataclass
    class Counting:
        label: str = ""
        total: int = 0
        updates: int = 0

        @contextmanager
        def bar(self, label, total):
            self.label, self.total = label, total
            yield self

        def update(self):
            self.updates += 1

    progress = Counting()
    predictions_module.collect(Toy(honest), inputs(labels=truth()), ("accuracy",), tmp_path, progress)
    assert ("answers of toy", 20, 20) == (progress.label, progress.total, progress.updates)


def test_other_metrics_are_told_beside_the_first(tmp_path):
    wrong = [1 - label for label in truth()[:5]] + truth()[5:]
    found = collect(tmp_path, Toy(honest), labels=wrong, metrics=("accuracy", "off-by-one-accuracy"))
    assert (0.75, {"off-by-one-accuracy": 1.0}) == (found.score, found.others)


def windows(counts):
    """Rows of so many windows each."""
    images = iter(np.random.default_rng(0).random((sum(counts), 1, 2, 2), dtype=np.float32))
    examples = [[{"pixel_values": next(images)} for _ in range(count)] for count in counts]
    kind = replace(image_classification, predict=lambda asked, outputs: [int(row["logits"].sum()) for row in outputs])
    return of_examples(kind, examples, labels=counts)


def test_a_row_of_several_windows_is_one_row_with_several_entries(tmp_path):
    counts, worker = [1, 3, 2] * 6, Toy(lambda images: {"logits": np.ones((len(images), 1), dtype=np.float32)})
    info = predictions_module.collect(worker, windows(counts), ("accuracy",), tmp_path, Progress())
    found = read(tmp_path, json.loads(json.dumps(info)))
    assert counts == [len(row["logits"]) for row in found.single] == found.predictions
    assert [*counts, sum(counts[:2]), sum(counts[:16])] == [len(batch) for batch in worker.seen]
    assert 1.0 == found.score


def test_a_batch_is_split_where_its_rows_begin():
    given = windows([2, 1, 3])
    outputs = {"logits": np.arange(6)[:, None]}
    found = split_rows(outputs, given.entries([2, 0, 1]))
    assert [[0, 1, 2], [3, 4], [5]] == [row["logits"][:, 0].tolist() for row in found]


def test_every_probed_entry_is_called_by_its_row():
    given = windows([2, 1] * 10)
    called = given.probed()
    entries = [len(next(iter(batch.values()))) for batch in given.probes()]
    assert [3, 24] == entries
    assert ["0 in a padded batch"] * 2 + ["1 in a padded batch"] == called[:3]
    assert "15 in a padded batch" == called[sum(entries) - 1]


# Parity


def test_equal_answers_are_at_parity():
    check_parity(scored(), scored(), "pytorch", texts([96] * 2))


@LAW
@given(st.floats(-100, 100), st.floats(-2, 2), st.sampled_from(["alone", "padded"]))
def test_parity_is_a_tolerance_of_absolute_and_relative_size(value, share, where):
    allowed = ABSOLUTE + RELATIVE * abs(value)
    logits = np.array([[value, 0.0], [0.0, 1.0]])
    other = logits + np.array([[share * allowed, 0.0], [0.0, 0.0]])
    own, source = (scored(other), scored(logits)) if where == "alone" else (scored(None, other), scored(None, logits))
    if abs(share) < 0.999:
        check_parity(own, source, "pytorch", texts([96] * 2))
    elif abs(share) > 1.001:
        with pytest.raises(HarnessError, match="does not answer as pytorch does"):
            check_parity(own, source, "pytorch", texts([96] * 2))


def test_a_difference_is_told_with_its_size_and_its_row():
    source = np.zeros((20, 2), dtype=np.float32)
    own = source.copy()
    own[4] = 0.25
    own[7] = 0.5
    said = (
        r"the export does not answer as pytorch does: logits differs by up to 0\.5 \(allowed 0\.001 \+ 0\.001 of the "
        r"value\), worst at test row 7 alone; 2 of 20 rows differ"
    )
    with pytest.raises(HarnessError, match=said):
        check_parity(scored(own), scored(source), "pytorch", texts([96] * 20))


@pytest.mark.parametrize(
    ("at", "row"), [(0, 0), (1, 1), (2, 0), (5, 3), (17, 15), (18, "0 cut short"), (33, "15 cut short")]
)
def test_a_difference_in_a_padded_batch_is_told_with_its_test_row(at, row):
    single, source = np.zeros((20, 2)), np.zeros((34, 2), dtype=np.float32)
    own = source.copy()
    own[at, 1] = 1
    with pytest.raises(HarnessError, match=rf"worst at test row {row} in a padded batch; 1 of 34 rows differ"):
        check_parity(scored(single, own), scored(single, source), "pytorch", texts([96] * 20))


def test_nan_is_at_parity_with_nothing():
    sick = np.array([[np.nan, 0.0], [0.0, 1.0]])
    for own, source in ((scored(sick), scored()), (scored(), scored(sick))):
        with pytest.raises(HarnessError, match="does not answer as pytorch does: logits"):
            check_parity(own, source, "pytorch", texts([96] * 2))


@pytest.mark.parametrize("own", [{}, {"hidden": np.zeros((1, 3))}], ids=["none", "others"])
def test_an_export_without_an_output_of_its_source_is_not_at_parity(own):
    with pytest.raises(HarnessError, match="the export does not answer as pytorch does"):
        check_parity(Scored([own] * 2, [own] * 2, [0, 1], 1.0, {}), scored(), "pytorch", texts([96] * 2))


def test_an_output_of_another_shape_is_not_at_parity():
    flat = scored(np.zeros((2, 1)), np.zeros((2, 1)))
    wide = scored(np.zeros((2, 5)), np.zeros((2, 5)))
    with pytest.raises(HarnessError, match="the export does not answer as pytorch does"):
        check_parity(flat, wide, "pytorch", texts([96] * 2))


def test_the_largest_difference_is_over_both_shapes():
    logits = np.concatenate([row["logits"] for row in scored().single])
    assert 0.0 == parity.largest_difference(scored(), scored(), ELEMENTWISE)
    assert 0.5 == parity.largest_difference(scored(logits - 0.5, logits + 0.25), scored(), ELEMENTWISE)
    assert 0.75 == parity.largest_difference(scored(logits - 0.5, logits + 0.75), scored(), ELEMENTWISE)


def generated(*rows):
    """Rows of tokens, each as long as it came out."""
    single = [{"sequences": np.array([row])} for row in rows]
    return Scored(single=single, padded=[], predictions=[0] * len(rows), score=1.0, others={})


def test_generated_text_may_differ_in_one_row_of_a_hundred():
    source = generated(*[[0, 5, 7, 1]] * 200)
    for wrong, passes in ((2, True), (3, False)):
        own = generated(*[[0, 5, 7, 8, 1]] * wrong, *[[0, 5, 7, 1]] * (200 - wrong))
        assert 1.0 == parity.largest_difference(own, source, ELEMENTWISE)
        if passes:
            check_parity(own, source, "pytorch", texts([96] * 200))
        else:
            said = r"sequences differs by up to 1 \(allowed no token, but in one row of 100\).*; 3 of 200 rows differ"
            with pytest.raises(HarnessError, match=said):
                check_parity(own, source, "pytorch", texts([96] * 200))


# What was timed


def test_rows_generated_together_may_end_sooner_or_later():
    known = generated([0, 5, 1], [0, 6, 7, 1])
    check_timed("toy", known, [0, 1], {"sequences": np.zeros((2, 7), dtype=np.int64)})
    with pytest.raises(WorkerError, match="what was timed is not what was scored"):
        check_timed("toy", known, [0, 1], {"sequences": np.zeros((1, 7), dtype=np.int64)})


def test_a_row_that_is_generated_alone_is_the_one_that_was_scored():
    known = generated([0, 5, 1], [0, 6, 7, 1])
    check_timed("toy", known, [1], {"sequences": np.array([[0, 6, 7, 1]])})
    for other in ([[0, 6, 6, 1]], [[0, 6, 7, 1, 1]]):
        with pytest.raises(WorkerError, match="toy: what was timed is not what was scored"):
            check_timed("toy", known, [1], {"sequences": np.array(other)})


def test_the_answer_that_was_scored_passes():
    check_timed("toy", scored(), [1], {"logits": np.array([[0.0, 1.0]])})


def test_another_rows_answer_is_refused():
    said = "toy: what was timed is not what was scored: logits of test row 1 differs by 1"
    with pytest.raises(WorkerError, match=said):
        check_timed("toy", scored(), [1], {"logits": np.array([[1.0, 0.0]])})


def test_a_timed_answer_that_is_no_number_is_refused():
    with pytest.raises(WorkerError, match="what was timed is not what was scored"):
        check_timed("toy", scored(), [1], {"logits": np.array([[np.nan, 1.0]])})


@pytest.mark.parametrize(
    "outputs",
    [
        {},
        {"other": np.zeros((1, 2))},
        {"logits": np.zeros((0, 2))},
        {"logits": np.array([[0.0, 1.0], [0.0, 1.0]])},
        {"logits": np.array([[0.0, 1.0, 2.0]])},
        {"logits": np.array(0.0)},
    ],
    ids=["nothing", "another output", "no rows", "too many rows", "another width", "a scalar"],
)
def test_a_timed_answer_of_another_form_is_refused(outputs):
    with pytest.raises(WorkerError, match="toy: what was timed is not what was scored"):
        check_timed("toy", scored(), [1], outputs)


@pytest.mark.parametrize(
    "outputs",
    [{}, {"logits": np.zeros((1, 2))}, {"logits": np.full((2, 2), np.nan)}],
    ids=["nothing", "too few rows", "no numbers"],
)
def test_a_timed_batch_of_another_form_is_refused(outputs):
    """Padding changes a batch's values a little, but not its form."""
    with pytest.raises(WorkerError, match="toy: what was timed is not what was scored"):
        check_timed("toy", scored(), [0, 1], outputs)


# Counts


labelled = st.integers(1, 60).flatmap(
    lambda rows: st.tuples(*[st.lists(st.integers(0, 2), min_size=rows, max_size=rows)] * 4)
)


def of(predictions, truth_of_all):
    hits = sum(mine == label for mine, label in zip(predictions, truth_of_all, strict=True))
    return scored(predictions=predictions, score=hits / len(truth_of_all))


@LAW
@given(labelled)
def test_lost_and_gained_rows_are_what_the_scores_differ_by(rows):
    own, reference, source, labels = rows
    found = compare_answers(
        of(own, labels), of(reference, labels), of(source, labels), "onnxruntime", inputs(labels=labels), "accuracy"
    )
    assert pytest.approx((found.gained - found.lost) / len(labels)) == found.score - found.reference_score
    assert len(labels) == found.rows
    assert 0 <= found.lost + found.gained <= round((1 - found.agreement) * len(labels))
    assert "onnxruntime" == found.compared_with


@LAW
@given(labelled)
def test_lost_and_gained_change_places_with_the_arms(rows):
    own, reference, source, labels = rows
    there = compare_answers(
        of(own, labels), of(reference, labels), of(source, labels), "x", inputs(labels=labels), "accuracy"
    )
    back = compare_answers(
        of(reference, labels), of(own, labels), of(source, labels), "x", inputs(labels=labels), "accuracy"
    )
    assert (there.lost, there.gained, there.agreement) == (back.gained, back.lost, back.agreement)


@LAW
@given(labelled)
def test_against_itself_nothing_is_lost(rows):
    own, _, _, labels = rows
    found = compare_answers(*[of(own, labels)] * 3, "pytorch", inputs(labels=labels), "accuracy")
    assert (0, 0, 1.0, 0, 0, 1.0, 0.0) == (
        found.lost,
        found.gained,
        found.agreement,
        found.source_lost,
        found.source_gained,
        found.source_agreement,
        found.largest_difference,
    )


def test_the_artifact_it_was_built_from_has_counts_of_its_own():
    labels = [0, 0, 0, 0, 1]
    own, reference, source = of([0, 0, 1, 1, 0], labels), of([0, 0, 0, 0, 1], labels), of([0, 0, 1, 0, 2], labels)
    found = compare_answers(own, reference, source, "onnxruntime", inputs(labels=labels), "accuracy")
    assert (3, 0, 0.4) == (found.lost, found.gained, found.agreement)
    assert (1, 0, 0.6) == (found.source_lost, found.source_gained, found.source_agreement)


@LAW
@given(labelled)
def test_every_row_is_on_record_as_right_or_wrong(rows):
    own, _, _, labels = rows
    found = compare_answers(*[of(own, labels)] * 3, "pytorch", inputs(labels=labels), "accuracy")
    assert [mine == label for mine, label in zip(own, labels, strict=True)] == [right == "1" for right in found.right]
    assert len(labels) == len(found.right)


def test_a_metric_that_is_no_mean_over_rows_has_bounds_by_bootstrap(monkeypatch):
    monkeypatch.setattr("harness.evaluation.score.resampled", partial(resampled, resamples=100))
    labels = [0, 1] * 30
    own = of([0, 1] * 28 + [1, 0] * 2, labels)
    reference = of(labels, labels)
    found = compare_answers(own, reference, own, "onnxruntime", inputs(labels=labels), "f1-macro")
    assert found.bounds.low < reference.score - own.score < found.bounds.high
    assert found.source_bounds.low < 0 < found.source_bounds.high
    assert found.score_bounds.low < own.score < found.score_bounds.high
    exact = compare_answers(own, reference, own, "onnxruntime", inputs(labels=labels), "accuracy")
    assert (None, None) == (exact.bounds, exact.score_bounds)


@pytest.mark.parametrize("whose", ["own", "reference", "source"])
def test_an_undefined_score_stays_undefined_and_has_no_bounds(whose):
    labels = [0, 1, 1, 0]
    known = {name: of(labels, labels) for name in ("own", "reference", "source")}
    known[whose] = scored(predictions=labels, score=None)
    found = compare_answers(
        known["own"], known["reference"], known["source"], "onnxruntime", inputs(labels=labels), "f1-macro"
    )
    scores = {"own": found.score, "reference": found.reference_score, "source": found.source_score}
    assert [whose] == [name for name, score in scores.items() if score is None]
    assert (whose in ("own", "reference")) == (found.bounds is None)
    assert (whose in ("own", "source")) == (found.source_bounds is None)
    assert (whose == "own") == (found.score_bounds is None)


def test_a_score_that_is_no_number_is_read_back_as_none(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions_module, "score", lambda *told: float("nan"))
    assert collect(tmp_path, Toy(honest)).score is None


def test_answers_in_another_order_are_refused():
    # Two rows at once, each with the other's logits.
    known = scored()
    for rows in ([0], [1]):
        swapped = known.single[1 - rows[0]]["logits"]
        with pytest.raises(WorkerError, match=rf"what was timed is not what was scored: logits of test row {rows[0]}"):
            check_timed("toy", known, rows, {"logits": swapped})


def test_answers_of_another_number_of_rows_are_never_compared():
    with pytest.raises(ValueError, match="zip"):
        compare_answers(*[scored(predictions=[0, 1])] * 3, "pytorch", inputs(labels=[0, 1, 1]), "accuracy")
