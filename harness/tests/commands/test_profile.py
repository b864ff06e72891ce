"""`shipbench profile`: operators and rates of tiny models, and bad input."""

import math
import os
import re

import numpy as np
import pytest
import tiny_models

from conftest import Toy
from harness import Model, Package, Task, cases
from harness.backends import (
    ONNXRUNTIME,
    ONNXRUNTIME_INT8,
    OPENVINO,
    PYTORCH,
    by_length,
    onnx_quantization,
    onnxruntime_at,
)
from harness.commands import answer_profile, profiling
from harness.commands.answer_profile import Profile, count_operations, product_format
from harness.commands.profiling import report
from harness.contracts.backend import Session, Target
from harness.errors import HarnessError
from harness.kinds import text_classification
from harness.selftest.toys import truthful

pytest_plugins = "pytester"

CPU = Target("cpu", 1)
ROWS, LENGTH = 2, 9


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(answer_profile, "PROFILED_S", 0.1)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_models.save_bert(tmp_path_factory.mktemp("bert"), tiny_models.token_batch(ROWS, LENGTH))


@pytest.fixture(scope="module")
def exported(bert, tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx")
    tiny_models.build(ONNXRUNTIME, bert, out)
    return out


def operators(backend, artifact):
    """Return the calls of each operator in one answer, checked to take a plausible time."""
    profile, plain_s, _ = answer_profile.take(backend.load, artifact, CPU, tiny_models.token_batch(ROWS, LENGTH))
    assert 0 < sum(seconds for _, seconds in profile.operators.values()) <= profile.seconds
    assert 0 < plain_s < 1
    return {name: calls for name, (calls, _) in profile.operators.items()}


def test_pytorch_shows_its_products(bert):
    calls = operators(PYTORCH, bert)
    assert 8 == calls["aten::addmm"]  # four around attention, two behind it, pooler, head


def test_onnxruntime_shows_its_nodes(exported):
    calls = operators(ONNXRUNTIME, exported)
    assert all(value == int(value) for value in calls.values())  # as many in every answer
    assert 8 <= calls.get("MatMul", 0) + calls.get("Gemm", 0) + calls.get("FusedMatMul", 0)


def test_int8_graph_multiplies_in_int8(exported, tmp_path):
    onnx_quantization.quantise(exported, tmp_path, text_classification)
    profile, _, settings = answer_profile.take(
        ONNXRUNTIME_INT8.load, tmp_path, CPU, tiny_models.token_batch(ROWS, LENGTH)
    )
    assert "int8" == product_format(profile, settings)


@pytest.mark.skipif(bool(OPENVINO.unavailable("cpu")), reason=str(OPENVINO.unavailable("cpu")))
def test_openvino_shows_its_kernels_with_their_format(exported):
    calls = operators(OPENVINO, exported)
    assert 0 < calls["FullyConnected f32"] <= 8  # OpenVINO leaves out what takes less than a microsecond


@pytest.mark.parametrize(("spinning", "waits"), [(True, None), (False, "passive")])
def test_profile_runs_as_workers_do(spinning, waits, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # as in the process of a command
    with answer_profile.in_worker_environment(Target("cpu", 3, spinning)) as call:
        assert ["3", waits] == [call(os.getenv, name) for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")]
        assert os.getpid() != call(os.getpid)
    assert "passive" == os.environ["OMP_WAIT_POLICY"]


def test_backend_without_a_profiler_is_refused(tmp_path):
    with pytest.raises(HarnessError, match="this backend has no profile; choose one of shipbench's on ONNX Runtime"):
        answer_profile.take(truthful, tmp_path, CPU, {"x": np.ones((1, 1), dtype=np.float32)})


def test_operations_are_those_of_the_products(bert):
    hidden, inner, labels, tokens = 32, 64, 3, ROWS * LENGTH
    linear = tokens * (4 * hidden * hidden + 2 * hidden * inner) + ROWS * (hidden * hidden + hidden * labels)
    attention = 2 * ROWS * LENGTH * LENGTH * hidden
    counted, uncounted = count_operations(bert, tiny_models.token_batch(ROWS, LENGTH))
    assert (2 * (linear + attention), "") == (counted, uncounted)


def test_modules_that_are_not_counted_are_named(tmp_path):
    lstm = tiny_models.save_native(tmp_path)
    assert "LSTM" == count_operations(lstm, answer_profile.checkpoint.example(lstm))[1]


def test_answers_before_the_profile_do_not_count():
    answers = []

    def run(arrays):
        answers.append([("MatMul", 5.0 if len(answers) < 10 else 1.0), ("Add", 0.5), ("Add", 0.5)])
        return {}

    session = Session(run=run, device="cpu", settings={}, operators=lambda: answers)
    assert {"MatMul": (1, 1.0), "Add": (2, 1.0)} == answer_profile._by_runtime(session, {}, 10).operators


def test_profile_that_lost_answers_is_refused():
    session = Session(run=lambda arrays: {}, device="cpu", settings={}, operators=lambda: [[("Add", 1.0)]] * 19)
    with pytest.raises(HarnessError, match="19 of 20 answers are in the runtime's profile"):
        answer_profile._by_runtime(session, {}, 10)


@pytest.mark.parametrize(
    ("operators", "settings", "expected"),
    [
        ({"MatMul": 2.0, "MatMulInteger": 1.0}, {}, "float32"),
        ({"MatMul": 1.0, "QAttention": 2.0, "Add": 9.0}, {}, "int8"),
        ({"DynamicQuantizeMatMul": 1.0}, {}, "int8"),
        ({"FullyConnected bf16": 1.0}, {}, "bfloat16"),
        ({"FullyConnected i8": 1.0}, {}, "int8"),
        ({"aten::addmm": 1.0}, {"precision": "bfloat16"}, "bfloat16"),
        ({"aten::_int_mm": 1.0}, {}, "int8"),
        ({"aten::addmm": 1.0}, {"precision": "float32"}, "float32"),
        ({"DequantizeLinear": 3.0, "Convert": 1.0, "aten::linear": 1.0}, {}, None),
    ],
)
def test_format_is_that_of_the_longest_products(operators, settings, expected):
    profile = Profile(9.0, {name: (1, seconds) for name, seconds in operators.items()})
    assert expected == product_format(profile, settings)


def test_report_says_how_much_is_left():
    profile = Profile(0.010, {"Add": (3, 0.001), "MatMul": (4, 0.004), **{f"Op{n}": (1, 1e-5) for n in range(12)}})
    lines = "\n".join(report(profile, 0.009, "float32", 200e9, 400_000_000)).splitlines()
    cells = [re.split(r"  +", line.strip()) for line in lines]
    assert ["MatMul *", "4", "4.00", "40%"] in cells
    assert ["2 others", "2", "0.0200", "0%"] in cells
    assert ["between operators", "4.88", "49%"] in cells
    assert lines[-1] == (
        "An answer takes 9.00 ms, 10.0 ms under the profiler; matrix products (*) are 40% of it and reach 100 GFLOP/s, "
        "50% of the 200 that one large product in float32 reaches here; at that they take 2.00 ms."
    )


def test_report_without_products_names_no_rate():
    (*_, last) = report(Profile(0.01, {"Add": (1, 0.01)}), 0.01, None, math.nan, 0)
    assert last.endswith("matrix products (*) are 0% of it.")


@pytest.mark.parametrize("form", ["float32", "int8"])
def test_peak_is_that_of_a_processor(form):
    assert 1e9 < answer_profile.peak(form, 1) < 1e14


@pytest.mark.parametrize(
    ("kind", "backend", "device", "reason"),
    [
        ("text-classification", PYTORCH, "cuda", "only processors are"),
        ("translation", ONNXRUNTIME, "cpu", "it generates text"),
        ("text-classification", onnxruntime_at("1.23.2"), "cpu", "its runtime is in another environment"),
        ("text-classification", by_length(ONNXRUNTIME), "cpu", "choose the backend that it is a variant of"),
        ("text-classification", ONNXRUNTIME, "cpu", None),
    ],
)
def test_cases_that_cannot_be_profiled_are_refused(kind, backend, device, reason):
    rows, metric = Package("toydata", "rows.csv", sha256="00"), "bleu" if kind == "translation" else "accuracy"
    task = Task(name="toy", kind=kind, dataset=rows, inputs=("text",), label="label", metric=metric)
    model = Model(name="toy", source=Package("toymodel", "model", sha256="00"))
    case = next(case for case in cases(task, [model], [backend]) if case.device == device)
    assert (reason or "None") in str(profiling._obstacle(case))


BAD = {
    "several cases": (["test_toy.py", "-k", "choosy"], "profile takes one case, and "),
    "no rows": (["test_toy.py", "-k", "choosy.cpu", "--batch=0"], "--batch 0: must be at least 1"),
    "rows in words": (["test_toy.py", "--batch=all"], "invalid int value: 'all'"),
    "unknown backend": (["test_toy.py", "--ship-backends=numpi"], "unknown backend 'numpi'; expected one of"),
    "backend of no case": (["test_toy.py", "-k", "openvino"], "name backends that are no default with --ship-backends"),
    "missing suite": (["test_nowhere.py"], "test_nowhere.py: no such suite"),
}


def test_bad_input_is_refused_before_training(toy: Toy) -> None:
    toy.copy("choosy.py", "own.py", "bag.py")
    own = f"--ship-artifacts={toy.artifacts / 'none'}"
    runs = toy.commands(*(("harness", "profile", *arguments, own) for arguments, _ in BAD.values()))
    for (mistake, (_, message)), run in zip(BAD.items(), runs, strict=True):
        assert (2 if mistake == "rows in words" else 4) == run.status, mistake
        assert message in "\n".join(run.err)
    assert not (toy.artifacts / "none").exists()
