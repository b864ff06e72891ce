"""Rewritten graphs answer as before, and only what is surely the same is rewritten."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.backends.onnx_rewrites import rewrite, rewrite_graphs
from harness.errors import Unsupported
from harness.kinds import text_classification

WIDTH, TOKENS = 8, 5
ALL = "first token alone after the last attention 1, split SkipLayerNormalization 2, split BiasGelu 1"
SPLIT = "split SkipLayerNormalization 2, split BiasGelu 1"


def layer(*, index=0, axis=1, bias=True, shift=True, has_total=False, hidden=False, second_reader=False, opset=18):
    """The end of a fused encoder: a product, a norm, a feed-forward, a norm, the first token and a head."""
    rng = np.random.default_rng(0)
    shapes = {"w": (WIDTH, WIDTH), "up": (WIDTH, 16), "down": (16, WIDTH), "head": (WIDTH, 3)}
    shapes |= dict.fromkeys(("scale", "shift", "b", "scale2", "shift2", "b2"), (WIDTH,)) | {"up_b": (16,)}
    weights = {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()} | {"at": np.array(index)}
    fused = {"domain": "com.microsoft", "epsilon": 1e-5}
    first = ["x1", "x", "scale", *(["shift"] if shift else []), *(["b"] if bias else [])]
    nodes = [
        helper.make_node("Softmax", ["x"], ["attention"], axis=1),  # reads all tokens
        helper.make_node("MatMul", ["attention", "w"], ["x1"]),
        helper.make_node("SkipLayerNormalization", first, ["n1", *(["", "", "total"] if has_total else [])], **fused),
        helper.make_node("MatMul", ["n1", "up"], ["x2"]),
        helper.make_node("BiasGelu", ["x2", "up_b"], ["x3"], domain="com.microsoft"),
        helper.make_node("MatMul", ["x3", "down"], ["x4"]),
        helper.make_node(
            "SkipLayerNormalization",
            ["x4", "total" if has_total else "n1", "scale2", "shift2", "b2"],
            ["last"],
            **fused,
        ),
        helper.make_node("Gather", ["last", "at"], ["pooled"], axis=axis),
        helper.make_node("Gemm", ["pooled", "head"], ["logits"]),
        *([helper.make_node("Identity", ["n1"], ["other"])] if second_reader else []),
    ]
    outputs = ["logits", *(["last"] if hidden else []), *(["other"] if second_reader else [])]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def answers(model, batch=3):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.random.default_rng(1).normal(size=(batch, TOKENS, WIDTH)).astype("f4")})


def operators(model):
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, ALL),
        ({"bias": False, "shift": False}, ALL),
        ({"bias": False}, ALL),
        ({"has_total": True}, ALL),
        ({"index": 1}, SPLIT),
        ({"hidden": True}, SPLIT),
        ({"opset": 16}, "none"),
    ],
    ids=str,
)
def test_rewritten_graph_answers_as_before(form, expected):
    model = layer(**form)
    before = answers(model)
    assert expected == rewrite(model)
    assert all(np.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in zip(before, answers(model), strict=True))


def test_feed_forward_sees_the_first_token_alone():
    model = layer()
    rewrite(model)
    model.graph.output.append(helper.make_tensor_value_info("x4", TensorProto.FLOAT, None))
    logits, last_product = answers(model)
    assert ((3, 3), (3, 1, WIDTH)) == (logits.shape, last_product.shape)
    assert 2 == operators(model)["Slice"]  # attention and the residual


def test_tokens_that_something_else_reads_are_kept():
    model = layer(second_reader=True)
    before = answers(model)
    assert ALL == rewrite(model)  # from the second product on
    after = answers(model)
    assert (3, TOKENS, WIDTH) == after[1].shape
    assert all(np.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in zip(before, after, strict=True))


def test_session_does_not_fuse_the_parts_again(tmp_path):
    model = layer()
    rewrite(model)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    loaded = operators(onnx.load(tmp_path / "loaded.onnx"))
    assert (2, 2, 0) == (loaded["Sum"], loaded["LayerNormalization"], loaded["SkipLayerNormalization"])


def test_norm_whose_mean_is_read_is_kept():
    model = layer()
    (norm, *_) = [node for node in model.graph.node if node.op_type == "SkipLayerNormalization"]
    norm.output.append("mean")
    unread = onnx.ModelProto()
    unread.CopyFrom(model)
    model.graph.output.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, None))
    rewrite(model)
    rewrite(unread)
    assert (1, 0) == (operators(model)["SkipLayerNormalization"], operators(unread)["SkipLayerNormalization"])


def test_norm_without_an_epsilon_keeps_the_default_of_its_operator():
    model = layer()
    for node in model.graph.node:
        if node.op_type == "SkipLayerNormalization":
            del node.attribute[:]
    rewrite(model)
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    assert [1e-12] * 2 == [pytest.approx(a.f) for node in norms for a in node.attribute if a.name == "epsilon"]


def test_graph_with_branches_keeps_its_tokens():
    model = layer()
    branch = helper.make_graph(
        [helper.make_node("Identity", ["n1"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch))
    model.graph.output.append(helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None))
    assert SPLIT == rewrite(model)
    assert (3, TOKENS, WIDTH) == answers(model)[1].shape


def test_graph_with_nothing_to_rewrite_is_unsupported(tmp_path):
    onnx.save(layer(opset=16), tmp_path / "model.onnx")
    with pytest.raises(Unsupported, match="no operator that a CPU runs faster in another form"):
        rewrite_graphs(tmp_path, tmp_path, text_classification)


def test_graphs_of_a_folder_are_rewritten_each(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("encoder", "decoder"):
        onnx.save(layer(index=1), tmp_path / f"{name}.onnx")
    settings = rewrite_graphs(tmp_path, out, text_classification)
    assert {"rewrites": f"decoder: {SPLIT}; encoder: {SPLIT}"} == settings
    assert 2 == operators(onnx.load(out / "encoder.onnx"))["Sum"]
