"""Broken exports are refused by the gate of every session, and harmless changes are accepted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from harness import checkpoint
from harness.backends import ONNXRUNTIME, ONNXRUNTIME_O2, PYTORCH
from harness.contracts.backend import Backend
from harness.errors import HarnessError
from harness.evaluation import parity
from harness.selftest import figures, toys
from harness.selftest.part import Figure, Workspace, at_least, part
from harness.selftest.real import Real, collect, prepare
from harness.util.console import quiet

Build = Callable[[Real, Path], Path]
"""(real model, empty folder) → the artifact."""
OUT = "logits"
SCALE = 2.0**10
"""Factor by which values are scaled up twice and down again. A power of two keeps every digit of a float32."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A changed export."""

    name: str
    build: Build
    backend: Backend = ONNXRUNTIME
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Read by the backend from a file beside the graph."""
    hidden: bool = False
    """Rows of one length cannot show the mistake."""


@part(
    "broken-exports",
    f"{figures.BROKEN_TEXT} of {figures.BROKEN_TEXT} broken exports are refused, {figures.CLEAN_TEXT} of "
    f"{figures.CLEAN_TEXT} clean ones accepted",
)
def broken_exports(workspace: Workspace) -> Iterator[Figure]:
    """Check a text model, then an image model."""
    text = prepare("test_bbc_news.py", "MINILM", figures.BROKEN_ROWS, workspace)
    broken = broken_text(text.shop.model.max_length)
    yield from _judge("MiniLM", text, broken, clean_text(), figures.BROKEN_TEXT, figures.CLEAN_TEXT)
    # The safety switched off: rows are probed at no length but their own.
    inputs = replace(text.inputs, kind=replace(text.inputs.kind, axes=("batch",)))
    uncut = replace(text, inputs=inputs, reference=collect(text.shop, PYTORCH, text.checkpoint.path, inputs))
    hidden = {variant.name: _gate(uncut, variant)[0] for variant in broken if variant.hidden}
    yield _accepted("MiniLM: without rows cut to other lengths, padding mistakes accepted", hidden)
    image = prepare("test_digits.py", "TINY_VIT", figures.BROKEN_ROWS, workspace)
    yield from _judge("ViT", image, broken_image(), clean_image(), figures.BROKEN_IMAGE, figures.CLEAN_IMAGE)


def _judge(
    name: str, real: Real, broken: Sequence[Variant], clean: Sequence[Variant], bad: int, good: int
) -> Iterator[Figure]:
    outcomes = {variant.name: _gate(real, variant) for variant in broken}
    note = "; ".join(f"{name}: {_short(gated)}" for name, (gated, _) in outcomes.items())
    refused = (gated is not None for gated, _ in outcomes.values())
    yield at_least(bad, f"{name}: broken exports refused", refused, note=note)
    ungated = {name: alone for name, (_, alone) in outcomes.items()}
    yield _accepted(f"{name}: without parity, by score alone, broken exports accepted", ungated)
    reasons = {variant.name: _gate(real, variant)[0] for variant in clean}
    note = "; ".join(f"{name}: {_short(reason)}" for name, reason in reasons.items() if reason)
    yield at_least(good, f"{name}: clean exports accepted", (one is None for one in reasons.values()), note=note)


def _accepted(label: str, reasons: Mapping[str, str | None]) -> Figure:
    note = ", ".join(name for name, reason in reasons.items() if reason is None)
    outcomes = (reason is None for reason in reasons.values())
    return at_least(figures.UNGATED_PASSES, label, outcomes, control=True, note=note)


def _gate(real: Real, variant: Variant) -> tuple[str | None, str | None]:
    """Return why the gate of every session refuses a variant, and why a look at its score alone does, or None."""
    with TemporaryDirectory() as folder:  # one of these models is 90 MB
        artifact = variant.build(real, Path(folder))
        if variant.settings:
            (artifact / toys.VARIANT).write_text(json.dumps(dict(variant.settings)))
        try:
            own = collect(real.shop, variant.backend, artifact, real.inputs)
        except HarnessError as error:
            reason = str(error).splitlines()[0]
            return reason, reason
    drop = (real.reference.score or 0.0) - (own.score or 0.0)
    ungated = f"drops {drop:.4f}" if drop > real.gate.max_drop else None
    try:
        parity.check_forms(own, real.reference, PYTORCH.name, real.inputs.kind.likeness)
        parity.check_parity(own, real.reference, PYTORCH.name, real.inputs)
    except HarnessError as error:
        return str(error), ungated
    return None, ungated


def _short(reason: str | None) -> str:
    """Return the difference alone: all refusals begin alike."""
    if reason is None:
        return "NOT REFUSED"
    return reason.partition("the export does not answer as pytorch does: ")[2].partition(" (allowed")[0] or reason[:120]


TEXT_EMBEDDED = "/bert/embeddings/LayerNorm/LayerNormalization_output_0"
TEXT_VALUE = "/bert/encoder/layer.2/attention/self/value/Add_output_0"
TEXT_DENSE = "/bert/encoder/layer.2/attention/output/dense/MatMul"
IMAGE_EMBEDDED = "/vit/embeddings/Add_output_0"
IMAGE_VALUE = "/vit/encoder/layer.2/attention/attention/value/Add_output_0"
IMAGE_DENSE = "/vit/encoder/layer.2/attention/output/dense/MatMul"


def broken_graphs(count: int, embedded: str, value: str, dense: str) -> list[Variant]:
    """Return mistakes that an export of any kind of model may have; `count` is its number of labels."""
    labels = list(range(count))
    return [
        _edited("swapped labels", lambda graph: graph.reorder_labels([1, 0, *labels[2:]])),
        _edited("shifted argmax", lambda graph: graph.reorder_labels([*labels[1:], 0])),
        _edited("one layer x 1.01", lambda graph: graph.scale_layer(dense, 1.01)),
        _edited("fp16 overflow", lambda graph: graph.convert_to_half(value, f"{dense}_output_0")),
        _edited("training-mode dropout", lambda graph: graph.add_dropout(embedded, 0.1)),
    ]


def broken_text(max_length: int) -> list[Variant]:
    """Return the mistakes of a text model that was exported with an example of `max_length` tokens."""
    return [
        *broken_graphs(5, TEXT_EMBEDDED, TEXT_VALUE, TEXT_DENSE),
        _disturbed("lost mask", toys.lost_mask, hidden=True),
        _disturbed("wrong token types", toys.wrong_token_types),
        _disturbed("wrong padding side", toys.padded_left, hidden=True),
        _disturbed("wrong truncation", toys.cut_shorter),
        _disturbed("wrong tokenizer", toys.other_vocabulary),
        _edited("length folded to a constant", lambda graph: graph.fold_axis(1, max_length), hidden=True),
        _edited("NaN on long input", lambda graph: graph.add_nan_beyond("input_ids", 1, max_length - 1)),
    ]


def broken_image() -> list[Variant]:
    """Return the mistakes of an image model."""
    return [
        *broken_graphs(10, IMAGE_EMBEDDED, IMAGE_VALUE, IMAGE_DENSE),
        _edited("batch folded to a constant", lambda graph: graph.fold_axis(0, 1)),
        _edited("NaN on large batches", lambda graph: graph.add_nan_beyond("pixel_values", 0, 8)),
    ]


def clean_image() -> list[Variant]:
    """Return harmless changes to any kind of model."""
    return [
        _edited("as exported", lambda graph: None),
        Variant(name="external weights", build=_store_weights_outside),
        _edited("every inner name changed", lambda graph: graph.rename_everything()),
        Variant(name="constants folded", build=partial(_optimise, level="ORT_ENABLE_BASIC")),
        _options("one thread", threads=1),
        _options("no graph optimisation", level="ORT_DISABLE_ALL"),
        Variant(name="opset 17", build=partial(_export, opset=17)),
    ]


def clean_text() -> list[Variant]:
    """Return harmless changes to a text model."""
    return [
        *clean_image(),
        *(Variant(name=f"opset {opset}", build=partial(_export, opset=opset)) for opset in (14, 16, 18)),
        Variant(name="fused by ONNX Runtime", build=partial(_optimise, level="ORT_ENABLE_EXTENDED")),
        Variant(
            name="fused by Optimum's O2",
            build=lambda real, folder: real.shop.artifact(ONNXRUNTIME_O2, real.artifact).path,
        ),
        _edited("rescaled in float32", lambda graph: graph.rescale(TEXT_VALUE, f"{TEXT_DENSE}_output_0")),
        _options("basic optimisation", level="ORT_ENABLE_BASIC"),
        _options("extended optimisation", level="ORT_ENABLE_EXTENDED"),
        _options("parallel execution", parallel=True),
        _options("no memory pattern", pattern=False),
        _options("no memory arena", arena=False),
        _options("threads that spin", entries={"session.intra_op.allow_spinning": "1"}),
        _options("denormals to zero", entries={"session.set_denormal_as_zero": "1"}),
    ]


def _edited(name: str, edit: Callable[[Graph], None], **fields: Any) -> Variant:
    def build(real: Real, folder: Path) -> Path:
        graph = Graph(real.artifact.path / "model.onnx")
        edit(graph)
        graph.onnx.save(graph.model, folder / "model.onnx")
        return folder

    return Variant(name=name, build=build, **fields)


def _disturbed(name: str, disturbance: Callable[..., Any], *, hidden: bool = False) -> Variant:
    settings = {"disturbance": disturbance.__name__}
    return _edited(name, lambda graph: None, backend=toys.DISTURBED, settings=settings, hidden=hidden)


def _options(name: str, **settings: Any) -> Variant:
    return _edited(name, lambda graph: None, backend=toys.OPTIONS, settings=settings)


def _store_weights_outside(real: Real, folder: Path) -> Path:
    import onnx

    model = onnx.load(real.artifact.path / "model.onnx")
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    return folder


def _optimise(real: Real, folder: Path, level: str) -> Path:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(folder / "model.onnx")
    ort.InferenceSession(str(real.artifact.path / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return folder


def _export(real: Real, folder: Path, opset: int) -> Path:
    from optimum.exporters.onnx import onnx_export_from_model

    model: Any = checkpoint.load(real.checkpoint.path)
    with quiet():
        onnx_export_from_model(model, folder, task=real.shop.task.kind.name, opset=opset, do_validation=False)
    return folder


class Graph:
    """An exported graph, with the mistakes that exporters and converters make as methods."""

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

    def rename_everything(self) -> None:
        """Rename every inner node and tensor."""
        graph = self.model.graph
        kept = {value.name for value in (*graph.input, *graph.output)}
        names = {value.name for value in graph.initializer} | {o for n in graph.node for o in n.output}
        new = {name: f"t{number}" for number, name in enumerate(sorted(names - kept))}
        for value in graph.initializer:
            value.name = new.get(value.name, value.name)
        for number, node in enumerate(graph.node):
            node.name = f"n{number}"
            node.input[:] = [new.get(name, name) for name in node.input]
            node.output[:] = [new.get(name, name) for name in node.output]
        del graph.value_info[:]

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
