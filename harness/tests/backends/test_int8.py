"""Int8 forms that look at rows: calibrated on rows set aside, and guarded by others."""

import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from harness.artifacts.build import HeldOutRows
from harness.backends import (
    ONNXRUNTIME_INT8,
    ONNXRUNTIME_INT8_GUARDED,
    ONNXRUNTIME_INT8_PERCENTILE,
    ONNXRUNTIME_INT8_STATIC,
    ONNXRUNTIME_O2_INT8,
)
from harness.backends.onnx_quantization import fewest
from harness.contracts.backend import Backend, Target, single_rows
from harness.contracts.kind import EncodedRows
from harness.data.inputs import Inputs
from harness.errors import HarnessError, Unsupported
from harness.kinds import image_classification

ROWS, WIDTH = 40, 32
DICE = np.random.default_rng(3)


def inputs(rows):
    """Rows of numbers under the name that an image processor gives them."""
    examples = [[{"pixel_values": row}] for row in rows]
    kind = replace(image_classification, collate=stacked, predict=largest)
    labels = [{"label": int(row[0] > 0)} for row in rows]
    return Inputs(kind, EncodedRows(None, labels, ("image",), examples), ("a", "b"))


def stacked(_, examples):
    return {"pixel_values": np.stack([one["pixel_values"] for one in examples])}


def largest(_, outputs):
    return [int(one["logits"][0].argmax()) for one in outputs]


@pytest.fixture
def aside():
    drawn = DICE.normal(size=(2, ROWS, WIDTH)).astype(np.float32)
    return HeldOutRows(inputs(drawn[0]), inputs(drawn[1]), "accuracy", 0.05, "00")


@pytest.fixture
def source(tmp_path):
    """Two layers that are told apart by their names, of which `fragile` has weights that int8 cannot hold."""
    first = np.eye(WIDTH, dtype=np.float32)
    second = np.zeros((WIDTH, 2), dtype=np.float32)
    second[0] = (-1.0, 1.0)
    # In int8 one scale serves a column: beside this weight, all others are nothing.
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
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    return folder


def built(backend, source, aside, out):
    out.mkdir(exist_ok=True)
    said = backend.calibrate(source, out, aside.validation.kind, aside)
    session = backend.load(out, Target("cpu", 1))
    return said, aside.score([session.run(row) for row in single_rows(aside.validation)])


@pytest.mark.parametrize("backend", [ONNXRUNTIME_INT8_STATIC, ONNXRUNTIME_INT8_PERCENTILE], ids=lambda one: one.name)
def test_a_calibrated_graph_says_how_and_by_how_many_rows(backend, source, aside, tmp_path):
    said, _ = built(backend, source, aside, tmp_path / "out")
    assert str(ROWS) == said["calibration_rows"]
    assert "QDQ" in said["quantizer"]
    assert "QuantizeLinear 2" in said["operators"]
    assert ["model.onnx"] == [path.name for path in (tmp_path / "out").iterdir()]


def test_another_calibration_gives_other_scales(source, aside, tmp_path):
    wide = replace(aside, calibration=inputs(100 * DICE.normal(size=(ROWS, WIDTH)).astype(np.float32)))
    scales = []
    for number, rows in enumerate((aside, wide)):
        built(ONNXRUNTIME_INT8_STATIC, source, rows, tmp_path / str(number))
        graph = onnx.load(tmp_path / str(number) / "model.onnx").graph
        found = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        scales.append(float(found["pixel_values_scale"]))
    assert 50 < scales[1] / scales[0] < 200


def test_a_layer_that_costs_accuracy_stays_in_float_and_no_other(source, aside, tmp_path):
    said, score = built(ONNXRUNTIME_INT8_GUARDED, source, aside, tmp_path / "out")
    assert "fragile" == said["float_layers"]
    assert ONNXRUNTIME_INT8.name == said["guards"]
    assert score >= 0.95
    assert said["validation"].endswith(f"where float scores 1.0000, {ROWS} rows")


def test_nothing_stays_in_float_where_nothing_is_lost(source, aside, tmp_path):
    said, score = built(ONNXRUNTIME_INT8_GUARDED, source, replace(aside, max_drop=0.99), tmp_path / "out")
    assert "none had to be" == said["float_layers"]
    assert score < 0.95  # else the guard had nothing to do in the test above


def test_a_guard_without_a_gate_is_unsupported_and_says_what_to_do(source, aside, tmp_path):
    with pytest.raises(Unsupported, match="pass cases\\(\\) a mapping of models to gates"):
        built(ONNXRUNTIME_INT8_GUARDED, source, replace(aside, max_drop=None), tmp_path / "out")


def test_the_optimised_graph_has_an_int8_form(source, tmp_path):
    said = ONNXRUNTIME_O2_INT8.build(source, tmp_path, image_classification)
    assert "MatMulInteger 2" in said["operators"]


def test_a_backend_builds_in_one_way():
    with pytest.raises(HarnessError, match="build= or calibrate=, not both"):
        Backend(name="toy", load=stacked, build=largest, calibrate=largest)


@given(st.integers(1, 60), st.data())
def test_as_few_layers_stay_in_float_as_it_takes(layers, data):
    needed, asked = data.draw(st.integers(1, layers)), []

    def lost(floats):
        asked.append(len(floats))
        return len(floats) < needed

    assert needed == fewest(lost, [str(at) for at in range(layers)])
    assert len(asked) <= 2 * math.log2(layers) + 3


def test_layers_that_do_not_help_are_told_of():
    with pytest.raises(Unsupported, match="whatever layers stay in float"):
        fewest(lambda _: True, ["a", "b", "c"])
