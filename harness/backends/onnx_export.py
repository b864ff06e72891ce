"""Exports to ONNX by torch: native modules directly, Transformers' models with the exporter that it comes with."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import checkpoint
from harness.backends.onnx_graphs import FILE
from harness.contracts.kind import Kind
from harness.errors import Unsupported, brief_error
from harness.util.console import quiet

PRODUCER = "transformers"
"""Producer that a graph of Transformers' exporter names; Optimum's names torch."""
MAX_BYTES = 2**31 - 2**20
"""Most weights in one file: protobuf's limit, less room for the graph itself."""


def export_native(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Export a native module with torch's own exporter."""
    import onnx
    import torch

    example = _example_tensors(source)
    shapes = {name: dict(enumerate(kind.axes)) for name in example}
    with quiet():
        module = checkpoint.load(source)
        with refusals("torch.onnx", module):
            program = torch.onnx.export(
                module, kwargs=example, dynamo=True, verbose=False, output_names=["logits"], dynamic_shapes=shapes
            )
        assert program is not None
        model = program.model_proto
        _remove_notes(model)
        # The quantiser transposes weights in place and fails on shapes that were recorded before.
        del model.graph.value_info[:]
        onnx.save(model, out / FILE)
    return describe_export(f"torch.onnx {torch.__version__}", out)


def export_with_transformers(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Export a checkpoint with Transformers' own exporter; the kind's axes stay dynamic."""
    import torch
    from transformers.exporters import OnnxConfig
    from transformers.exporters.exporter_onnx import OnnxExporter

    if checkpoint.is_native(source):
        raise Unsupported("Transformers exports only its own models, not native modules")
    with quiet(), redirect_stdout(None):  # where torch reports its steps
        model: Any = checkpoint.load(source)
        if checkpoint.generates(model):
            raise Unsupported("Transformers' exporter splits a model that generates into parts that nothing here runs")
        example = _example_tensors(source)
        axes = dict.fromkeys(range(len(kind.axes)), torch.export.Dim.AUTO)
        shapes = {name: {} if name in kind.shared else axes for name in example}
        with refusals("OnnxExporter", model):
            export = OnnxExporter().export(model, example, config=OnnxConfig(dynamic=True, dynamic_shapes=shapes))
        save_program(export.program, out)
    shutil.copyfile(source / "config.json", out / "config.json")
    return describe_export(transformers_name("OnnxExporter"), out)


def fuse(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Apply Transformers' fusions for ONNX Runtime to a graph of its own exporter, all in float."""
    from transformers.exporters.exporter_onnx import OnnxExporter
    from transformers.exporters.onnxruntime_fusions import fuse_for_onnxruntime

    with quiet():
        program = OnnxExporter.load_program(source / FILE)
        fuse_for_onnxruntime(program, "cpu")  # which reads shapes, and records wrong ones for what it adds
        save_program(program, out, shapes=False)
    shutil.copyfile(source / "config.json", out / "config.json")
    return {"optimizer": transformers_name("ort_fusions cpu")}


def save_program(program: Any, out: Path, shapes: bool = True) -> None:
    """Save a graph of Transformers' exporter, with or without shapes, in one file unless that is too large for it."""
    import onnx
    import onnx_ir

    program.producer_name = PRODUCER
    weights = sum(value.const_value.nbytes for value in program.graph.initializers.values())
    onnx_ir.save(program, out / FILE, external_data=f"{FILE}.data" if weights > MAX_BYTES else None)
    model = onnx.load(out / FILE, load_external_data=False)
    _remove_notes(model)
    if not shapes:
        del model.graph.value_info[:]
    onnx.save(model, out / FILE)


def transformers_name(tool: str) -> str:
    """Return the name of one of Transformers' tools with its version, which counts: they are experimental."""
    return f"{tool}, transformers {version('transformers')}"


@contextmanager
def refusals(exporter: str, model: Any) -> Iterator[None]:
    """Turn an exporter's statement that it cannot express a model into Unsupported; other errors stay as they are."""
    import torch
    from torch import nn

    try:
        yield
    except (NotImplementedError, torch.onnx.OnnxExporterError) as error:
        cause = error.__cause__ or error
        places = re.findall(r'File ".*?([^/"]+)", line (\d+), in \w+\n +(.+)', str(cause))
        place = " ({}, line {}: {})".format(*places[-1]) if places else ""
        reason = f"{exporter} cannot express {type(model).__name__}: {brief_error(cause)}{place}"
        if "DataDependent" in type(cause).__name__:
            reason += "; a branch on values of tensors cannot be exported, torch.where can"
        if torch.__version__ < "2.13" and any(isinstance(part, (nn.LSTM, nn.GRU)) for part in model.modules()):
            reason = f"{reason.rstrip(':')}; torch exports LSTM and GRU layers at any length from 2.13 on: upgrade it"
        raise Unsupported(reason) from error


def describe_export(exporter: str, out: Path) -> dict[str, str]:
    """Return the settings to record: the exporter, and the opset of its graphs in a folder."""
    import onnx

    graph = onnx.load(next(out.glob("*.onnx")), load_external_data=False)
    opset = max(entry.version for entry in graph.opset_import)
    return {"exporter": exporter, "opset": str(opset), "onnx": version("onnx")}


def _remove_notes(model: Any) -> None:
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        _remove_source_paths(nodes)


def _remove_source_paths(nodes: Iterable[Any]) -> None:
    """Remove the source files of this machine that each node names: they would be published with the graph."""
    for node in nodes:
        del node.metadata_props[:]
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):  # of loops and branches
                _remove_source_paths(body.node)


def _example_tensors(source: Path) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(array) for name, array in checkpoint.example(source).items()}
