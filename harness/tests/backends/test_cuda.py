"""The GPU's backends as far as a CPU can check them: float16, bindings, engines, reasons. The rest needs a GPU."""

import numpy as np
import pytest
from tiny_models import build, save_bert

from harness.backends import (
    DEFAULT_BACKENDS,
    ONNXRUNTIME,
    ONNXRUNTIME_FP16,
    ONNXRUNTIME_TENSORRT,
    PYTORCH,
    onnxruntime,
    pytorch,
    tensorrt,
)
from harness.contracts.backend import Target
from harness.errors import Unsupported
from harness.kinds import text_classification
from harness.util.machine import no_cuda

CPU = Target("cpu", 1)
TEXTS = {
    "input_ids": np.array([[2, 5, 6, 7, 3], [2, 9, 3, 0, 0]]),
    "attention_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    "token_type_ids": np.zeros((2, 5), dtype=np.int64),
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    sizes = {"num_hidden_layers": 2, "max_position_embeddings": 40, "initializer_range": 0.2}
    return save_bert(tmp_path_factory.mktemp("bert"), TEXTS, **sizes)


@pytest.fixture(scope="module")
def exported(bert, tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx")
    build(ONNXRUNTIME, bert, out, text_classification)
    return out


@pytest.fixture(scope="module")
def halved(exported, tmp_path_factory):
    out = tmp_path_factory.mktemp("half")
    return out, ONNXRUNTIME_FP16.build(exported, out, text_classification)


def test_float16_graph_is_half_as_large_with_float32_outputs(exported, halved):
    import onnx

    out, settings = halved
    graph = onnx.load(out / "model.onnx").graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert onnx.TensorProto.FLOAT == types["logits"]
    assert onnx.TensorProto.INT64 == types["input_ids"]
    assert {onnx.TensorProto.FLOAT16} == {one.data_type for one in graph.initializer if np.prod(one.dims) > 32}
    sizes = [sum(len(one.raw_data) for one in onnx.load(f / "model.onnx").graph.initializer) for f in (out, exported)]
    assert 0.45 < sizes[0] / sizes[1] < 0.55
    assert "float16" in settings["weights"]


def test_float16_graph_answers_nearly_as_its_source(exported, halved):
    expected, logits = (ONNXRUNTIME.load(folder, CPU).run(TEXTS)["logits"] for folder in (exported, halved[0]))
    assert np.float32 == logits.dtype
    assert not np.array_equal(expected, logits)
    np.testing.assert_allclose(expected, logits, atol=0.02)


def test_bound_inputs_and_outputs_answer_as_a_plain_call(exported):
    from onnxruntime import InferenceSession

    session = InferenceSession(str(exported / "model.onnx"), providers=["CPUExecutionProvider"])
    run = onnxruntime.bound_run(session, "cpu")
    answers = []
    for batch in (TEXTS, {name: np.ascontiguousarray(a[:1, :3]) for name, a in TEXTS.items()}, TEXTS):
        answers.append(run(batch)["logits"])
        np.testing.assert_array_equal(session.run(None, batch)[0], answers[-1])
    np.testing.assert_array_equal(answers[0], answers[2])  # a later call does not overwrite an earlier answer


def test_placement_counts_every_node(exported):
    import onnx

    if "not reported" in (placement := ONNXRUNTIME.load(exported, CPU).settings["placement"]):
        pytest.skip(placement)
    name, count = placement.split(" ")
    assert "CPUExecutionProvider" == name
    assert 0 < int(count) <= len(onnx.load(exported / "model.onnx").graph.node)


def test_older_onnxruntime_reports_no_placement():
    assert "not reported by this ONNX Runtime" == onnxruntime.node_placement(object())


def test_tf32_is_off_in_both_libraries():
    import torch

    backends = torch.backends
    legacy = backends.cudnn.allow_tf32
    operators = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    before = [operator.fp32_precision for operator in operators]
    backends.cudnn.conv.fp32_precision = "tf32"
    try:
        settings = pytorch.configure(CPU)
        # As inductor reads them.
        assert (False, "highest") == (backends.cudnn.allow_tf32, torch.get_float32_matmul_precision())
    finally:
        backends.cudnn.allow_tf32 = legacy
        for operator, precision in zip(operators, before, strict=True):
            operator.fp32_precision = precision
    assert "0" == settings["tf32"] == onnxruntime.PROVIDERS["cuda"][1]["use_tf32"]


def test_engine_is_built_for_the_shortest_and_the_longest_text(exported):
    shapes = []
    tensorrt.build_engine(lambda arrays: shapes.append(arrays["input_ids"].shape), tensorrt.max_tokens(exported), TEXTS)
    assert [(2, 5), (2, 1), (2, 32)] == shapes  # of 40 positions, the largest power of two


def test_engine_of_images_is_built_for_their_one_shape():
    shapes = []
    image = {"pixel_values": np.zeros((1, 3, 8, 8), dtype=np.float32)}
    tensorrt.build_engine(lambda arrays: shapes.append(arrays["pixel_values"].shape), 512, image)
    assert [(1, 3, 8, 8)] == shapes


def test_tensorrt_copies_the_export_and_refuses_generated_text(exported, tmp_path):
    ONNXRUNTIME_TENSORRT.build(exported, tmp_path, text_classification)
    assert (exported / "model.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "encoder_model.onnx").write_bytes(b"")
    with pytest.raises(Unsupported, match="a model that generates has neither"):
        ONNXRUNTIME_TENSORRT.build(tmp_path, tmp_path / "out", text_classification)


@pytest.mark.parametrize("backend", [ONNXRUNTIME, ONNXRUNTIME_FP16, ONNXRUNTIME_TENSORRT], ids=lambda one: one.name)
def test_missing_gpu_packages_are_named(backend):
    reason = backend.unavailable("cuda")
    if reason is None:
        pytest.skip("this machine has ONNX Runtime for GPUs and TensorRT")
    assert "is not installed; run: python -m pip install" in reason


@pytest.mark.parametrize("backend", [b for b in DEFAULT_BACKENDS if "cuda" in b.devices], ids=lambda b: b.name)
def test_default_backends_answer_on_a_gpu_nearly_as_the_cpu_does(backend, bert, exported, tmp_path):
    reason = no_cuda() or (backend.unavailable("cuda") if backend.unavailable else None)
    if reason is not None:
        pytest.skip(reason)
    if backend.builds:
        build(backend, bert if backend.source is None else exported, tmp_path, text_classification)
    session = backend.load(tmp_path if backend.builds else bert, Target("cuda", 1))
    expected, logits = PYTORCH.load(bert, CPU).run(TEXTS)["logits"], session.run(TEXTS)["logits"]
    assert ("cuda", "0") == (session.device, session.settings["tf32"])
    np.testing.assert_allclose(expected, logits, atol=0.05 if backend.lossy else 1e-3)
