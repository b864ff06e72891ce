"""Predictions are collected row by row, refused if they are not numbers, and read back unchanged."""

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from answers import images, windows
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from harness.errors import HarnessError, WorkerError
from harness.evaluation import predictions, probes
from harness.evaluation.predictions import ALONE, ASKED_TWICE
from harness.measure.client import Answer
from harness.metrics import Metric
from harness.util.console import Progress


@dataclass
class Toy:
    """Answers like a worker, without a process: `function` of a batch's images."""

    function: object
    name: str = "toy"
    batches: list = field(default_factory=list)
    timeout_s: float = 60.0

    def put(self, batch):
        self.batches.append(batch["pixel_values"])

    def run(self, loops=1):
        outputs = self.function(self.batches[-1])
        return Answer(began_ns=0, ended_ns=1, cpu_ns=1, switches=0, peak_rss_bytes=1, outputs=outputs)

    def repeat(self, parts, calls):
        return [100] * (parts + 1)


def honest(pixels):
    """Two logits per row that depend on the row alone."""
    mean = pixels.reshape(len(pixels), -1).mean(axis=1)
    return {"logits": np.stack([mean, 1 - mean], axis=1).astype(np.float32)}


RNG = np.random.default_rng(0)
LOGITS = honest(images().batch(range(20))["pixel_values"])["logits"]
TRUTH = LOGITS.argmax(axis=1).tolist()
ACCURACY = [Metric("accuracy")]
METRICS = [*ACCURACY, Metric("off-by-one-accuracy", (0, 1))]
WRONG = [1 - label for label in TRUTH[:5]] + TRUTH[5:]


@pytest.fixture(autouse=True)
def no_memory_probe(monkeypatch):
    monkeypatch.setattr(probes, "check_memoization", lambda name, shapes, time_ns: "")


def collect(folder, worker, inputs=None, labels=TRUTH, metrics=ACCURACY):
    inputs = inputs or images(labels=labels)
    info = predictions.collect(worker, inputs, metrics, folder, Progress(), "forgetful")
    return predictions.read(folder, json.loads(json.dumps(info)))


def test_rows_run_alone_and_probes_together(tmp_path):
    worker = Toy(honest)
    evaluation = collect(tmp_path, worker)
    assert [*[1] * 20, 2, 16, *[1] * ASKED_TWICE, 1, 1] == [len(batch) for batch in worker.batches]
    np.testing.assert_array_equal(LOGITS, np.concatenate([row["logits"] for row in evaluation.single]))
    assert [(1, 2)] * 18 == [entry["logits"].shape for entry in evaluation.padded]
    assert (TRUTH, 1.0) == (evaluation.predictions, evaluation.score)


def test_rows_beyond_the_first_are_answered_in_batches(tmp_path):
    worker, inputs = Toy(honest), images(rows=150, labels=[0] * 150)
    evaluation = collect(tmp_path, worker, inputs)
    assert [*[1] * ALONE, *[16] * 9, 6, 2, 16] == [len(batch) for batch in worker.batches[: ALONE + 12]]
    expected = honest(inputs.batch(range(150))["pixel_values"])["logits"]
    np.testing.assert_allclose(expected, np.concatenate([row["logits"] for row in evaluation.single]))


def honest_alone(pixels):
    """Logits that depend on the whole batch, as with activations scaled to int8 together."""
    return {"logits": honest(pixels)["logits"] + 0.01 * (len(pixels) - 1)}


def test_backend_that_batches_otherwise_answers_every_row_alone(tmp_path):
    worker, inputs = Toy(honest_alone), images(rows=150, labels=[0] * 150)
    evaluation = collect(tmp_path, worker, inputs)
    assert [*[1] * ALONE, 16, *[1] * (150 - ALONE)] == [len(batch) for batch in worker.batches[:151]]
    expected = honest(inputs.batch(range(150))["pixel_values"])["logits"]
    np.testing.assert_allclose(expected, np.concatenate([row["logits"] for row in evaluation.single]))


def test_checks_that_were_impossible_are_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(probes, "check_memoization", lambda name, shapes, time_ns: f"{name}: {len(shapes)} rows")
    assert ("toy: 20 rows",) == collect(tmp_path, Toy(honest)).unchecked


def test_score_is_the_tasks_metric_and_others_follow(tmp_path):
    evaluation = collect(tmp_path, Toy(honest), labels=WRONG, metrics=METRICS)
    assert (0.75, {"off-by-one-accuracy": 1.0}) == (evaluation.score, evaluation.other_scores)


def test_undefined_score_is_read_back_as_none(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "score", lambda *arguments: float("nan"))
    assert collect(tmp_path, Toy(honest)).score is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_output_that_is_not_finite_names_its_row(tmp_path, bad):
    third = images().encoded.examples[3][0]["pixel_values"]

    def sick(pixels):
        outputs = honest(pixels)
        outputs["logits"][[np.array_equal(image, third) for image in pixels], 0] = bad
        return outputs

    with pytest.raises(WorkerError, match="toy: logits of test row 3 holds NaN or infinity"):
        collect(tmp_path, Toy(sick))


def test_nan_of_the_reference_is_laid_to_the_model(tmp_path):
    sick = Toy(lambda pixels: {"logits": np.full((len(pixels), 2), np.nan)}, name="pytorch")
    with pytest.raises(WorkerError, match=r"row \d+ holds NaN or infinity; the model itself gives it, before any ex"):
        collect(tmp_path, sick)


def dropout(pixels):
    """Logits of a model whose dropout is left on."""
    return {"logits": honest(pixels)["logits"] * (RNG.random((len(pixels), 2)) > 0.3) / 0.7}


@pytest.mark.parametrize(
    ("name", "blamed"),
    [("pytorch", "the model forgetful itself is random, not an export"), ("own", "this backend or its build")],
)
def test_answers_that_do_not_repeat_are_refused(tmp_path, name, blamed):
    with pytest.raises(HarnessError, match=f"{name} answers test row .* differently when asked again.*{blamed}"):
        collect(tmp_path, Toy(dropout, name=name))


def test_state_kept_from_row_to_row_is_refused(tmp_path):
    seen = []

    def stateful(pixels):
        seen.append(pixels)
        return {"logits": honest(pixels)["logits"] + 0.01 * len(seen)}

    with pytest.raises(HarnessError, match=r"row \d+ differently .* logits differs by 0\.\d+ .*state kept"):
        collect(tmp_path, Toy(stateful, name="pytorch"))


def test_repeated_answers_may_differ_by_rounding(tmp_path):
    rng = np.random.default_rng(0)
    noisy = Toy(lambda pixels: {"logits": honest(pixels)["logits"] + rng.normal(0, 1e-5, (len(pixels), 2))})
    assert 20 == len(collect(tmp_path, noisy).single)


def test_wrong_number_of_output_rows_is_refused(tmp_path):
    with pytest.raises(WorkerError, match="toy: logits has 1 rows for a batch of 2"):
        collect(tmp_path, Toy(lambda pixels: {"logits": honest(pixels)["logits"][:1]}))


@pytest.mark.parametrize(("outputs", "named"), [((), "nothing"), (("scores",), "scores")])
def test_classifier_without_logits_is_refused(tmp_path, outputs, named):
    def mute(pixels):
        return {name: np.zeros((len(pixels), 2)) for name in outputs}

    with pytest.raises(HarnessError, match=f"{named}; this kind reads"):
        collect(tmp_path, Toy(mute))


def test_progress_bar_counts_rows(tmp_path):
    stages = []

    class Recording(Progress):
        @contextmanager
        def bar(self, label, total):
            with super().bar(label, total) as stage:
                stages.append(stage)
                yield stage

    predictions.collect(Toy(honest), images(150, [0] * 150), ACCURACY, tmp_path, Recording(), "toy")
    assert [("answers of toy", 150, 150)] == [(stage.label, stage.total, stage.done) for stage in stages]


def test_row_of_several_windows_is_one_row(tmp_path):
    counts, worker = [1, 3, 2] * 6, Toy(lambda pixels: {"logits": np.ones((len(pixels), 1), dtype=np.float32)})
    evaluation = collect(tmp_path, worker, windows(counts))
    assert counts == [len(row["logits"]) for row in evaluation.single] == evaluation.predictions
    sizes = [len(batch) for batch in worker.batches[:20]]
    assert (sorted(counts), [sum(counts[:2]), sum(counts[:16])]) == (sorted(sizes[:18]), sizes[18:])
    assert 1.0 == evaluation.score


@st.composite
def tables(draw):
    """Rows with the same names, numbers of axes and types, each in shapes of its own."""
    names = draw(st.lists(st.sampled_from(["logits", "sequences", "a b", "ä"]), min_size=1, max_size=3, unique=True))
    types = st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_])
    forms = {name: (draw(types), draw(st.integers(0, 3))) for name in names}

    def array(kind, axes):
        shape = arrays_of.array_shapes(min_dims=axes, max_dims=axes, min_side=0, max_side=3) if axes else ()
        return draw(arrays_of.arrays(kind, shape))

    return [{name: array(*form) for name, form in forms.items()} for _ in range(draw(st.integers(0, 4)))]


def round_trip(rows):
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.safetensors"
        predictions.save_rows(rows, file)
        return predictions.load_rows(file)


@settings(max_examples=80)
@given(tables())
def test_saved_rows_come_back_unchanged(rows):
    loaded = round_trip(rows)
    assert len(rows) == len(loaded)
    for row, back in zip(rows, loaded, strict=True):
        assert set(row) == set(back)
        for name, values in row.items():
            assert (values.dtype, values.shape) == (back[name].dtype, back[name].shape)
            np.testing.assert_array_equal(values, back[name])


def test_array_that_is_not_contiguous_is_saved_as_it_reads():
    values = np.arange(6).reshape(2, 3)
    (row,) = round_trip([{"turned": values.T[::-1]}])
    np.testing.assert_array_equal(values.T[::-1], row["turned"])
