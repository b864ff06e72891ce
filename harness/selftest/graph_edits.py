"""Mistakes that exporters and converters make, made on an exported graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

OUT = "logits"
SCALE = 2.0**10
"""Factor by which values are scaled up twice and down again. A power of two keeps every digit of a float32."""


class Graph:
    """An exported graph, with each mistake as a method."""

    def __init__(self, path: Path) -> None:
        import onnx

        self.onnx, self.model = onnx, onnx.load(path)

    def reorder_labels(self, order: Sequence[int]) -> None:
        """Permute the logits."""
        self._append(OUT, "Gather", [self._constant("order", order, np.int64)], axis=1)

    def scale_layer(self, node_name: str, factor: float) -> None:
        """Multiply the weights of a matrix product."""
        (node,) = (n for n in self.model.graph.node if n.op_type == "MatMul" and n.name == node_name)
        weights = next(i for i in self.model.graph.initializer if i.name in node.input)
        arrays = self.onnx.numpy_helper
        weights.CopyFrom(arrays.from_array(arrays.to_array(weights) * np.float32(factor), weights.name))

    def add_dropout(self, tensor: str, ratio: float) -> None:
        """Apply dropout to a tensor: draw, compare and multiply.

        A `Dropout` node in training mode would not do: ONNX Runtime 1.31 removes it while it optimises.
        """
        kind = self.onnx.TensorProto.FLOAT
        before = self._append(tensor, "Mul", ["drop_factors"])
        self._insert(
            next(at for at, node in enumerate(self.model.graph.node) if "drop_factors" in node.input),
            ("RandomUniformLike", [before], "drop_rng", {"dtype": kind}),
            ("Greater", ["drop_rng", self._constant("ratio", ratio)], "drop_mask", {}),
            ("Cast", ["drop_mask"], "drop_ones", {"to": kind}),
            ("Mul", ["drop_ones", self._constant("kept", 1 / (1 - ratio))], "drop_factors", {}),
        )

    def add_nan_beyond(self, source: str, axis: int, most: int) -> None:
        """Return NaN for inputs larger than `most` along an axis: add the root of a negative number to the logits."""
        self._insert(
            len(self.model.graph.node),
            ("Shape", [source], "nan_shape", {}),
            ("Gather", ["nan_shape", self._constant("nan_axis", axis, np.int64)], "nan_length", {}),
            ("Cast", ["nan_length"], "nan_float", {"to": self.onnx.TensorProto.FLOAT}),
            ("Sub", [self._constant("nan_limit", most + 0.5), "nan_float"], "nan_room", {}),
            ("Sqrt", ["nan_room"], "nan_root", {}),
            ("Mul", ["nan_root", self._constant("nan_zero", 0)], "nan_nothing", {}),
        )
        self._append(OUT, "Add", ["nan_nothing"])

    def fold_axis(self, axis: int, size: int) -> None:
        """Replace the size of an input's axis by the size that the example had."""
        graph, helpers = self.model.graph, self.onnx
        fixed = self._constant("fixed_size", size, np.int64)
        inputs = {value.name for value in graph.input}
        shapes = {n.output[0] for n in graph.node if n.op_type == "Shape" and n.input[0] in inputs}
        constants = {i.name: i for i in graph.initializer}
        constants |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
        for node in graph.node:
            takes_size = node.op_type == "Gather" and node.input[0] in shapes
            if takes_size and int(helpers.numpy_helper.to_array(constants[node.input[1]])) == axis:
                node.CopyFrom(helpers.helper.make_node("Identity", [fixed], list(node.output), name=node.name))

    def convert_to_half(self, first: str, second: str) -> None:
        """Convert to fp16, with values between two products as large as those of some models."""
        from onnxruntime.transformers.float16 import convert_float_to_float16

        self.rescale(first, second)
        self.model = convert_float_to_float16(self.model, keep_io_types=True)

    def rescale(self, first: str, second: str) -> None:
        """Scale up behind `first` and down behind `second`, with only linear nodes between them.

        The function stays the same in float32, whose exponent has the room, and overflows in fp16.
        """
        for tensor, factor in ((first, SCALE), (second, 1 / SCALE)):
            for step in range(2):  # the converter to fp16 would clip a larger constant
                self._append(tensor, "Mul", [self._constant(f"{tensor}_scale_{step}", factor)])

    def _append(self, tensor: str, operator: str, others: Sequence[str], **attributes: Any) -> str:
        """Apply an operator to a tensor, for all its readers; return the name of the tensor before it."""
        nodes = self.model.graph.node
        before = f"{tensor}_before_{operator}_{len(nodes)}"
        at, giver = next((at, node) for at, node in enumerate(nodes) if tensor in node.output)
        giver.output[:] = [before if name == tensor else name for name in giver.output]
        at = len(nodes) if tensor == OUT else at + 1
        self._insert(at, (operator, [before, *others], tensor, {"name": f"{operator}_{len(nodes)}", **attributes}))
        return before

    def _insert(self, at: int, *nodes: tuple[str, Sequence[str], str, Mapping[str, Any]]) -> None:
        for offset, (operator, inputs, output, attributes) in enumerate(nodes):
            node = self.onnx.helper.make_node(operator, inputs, [output], **attributes)
            self.model.graph.node.insert(at + offset, node)

    def _constant(self, name: str, values: Any, dtype: type = np.float32) -> str:
        array = self.onnx.numpy_helper.from_array(np.asarray(values, dtype=dtype), name)
        self.model.graph.initializer.append(array)
        return name
