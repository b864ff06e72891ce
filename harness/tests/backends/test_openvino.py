"""OpenVINO on exported graphs of tiny untrained models."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_models import build, needs_lstm_export, save_bert, save_native, token_batch

from harness import checkpoint
from harness.backends import ONNXRUNTIME, OPENVINO, OPENVINO_BF16, OPENVINO_INT8, PYTORCH, onnx_quantization, openvino
from harness.contracts.backend import Target
from harness.errors import Unsupported
from harness.kinds import text_classification
from harness.measure.client import Worker

CPU = Target("cpu", 1)
REASON = OPENVINO.unavailable("cpu")
pytestmark = pytest.mark.skipif(bool(REASON), reason=str(REASON))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx")
    build(ONNXRUNTIME, save_bert(tmp_path_factory.mktemp("bert"), token_batch(2, 9)), out, text_classification)
    return out


def test_openvino_answers_as_its_source_at_every_batch_and_length(exported):
    reference, own = ONNXRUNTIME.load(exported, CPU), OPENVINO.load(exported, CPU)
    for rows, length in ((1, 9), (1, 30), (16, 9), (2, 5), (1, 1)):
        batch = token_batch(rows, length)
        np.testing.assert_allclose(reference.run(batch)["logits"], own.run(batch)["logits"], atol=1e-5)


def test_unreadable_graph_is_unsupported_with_its_nodes(tmp_path):
    bag = save_native(tmp_path, "embedding_bag.py:EmbeddingBagClassifier")
    (tmp_path / "out").mkdir()
    build(ONNXRUNTIME, bag, tmp_path / "out", text_classification)
    with pytest.raises(Unsupported, match="cannot read these nodes of the export: ReduceSum-"):
        OPENVINO.load(tmp_path / "out", CPU)


def test_native_lstm_runs_on_openvino(tmp_path):
    needs_lstm_export()
    lstm, out = save_native(tmp_path), tmp_path / "out"
    out.mkdir()
    build(ONNXRUNTIME, lstm, out, text_classification)
    own, reference, batch = OPENVINO.load(out, CPU), PYTORCH.load(lstm, CPU), checkpoint.example(lstm)
    np.testing.assert_allclose(reference.run(batch)["logits"], own.run(batch)["logits"], atol=1e-5)


def test_openvino_computes_in_float32_in_one_stream(exported):
    session = OPENVINO.load(exported, CPU)
    expected = {**openvino.PROPERTIES, openvino.PRECISION: "f32", "ENABLE_CPU_PINNING": "False"}
    assert {"cpu", "1"} == {session.device, session.settings["threads"]}
    assert {name.lower(): value for name, value in expected.items()}.items() <= session.settings.items()


@pytest.mark.skipif(bool(OPENVINO_BF16.unavailable("cpu")), reason=str(OPENVINO_BF16.unavailable("cpu")))
def test_bfloat16_is_reported_and_close(exported):
    own, reference, batch = OPENVINO_BF16.load(exported, CPU), OPENVINO.load(exported, CPU), token_batch(2, 9)
    assert "bf16" == own.settings["inference_precision_hint"]
    expected, logits = (session.run(batch)["logits"] for session in (reference, own))
    assert (expected != logits).any()  # else it computes in float32 after all
    np.testing.assert_allclose(expected, logits, atol=0.05)


def test_answers_survive_the_next_call(exported):
    session = OPENVINO.load(exported, CPU)
    first = session.run(token_batch(1, 9))["logits"]
    before = first.copy()
    session.run(token_batch(2, 9))
    np.testing.assert_array_equal(before, first)


def test_openvino_worker_imports_no_torch(exported):
    with Worker(OPENVINO, exported, CPU, 60) as worker:
        worker.put(token_batch(1, 9))
        assert (1, 3) == worker.run().outputs["logits"].shape
        assert "" == worker.loaded["settings"]["imported"]


def test_generating_model_is_unsupported_by_openvino(tmp_path):
    (tmp_path / "encoder_model.onnx").touch()
    with pytest.raises(Unsupported, match="no generation loop"):
        Worker(OPENVINO, tmp_path, CPU, 60)


class Texts:
    """Held-out rows of random tokens, of several lengths."""

    kind = text_classification

    def __len__(self):
        return 20

    def batch(self, rows):
        (row,) = rows
        return token_batch(1, 5 + row % 9)


class Numbers(Texts):
    """Held-out rows of four numbers."""

    def batch(self, rows):
        return {"x": np.full((1, 4), rows[0], dtype=np.float32)}


ROWS = SimpleNamespace(calibration=Texts(), validation=Texts(), max_drop=None)
NO_INT8 = OPENVINO_INT8.unavailable("cpu")
quantises = pytest.mark.skipif(bool(NO_INT8), reason=str(NO_INT8))


@quantises
def test_int8_multiplies_bytes_and_answers_nearly_as_float(exported, tmp_path):
    settings = openvino.quantise(exported, tmp_path, text_classification, ROWS)
    assert {"model.xml", "model.bin"} == {path.name for path in tmp_path.iterdir()}
    assert "20" == settings["calibration_rows"]
    assert "transformer" in settings["quantizer"]
    own, reference = OPENVINO_INT8.load(tmp_path, CPU), OPENVINO.load(exported, CPU)
    counts = dict(word.split() for word in own.settings["products"].split(", "))
    floats = int(counts.pop("f32", 0))  # one where the CPU has no VNNI, none elsewhere
    assert {"u8"} <= counts.keys() <= {"i8", "u8"}
    assert floats <= 1 < 8 < sum(map(int, counts.values()))
    assert reference.settings["products"].startswith("f32 ")
    for rows, length in ((1, 9), (16, 30), (1, 1)):
        expected, logits = (session.run(token_batch(rows, length))["logits"] for session in (reference, own))
        assert (expected != logits).any()
        np.testing.assert_allclose(expected, logits, atol=0.02)


@quantises
@pytest.mark.parametrize(("flag", "seven"), [("avx2", True), ("avx_vnni", False)])
def test_nncf_takes_seven_bits_without_vnni(flag, seven, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_quantization.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(onnx_quantization, "cpu_flags", lambda: frozenset((flag,)))
    settings = openvino.quantise(exported, tmp_path, text_classification, ROWS)
    assert seven == ("in 7 bits" in settings["quantizer"])
    graph = pytest.importorskip("openvino").Core().read_model(tmp_path / "model.xml")
    constants = [node.get_data() for node in graph.get_ops() if node.get_element_type().to_string() == "i8"]
    largest = {len(data): int(abs(data.astype(int)).max()) for data in constants}
    assert {60: 127, 32: 64 if seven else 127} == {rows: largest[rows] for rows in (60, 32)}  # words, and products


@quantises
def test_graph_without_products_has_no_int8_form(tmp_path):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "logits")]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["logits"])], "toy", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "model.onnx")
    with pytest.raises(Unsupported, match="NNCF finds nothing to quantise in this graph"):
        openvino.quantise(tmp_path, tmp_path, text_classification, SimpleNamespace(calibration=Numbers()))


@quantises
def test_refusal_of_nncf_is_unsupported_with_its_reason(exported, tmp_path, monkeypatch):
    import nncf

    def refuse(*args, **kwargs):
        raise nncf.UnsupportedModelError("no such operator")

    monkeypatch.setattr(nncf, "quantize", refuse)
    with pytest.raises(Unsupported, match=r"NNCF cannot quantise this graph: .*no such operator"):
        openvino.quantise(exported, tmp_path, text_classification, ROWS)


@quantises
def test_generating_model_has_no_int8_form_for_openvino(tmp_path):
    (tmp_path / "encoder_model.onnx").touch()
    with pytest.raises(Unsupported, match="calibration rows hold no decoder inputs"):
        openvino.quantise(tmp_path, tmp_path, text_classification, ROWS)
