"""Rewrites of a fused ONNX graph that say the same in operators for which ONNX Runtime's CPU kernels are faster.

They are exact but for rounding. Places of another form are left as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.onnx_graphs import copy_settings
from harness.contracts.kind import Kind
from harness.errors import Unsupported

SKIP_NORM = "SkipLayerNormalization"
"""Layer normalisation of a sum. Inputs: two summands, scale, and where there are any a shift and a bias to add."""

SKIP_NORM_EPSILON = 1e-12
"""Its default, which is not that of LayerNormalization."""

PER_TOKEN = ("Add", "BiasGelu", "FastGelu", "Gelu", "LayerNormalization", "Mul", "Relu", SKIP_NORM, "Tanh")
"""Operators that treat every token for itself if their weights have one dimension; MatMul does if it has two."""

NOTHING = "none"

NORM_OPSET = 17
"""The first version of ONNX with LayerNormalization."""


def rewrite_graphs(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Rewrite the graphs in a folder, in float; Unsupported where nothing is to be done."""
    import onnx

    done = dict[str, str]()
    for file in sorted(source.glob("*.onnx")):
        model = onnx.load(file)
        done[file.stem] = rewrite(model)
        onnx.save(model, out / file.name)
    if {*done.values()} == {NOTHING}:
        raise Unsupported("the fused graph has no operator that a CPU runs faster in another form")
    copy_settings(source, out)
    return {"rewrites": describe(done)}


def describe(done: Mapping[str, str]) -> str:
    """Return what was done in the graphs of these names, which a model that generates has several of."""
    return "; ".join(f"{name}: {text}" for name, text in done.items()) if len(done) > 1 else "".join(done.values())


def rewrite(model: Any) -> str:
    """Rewrite the graph of an onnx.ModelProto in place; return what was done, for the artifact's settings."""
    if next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")) < NORM_OPSET:
        return NOTHING
    done = {
        "first token alone after the last attention": keep_first_token(model.graph),
        "split SkipLayerNormalization": split_norms(model.graph),
        "split BiasGelu": split_activations(model.graph),
    }
    return ", ".join(f"{name} {count}" for name, count in done.items() if count) or NOTHING


def split_norms(graph: Any) -> int:
    """Replace SkipLayerNormalization by its parts; return the number of places.

    Its kernel takes the values of a row one after another. The bias becomes an Add, which the int8 product before it
    takes in, and the rest a Sum, because a session would fuse an Add with the normalisation again.
    """
    from onnx import helper

    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}

    def parts(node: Any) -> list[Any] | None:
        norm, mean, deviation, total = [*node.output, "", "", ""][:4]
        if node.op_type != SKIP_NORM or read & {mean, deviation} - {""}:
            return None
        first, second, scale, shift, bias = [*node.input, "", ""][:5]
        biased = [helper.make_node("Add", [first, bias], [f"{norm}_biased"], f"{norm}_bias")] if bias else []
        summands = [f"{norm}_biased" if bias else first, second]
        summed = helper.make_node("Sum", summands, [total or f"{norm}_total"], f"{norm}_sum")
        weights = [scale, shift] if shift else [scale]
        epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), SKIP_NORM_EPSILON)
        options = {"axis": -1, "epsilon": epsilon}
        normed = helper.make_node("LayerNormalization", [*summed.output, *weights], [norm], f"{norm}_norm", **options)
        return [*biased, summed, normed]

    return _replace(graph, parts)


def split_activations(graph: Any) -> int:
    """Replace BiasGelu by Gelu of an Add, which the int8 product before it takes in; return the number of places."""
    from onnx import helper

    def parts(node: Any) -> list[Any] | None:
        if node.op_type != "BiasGelu":
            return None
        (out,) = node.output
        biased = helper.make_node("Add", node.input, [f"{out}_biased"], f"{out}_bias")
        return [biased, helper.make_node("Gelu", biased.output, [out], f"{out}_gelu", domain="com.microsoft")]

    return _replace(graph, parts)


def _replace(graph: Any, parts: Callable[[Any], Sequence[Any] | None]) -> int:
    """Put what `parts` returns in the place of each node for which it returns nodes; return their number."""
    several = [(node, parts(node)) for node in graph.node]
    del graph.node[:]
    for node, others in several:
        graph.node.extend([node] if others is None else others)
    return sum(others is not None for _, others in several)


def keep_first_token(graph: Any) -> int:
    """Take the first token before the last layer's feed-forward instead of after it, if the head reads no other.

    Return 1 if that saves a product of matrices, else 0.
    """
    from onnx import helper, numpy_helper

    weights = {weight.name: weight for weight in graph.initializer}
    readers = defaultdict[str, list[Any]](list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    poolings = [node for node in graph.node if _takes_first_token(node, weights, readers)]
    has_branches = any(attribute.HasField("g") for node in graph.node for attribute in node.attribute)
    region = _per_token_nodes(graph, poolings[0], weights, readers) if len(poolings) == 1 and not has_branches else []
    if not any(node.op_type == "MatMul" for node in region):
        return 0
    inside = {name for node in region for name in node.output}
    bounds = {"first_token": 0, "second_token": 1, "axis_of_tokens": -2}
    graph.initializer.extend(numpy_helper.from_array(np.array([value]), name) for name, value in bounds.items())
    cut = dict[str, str]()
    for node in region:
        for at, name in enumerate(node.input):
            if name and name not in weights and name not in inside:
                if name not in cut:
                    cut[name] = f"{name}_first_token"
                    slicing = helper.make_node("Slice", [name, *bounds], [cut[name]], cut[name])
                    graph.node.insert(list(graph.node).index(node), slicing)
                node.input[at] = cut[name]
    return 1


def _takes_first_token(node: Any, weights: Mapping[str, Any], readers: Mapping[str, Sequence[Any]]) -> bool:
    """Tell whether a node takes the first of the second axis for a Gemm, whose input has two: its own has three."""
    from onnx import numpy_helper

    if node.op_type != "Gather" or node.input[1] not in weights:
        return False
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    index = numpy_helper.to_array(weights[node.input[1]])
    into = {reader.op_type for reader in readers[node.output[0]]}
    return bool(axis == 1 and index.shape == () and index == 0 and "Gemm" in into)


def _per_token_nodes(
    graph: Any, pooling: Any, weights: Mapping[str, Any], readers: Mapping[str, Sequence[Any]]
) -> list[Any]:
    """Return the nodes, in order, that compute for every token alone what only `pooling` reads."""
    results = {output.name for output in graph.output}
    region = [pooling]
    for node in reversed(graph.node):
        outputs = [name for name in node.output if name]
        after = [reader for name in outputs for reader in readers[name]]
        is_read_there_alone = after and all(reader in region for reader in after) and not results & {*outputs}
        if is_read_there_alone and _is_per_token(node, weights):
            region.append(node)
    return region[:0:-1]


def _is_per_token(node: Any, weights: Mapping[str, Any]) -> bool:
    dimensions = [len(weights[name].dims) for name in node.input if name in weights]
    if node.op_type == "MatMul":
        return node.input[1] in weights and dimensions == [2]
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
    return node.op_type in PER_TOKEN and max(dimensions, default=0) <= 1 and axis == -1
