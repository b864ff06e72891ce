"""Int8 forms that use held-out rows: calibrated on some, guarded by others."""

import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from harness.artifacts.cache import HeldOutRows
from harness.backends import (
    ONNXRUNTIME,
    ONNXRUNTIME_INT8,
    ONNXRUNTIME_INT8_GUARDED,
    ONNXRUNTIME_INT8_PERCENTILE,
    ONNXRUNTIME_INT8_STATIC,
    ONNXRUNTIME_O2_INT8,
    onnx_quantization,
)
from harness.backends.onnx_guard import fewest
from harness.backends.onnx_quantization import weight_format
from harness.contracts.backend import Target, single_rows
from harness.contracts.kind import EncodedRows
from harness.data.inputs import Inputs
from harness.errors import Unsupported
from harness.kinds import image_classification
from harness.metrics import Metric

ROWS, WIDTH = 40, 32
RNG = np.random.default_rng(3)


def inputs(rows):
    """Return rows of numbers, named as an image processor names them."""
    examples = [[{"pixel_values": row}] for row in rows]
    kind = replace(image_classification, collate=stack, predict=largest)
    labels = [{"label": int(row[0] > 0)} for row in rows]
    return Inputs(kind, EncodedRows(None, labels, ("image",), examples), ("a", "b"))


def stack(_, examples):
    return {"pixel_values": np.stack([example["pixel_values"] for example in examples])}


def largest(_, outputs):
    return [int(row["logits"][0].argmax()) for row in outputs]


@pytest.fixture
def rows():
    drawn = RNG.normal(size=(2, ROWS, WIDTH)).astype(np.float32)
    return HeldOutRows(inputs(drawn[0]), inputs(drawn[1]), Metric("accuracy"), 0.05, "00")


@pytest.fixture
def source(tmp_path):
    """A graph of two layers, of which `fragile` has weights that int8 cannot hold."""
    first = np.eye(WIDTH, dtype=np.float32)
    second = np.zeros((WIDTH, 2), dtype=np.float32)
    second[0] = (-1.0, 1.0)
    # In int8 a column has one scale, in which all other weights vanish beside this one.
    second[1] = (1e4, 1e4)
    first[:, 1] = 0.0
    nodes = [
        helper.make_node("MatMul", ["pixel_values", "w1"], ["hidden"], name="robust"),
        helper.make_node("MatMul", ["hidden", "w2"], ["logits"], name="fragile"),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(first, "w1"), numpy_helper.from_array(second, "w2")],
    )
    folder = tmp_path / "source"
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    return folder


def build(backend, source, rows, out):
    """Return the settings and the score of what the backend builds."""
    out.mkdir(exist_ok=True)
    settings = backend.calibrate(source, out, rows.validation.kind, rows)
    session = backend.load(out, Target("cpu", 1))
    return settings, rows.score([session.run(row) for row in single_rows(rows.validation)])


@pytest.mark.parametrize("backend", [ONNXRUNTIME_INT8_STATIC, ONNXRUNTIME_INT8_PERCENTILE], ids=lambda one: one.name)
def test_static_graph_records_its_calibration(backend, source, rows, tmp_path):
    settings, _ = build(backend, source, rows, tmp_path / "out")
    assert str(ROWS) == settings["calibration_rows"]
    assert "QDQ" in settings["quantizer"]
    assert "QuantizeLinear 2" in settings["operators"]
    assert ["model.onnx"] == [path.name for path in (tmp_path / "out").iterdir()]


def test_wider_calibration_rows_give_wider_scales(source, rows, tmp_path):
    wide = replace(rows, calibration=inputs(100 * RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)))
    scales = []
    for number, calibration in enumerate((rows, wide)):
        build(ONNXRUNTIME_INT8_STATIC, source, calibration, tmp_path / str(number))
        graph = onnx.load(tmp_path / str(number) / "model.onnx").graph
        weights = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
        scales.append(float(weights["pixel_values_scale"]))
    assert 50 < scales[1] / scales[0] < 200


def test_guard_keeps_only_the_fragile_layer_in_float(source, rows, tmp_path):
    settings, score = build(ONNXRUNTIME_INT8_GUARDED, source, rows, tmp_path / "out")
    assert "fragile" == settings["float_layers"]
    assert ONNXRUNTIME_INT8.name == settings["guards"]
    assert score >= 0.95
    assert settings["validation"].endswith(f" against float, {ROWS} rows")


def test_guard_keeps_no_layer_in_float_within_a_wide_gate(source, rows, tmp_path):
    settings, score = build(ONNXRUNTIME_INT8_GUARDED, source, replace(rows, max_drop=0.99), tmp_path / "out")
    assert "none" == settings["float_layers"]
    assert score < 0.95  # else the guard had nothing to do in the test above


def test_guard_without_a_gate_is_unsupported(source, rows, tmp_path):
    with pytest.raises(Unsupported, match=r"pass cases\(\) a mapping of models to gates"):
        build(ONNXRUNTIME_INT8_GUARDED, source, replace(rows, max_drop=None), tmp_path / "out")


def test_optimised_graph_has_an_int8_form(source, tmp_path):
    settings = ONNXRUNTIME_O2_INT8.build(source, tmp_path, image_classification)
    assert "MatMulInteger 2" in settings["operators"]


@pytest.mark.parametrize(
    ("machine", "flags", "bits"),
    [
        ("aarch64", {"asimd", "asimddp"}, 8),
        ("arm64", set(), 8),
        ("x86_64", {"avx2", "avx512f", "avx512_vnni"}, 8),
        ("x86_64", {"avx2", "avx_vnni"}, 8),
        ("x86_64", {"avx2", "avx512f", "amx_int8"}, 8),
        ("AMD64", {"avx2", "avx512vnni"}, 8),
        ("x86_64", {"avx2", "avx512f", "avx512bw"}, 7),
        ("x86_64", {"avx2"}, 7),
        ("AMD64", set(), 7),
    ],
)
def test_weights_take_seven_bits_on_x86_without_vnni(machine, flags, bits, monkeypatch):
    pretend(monkeypatch, machine, *flags)
    assert ("QInt8", bits == 7) == weight_format()


FORMS = (ONNXRUNTIME_INT8, ONNXRUNTIME_O2_INT8, ONNXRUNTIME_INT8_STATIC, ONNXRUNTIME_INT8_GUARDED)


def pretend(monkeypatch, machine, *flags):
    """Let builds take this machine for another."""
    monkeypatch.setattr(onnx_quantization.platform, "machine", lambda: machine)
    monkeypatch.setattr(onnx_quantization, "cpu_flags", lambda: frozenset(flags))


@pytest.mark.parametrize("lacking", [True, False], ids=["without", "with"])
@pytest.mark.parametrize("backend", FORMS, ids=lambda one: one.name)
def test_every_int8_form_takes_and_records_the_range(backend, lacking, source, rows, tmp_path, monkeypatch):
    pretend(monkeypatch, "x86_64", "avx2" if lacking else "avx_vnni")
    (out := tmp_path / "out").mkdir()
    given = (source, out, rows.validation.kind)
    settings = backend.build(*given) if backend.build else backend.calibrate(*given, replace(rows, max_drop=0.99))
    graph = onnx.load(out / "model.onnx").graph
    weights = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    largest = max(np.abs(array.astype(int)).max() for array in weights.values() if array.dtype == np.int8)
    assert (64 if lacking else 127) == largest
    assert lacking == ("QInt8 per channel in 7 bits, for a CPU without VNNI" in settings["quantizer"])


def saturating_graph(folder):
    """Write a layer whose first class leads by products that do not fit 16 bits in pairs; the second's do."""
    weights = np.ones((WIDTH, 2), dtype=np.float32)
    weights[:, 1] = np.tile([1.4, 0.0], WIDTH // 2)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["pixel_values", "w"], ["logits"], name="layer")],
        "toy",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")


def flipped_rows(folder):
    """Return how many of ROWS answers of the dynamic int8 form differ from the float graph's."""
    (folder / "int8").mkdir()
    saturating_graph(folder)
    ONNXRUNTIME_INT8.build(folder, folder / "int8", image_classification)
    given = np.random.default_rng(0).uniform(0.9, 1.0, (ROWS, 1, WIDTH)).astype(np.float32)
    answers = [
        [session.run({"pixel_values": row})["logits"].argmax() for row in given]
        for session in (ONNXRUNTIME.load(path, Target("cpu", 1)) for path in (folder, folder / "int8"))
    ]
    return int(np.sum(np.array(answers[0]) != answers[1]))


def test_range_for_this_cpu_flips_no_answer(tmp_path):
    assert 0 == flipped_rows(tmp_path)


@pytest.mark.skipif(not weight_format()[1], reason="this CPU adds products of bytes in 32 bits")
def test_eight_bits_without_vnni_flip_every_answer(tmp_path, monkeypatch):
    pretend(monkeypatch, "x86_64", "avx_vnni")
    assert ROWS == flipped_rows(tmp_path)


@given(st.integers(1, 60), st.data())
def test_fewest_layers_are_found_in_few_tries(layers, data):
    needed, tries = data.draw(st.integers(1, layers)), []

    def fails(floats):
        tries.append(len(floats))
        return len(floats) < needed

    assert needed == fewest(fails, [str(layer) for layer in range(layers)])
    assert len(tries) <= 2 * math.log2(layers) + 3


def test_layers_that_do_not_help_are_unsupported():
    with pytest.raises(Unsupported, match="whichever layers stay in float"):
        fewest(lambda _: True, ["a", "b", "c"])
