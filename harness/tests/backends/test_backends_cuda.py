"""What can be known of the GPU's backends without one: forms, bindings, shapes, reasons; the rest skips."""

from importlib import import_module

import numpy as np
import pytest

from harness import checkpoint
from harness.backends import DEFAULT_BACKENDS, ONNXRUNTIME, ONNXRUNTIME_FP16, ONNXRUNTIME_TENSORRT, PYTORCH
from harness.contracts.backend import Target
from harness.errors import Unsupported
from harness.kinds import text_classification
from harness.util.machine import no_cuda

cuda, half, tensorrt = (import_module(f"harness.backends.{name}") for name in ("cuda", "torch_half", "tensorrt"))
CPU = Target("cpu", 1)
TEXTS = {
    "input_ids": np.array([[2, 5, 6, 7, 3], [2, 9, 3, 0, 0]]),
    "attention_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    "token_type_ids": np.zeros((2, 5), dtype=np.int64),
}
SIZES = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 40,
}  # fmt: skip


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A tiny one of random weights."""
    import torch
    from safetensors.numpy import save_file
    from transformers import BertConfig, BertForSequenceClassification

    out = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(**SIZES, initializer_range=0.2)).eval().save_pretrained(out)
    save_file(TEXTS, out / checkpoint.EXAMPLE)
    return out


@pytest.fixture(scope="module")
def exported(bert, tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx")
    ONNXRUNTIME.build(bert, out, text_classification)
    return out


@pytest.fixture(scope="module")
def halved(exported, tmp_path_factory):
    out = tmp_path_factory.mktemp("half")
    return out, ONNXRUNTIME_FP16.build(exported, out, text_classification)


# float16


def test_a_graph_in_float16_is_half_as_large_and_float32_at_its_edges(exported, halved):
    import onnx

    out, said = halved
    graph = onnx.load(out / "model.onnx").graph
    edges = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert onnx.TensorProto.FLOAT == edges["logits"]
    assert onnx.TensorProto.INT64 == edges["input_ids"]
    long = {weight.data_type for weight in graph.initializer if np.prod(weight.dims) > 32}
    assert {onnx.TensorProto.FLOAT16} == long
    sizes = [sum(len(one.raw_data) for one in onnx.load(f / "model.onnx").graph.initializer) for f in (out, exported)]
    assert 0.45 < sizes[0] / sizes[1] < 0.55
    assert "float16" in said["weights"]


def test_a_graph_in_float16_answers_nearly_as_its_source_does(exported, halved):
    expected, found = (ONNXRUNTIME.load(folder, CPU).run(TEXTS)["logits"] for folder in (exported, halved[0]))
    assert np.float32 == found.dtype
    assert not np.array_equal(expected, found)
    np.testing.assert_allclose(expected, found, atol=0.02)


@pytest.mark.parametrize(("form", "near"), [("float16", 0.02), ("bfloat16", 0.2)])
def test_pytorch_in_another_float_answers_in_float32_nearly_as_the_reference_does(form, near, bert, tmp_path):
    expected = PYTORCH.load(bert, CPU).run(TEXTS)["logits"]
    half.build_in(form, bert, tmp_path)
    session = half.load_in(form, tmp_path, CPU)
    found = session.run(TEXTS)["logits"]
    assert (np.float32, form) == (found.dtype, session.settings["precision"])
    assert not np.array_equal(expected, found)
    np.testing.assert_allclose(expected, found, atol=near)


# Bindings and placement


def test_bound_inputs_and_outputs_answer_as_a_plain_call_does_at_every_shape(exported):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    run = cuda.bound(session, "cpu", lambda arrays: {name: arrays[name] for name in names})
    answers = []
    for batch in (TEXTS, {name: np.ascontiguousarray(a[:1, :3]) for name, a in TEXTS.items()}, TEXTS):
        answers.append(run(batch)["logits"])
        np.testing.assert_array_equal(session.run(None, {name: batch[name] for name in names})[0], answers[-1])
    np.testing.assert_array_equal(answers[0], answers[2])  # a later call does not write over an earlier answer


def test_every_node_is_counted_where_it_runs(exported):
    import onnx

    found = ONNXRUNTIME.load(exported, CPU).settings["placement"]
    name, count = found.split(" ")
    assert "CPUExecutionProvider" == name
    assert 0 < int(count) <= len(onnx.load(exported / "model.onnx").graph.node)


def test_a_runtime_that_tells_no_placement_is_taken_for_what_it_is():
    assert "this ONNX Runtime does not tell" == cuda.placement(object())


def test_both_libraries_are_told_the_same_of_tf32():
    import torch

    known = torch.backends
    legacy = known.cudnn.allow_tf32
    kinds = (known.cuda.matmul, known.cudnn.conv, known.cudnn.rnn)
    before = [kind.fp32_precision for kind in kinds]
    kinds[1].fp32_precision = "tf32"
    try:
        told = cuda.exact_torch()
        assert (False, "highest") == (known.cudnn.allow_tf32, torch.get_float32_matmul_precision())  # as inductor asks
    finally:
        known.cudnn.allow_tf32 = legacy
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision
    assert "0" == told["tf32"] == cuda.PROVIDERS["cuda"][0][1]["use_tf32"]


# TensorRT


def test_an_engine_is_built_for_the_shortest_and_the_longest_text_before_any_window(exported):
    shapes = []
    tensorrt.engine(lambda arrays: shapes.append(arrays["input_ids"].shape), tensorrt.longest(exported))(TEXTS)
    assert [(2, 5), (2, 1), (2, 32)] == shapes  # of 40 positions, the largest power of two


def test_an_engine_of_images_is_built_for_their_one_shape():
    shapes = []
    image = {"pixel_values": np.zeros((1, 3, 8, 8), dtype=np.float32)}
    tensorrt.engine(lambda arrays: shapes.append(arrays["pixel_values"].shape), 512)(image)
    assert [(1, 3, 8, 8)] == shapes


def test_tensorrt_takes_the_export_as_it_is_and_no_generated_text(exported, tmp_path):
    ONNXRUNTIME_TENSORRT.build(exported, tmp_path, text_classification)
    assert (exported / "model.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "encoder_model.onnx").write_bytes(b"")
    with pytest.raises(Unsupported, match="generated text"):
        ONNXRUNTIME_TENSORRT.build(tmp_path, tmp_path / "out", text_classification)


def test_what_a_machine_lacks_is_said_before_anything_is_built():
    for backend in (ONNXRUNTIME, ONNXRUNTIME_FP16, ONNXRUNTIME_TENSORRT):
        reason = backend.unavailable("cuda")
        if reason is None:
            pytest.skip("this machine has ONNX Runtime for GPUs and TensorRT")
        assert "is not installed; run: python -m pip install" in reason


# With a GPU


@pytest.mark.parametrize("backend", [b for b in DEFAULT_BACKENDS if "cuda" in b.devices], ids=lambda b: b.name)
def test_every_backend_of_a_gpu_answers_there_nearly_as_the_cpu_does(backend, bert, exported, halved, tmp_path):
    reason = no_cuda() or (backend.unavailable("cuda") if backend.unavailable else None)
    if reason is not None:
        pytest.skip(reason)
    folder = bert
    if backend.build:
        backend.build(bert if backend.source is None else exported, tmp_path, text_classification)
        folder = tmp_path
    session = backend.load(folder, Target("cuda", 1))
    if session.compile:
        session.compile(TEXTS)
    expected, found = PYTORCH.load(bert, CPU).run(TEXTS)["logits"], session.run(TEXTS)["logits"]
    assert ("cuda", "0") == (session.device, session.settings["tf32"])
    np.testing.assert_allclose(expected, found, atol=0.05 if backend.lossy else 1e-3)
