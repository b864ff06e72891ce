"""Edits of an exported graph: the mistakes that exporters and converters make, and changes that change nothing.

Every edit takes a loaded model and returns it, edited.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

OUT = "logits"
SCALE = 2.0**10
"""By which values are scaled up twice, and down again: a power of two, so that no digit of a float32 is lost."""


def labels_in_order(model: Any, order: Sequence[int]) -> Any:
    """Logits in another order."""
    order_name = _constant(model, "order", np.asarray(order, dtype=np.int64))
    return _behind(model, OUT, "Gather", [order_name], axis=1)


def scaled_layer(model: Any, node_name: str, factor: float) -> Any:
    """The weights of the matrix product `node_name`, times `factor`."""
    from onnx import numpy_helper

    (node,) = (n for n in model.graph.node if n.op_type == "MatMul" and n.name == node_name)
    weights = next(i for i in model.graph.initializer if i.name in node.input)
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(factor), weights.name))
    return model


def training_dropout(model: Any, tensor: str, ratio: float) -> Any:
    """Dropout that was never switched off, after the node that gives `tensor`: drawn, compared and multiplied.

    A `Dropout` node in training mode would do no harm: ONNX Runtime removes it while it optimises (1.31 does).
    """
    from onnx import TensorProto, helper

    rate = _constant(model, "ratio", np.asarray(ratio, dtype=np.float32))
    kept = _constant(model, "kept", np.asarray(1 / (1 - ratio), dtype=np.float32))
    _behind(model, tensor, "Mul", ["drop_factors"])
    at, multiply = next((at, node) for at, node in enumerate(model.graph.node) if "drop_factors" in node.input)
    nodes = (
        helper.make_node("RandomUniformLike", [multiply.input[0]], ["drop_dice"], dtype=TensorProto.FLOAT),
        helper.make_node("Greater", ["drop_dice", rate], ["drop_mask"]),
        helper.make_node("Cast", ["drop_mask"], ["drop_ones"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["drop_ones", kept], ["drop_factors"]),
    )
    for offset, node in enumerate(nodes):
        model.graph.node.insert(at + offset, node)
    return model


def nan_beyond(model: Any, source: str, axis: int, most: int) -> Any:
    """NaN for whatever has more than `most` along an axis: the root of a negative number, added to the logits."""
    from onnx import TensorProto, helper

    one = _constant(model, "nan_axis", np.asarray(axis, dtype=np.int64))
    limit = _constant(model, "nan_limit", np.asarray(most + 0.5, dtype=np.float32))
    zero = _constant(model, "nan_zero", np.asarray(0, dtype=np.float32))
    model.graph.node.extend(
        [
            helper.make_node("Shape", [source], ["nan_shape"]),
            helper.make_node("Gather", ["nan_shape", one], ["nan_length"]),
            helper.make_node("Cast", ["nan_length"], ["nan_float"], to=TensorProto.FLOAT),
            helper.make_node("Sub", [limit, "nan_float"], ["nan_room"]),
            helper.make_node("Sqrt", ["nan_room"], ["nan_root"]),
            helper.make_node("Mul", ["nan_root", zero], ["nan_nothing"]),
        ]
    )
    return _behind(model, OUT, "Add", ["nan_nothing"])


def folded_axis(model: Any, axis: int, size: int) -> Any:
    """Wherever the graph asks for the size of an axis of an input, it finds the size that the example had."""
    from onnx import helper

    fixed = _constant(model, "fixed_size", np.asarray(size, dtype=np.int64))
    inputs = {value.name for value in model.graph.input}
    shapes = {n.output[0] for n in model.graph.node if n.op_type == "Shape" and n.input[0] in inputs}
    constants = _constants(model)
    for node in model.graph.node:
        takes_size = node.op_type == "Gather" and node.input[0] in shapes
        if takes_size and int(constants[node.input[1]]) == axis:
            node.CopyFrom(helper.make_node("Identity", [fixed], list(node.output), name=node.name))
    return model


def half_precision(model: Any, first: str, second: str) -> Any:
    """Converted to fp16 as a converter does, with values between two products as large as some models' are."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(rescaled(model, first, second), keep_io_types=True)


def rescaled(model: Any, first: str, second: str) -> Any:
    """Scaled up behind tensor `first` and down again behind `second`, between which all is linear: the same function
    in float32, whose exponent has the room, and not in fp16, whose has not.
    """
    for tensor, factor in ((first, SCALE), (second, 1 / SCALE)):
        for step in range(2):  # the converter to fp16 would clip a larger constant
            name = _constant(model, f"{tensor}_scale_{step}", np.asarray(factor, dtype=np.float32))
            _behind(model, tensor, "Mul", [name])
    return model


def renamed(model: Any) -> Any:
    """Every inner node and tensor under another name."""
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    names = {value.name for value in model.graph.initializer} | {o for n in model.graph.node for o in n.output}
    new = {name: f"t{number}" for number, name in enumerate(sorted(names - kept))}
    for value in model.graph.initializer:
        value.name = new.get(value.name, value.name)
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    del model.graph.value_info[:]
    return model


def _behind(model: Any, tensor: str, operator: str, others: Sequence[str], **attributes: Any) -> Any:
    """Puts an operator behind the node that gives `tensor`; whoever read the tensor reads what it makes of it."""
    from onnx import helper

    nodes = model.graph.node
    before = f"{tensor}_before_{operator}_{len(nodes)}"
    at, giver = next((at, node) for at, node in enumerate(nodes) if tensor in node.output)
    giver.output[:] = [before if name == tensor else name for name in giver.output]
    added = helper.make_node(operator, [before, *others], [tensor], name=f"{operator}_{len(nodes)}", **attributes)
    nodes.insert(len(nodes) if tensor == OUT else at + 1, added)
    return model


def _constant(model: Any, name: str, values: Any) -> str:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def _constants(model: Any) -> dict[str, Any]:
    from onnx import numpy_helper

    found = {i.name: i for i in model.graph.initializer}
    found |= {n.output[0]: n.attribute[0].t for n in model.graph.node if n.op_type == "Constant"}
    return {name: numpy_helper.to_array(value) for name, value in found.items()}
