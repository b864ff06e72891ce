"""OpenVINO on exported graphs of tiny untrained models."""

import numpy as np
import pytest
from tiny_models import build, needs_lstm_export, save_bert, save_native, token_batch

from harness import checkpoint
from harness.backends import ONNXRUNTIME, OPENVINO, OPENVINO_BF16, PYTORCH, openvino
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
