"""Float ONNX graphs of a checkpoint: exports by Optimum, torch and Transformers 5, and Optimum's optimised form."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from harness import checkpoint
from harness.contracts.kind import Arrays, Kind
from harness.errors import Unsupported, brief_error
from harness.util.console import quiet

FILE = "model.onnx"

TYPES = "token_type_ids"

ENCODER = "encoder_model.onnx"
"""The encoder's graph; only a model that generates text has it."""


def export(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Export a checkpoint: Transformers models through Optimum, native ones through torch's own exporter."""
    import onnx

    with quiet():
        exporter = _export_native(source, out, kind) if checkpoint.is_native(source) else _export(source, out, kind)
    graph = onnx.load(next(out.glob("*.onnx")), load_external_data=False)
    opset = max(entry.version for entry in graph.opset_import)
    return {"exporter": exporter, "opset": str(opset), "onnx": version("onnx")}


def _export(source: Path, out: Path, kind: Kind) -> str:
    from optimum.exporters.onnx import onnx_export_from_model
    from optimum.exporters.tasks import TasksManager

    model: Any = checkpoint.load(source)
    model_type = model.config.model_type
    try:
        tasks = TasksManager.get_supported_tasks_for_model_type(model_type, "onnx", library_name="transformers")
    except KeyError as error:
        raise Unsupported(f"Optimum exports no model of the type {model_type}") from error
    task = kind.export or kind.name
    if task not in tasks:
        raise Unsupported(f"Optimum exports no {task} head for {model_type}; it exports {', '.join(tasks)}")
    # Optimum's validation only warns; the pipeline compares every answer with the reference instead. A decoder's two
    # graphs stay separate: merged, they are branches, which the quantiser does not enter.
    separate = checkpoint.generates(model)
    with _refusals("Optimum", model):
        onnx_export_from_model(model, out, task=task, do_validation=False, no_post_process=separate)
    return f"optimum-onnx {version('optimum-onnx')}"


def _export_native(source: Path, out: Path, kind: Kind) -> str:
    import onnx
    import torch

    example = _example_tensors(source)
    shapes = {name: dict(enumerate(kind.axes)) for name in example}
    module = checkpoint.load(source)
    with _refusals("torch.onnx", module):
        program = torch.onnx.export(
            module, kwargs=example, dynamo=True, verbose=False, output_names=["logits"], dynamic_shapes=shapes
        )
    assert program is not None
    model = program.model_proto
    # The quantiser transposes weights in place and fails on shapes that were recorded before.
    del model.graph.value_info[:]
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        _remove_source_paths(nodes)
    onnx.save(model, out / FILE)
    return f"torch.onnx {torch.__version__}"


@contextmanager
def _refusals(exporter: str, model: Any) -> Iterator[None]:
    """Turn an exporter's statement that it cannot express a model into Unsupported; other errors stay as they are."""
    import torch

    try:
        yield
    except (NotImplementedError, torch.onnx.OnnxExporterError) as error:
        cause = error.__cause__ or error
        places = re.findall(r'File ".*?([^/"]+)", line (\d+), in \w+\n +(.+)', str(cause))
        place = " ({}, line {}: {})".format(*places[-1]) if places else ""
        reason = f"{exporter} cannot express {type(model).__name__}: {brief_error(cause)}{place}"
        if "DataDependent" in type(cause).__name__:
            reason += "; a branch on values of tensors cannot be exported, torch.where can"
        raise Unsupported(reason) from error


def _remove_source_paths(nodes: Iterable[Any]) -> None:
    """Remove the source files of this machine that each node names: they would be published with the graph."""
    for node in nodes:
        del node.metadata_props[:]
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):  # of loops and branches
                _remove_source_paths(body.node)


def export_with_transformers5(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Export the checkpoint with Transformers 5's `OnnxExporter`; the kind's axes stay dynamic."""
    if checkpoint.is_native(source):
        raise Unsupported("Transformers exports only its own models, not native modules")
    import torch
    from transformers.exporters import OnnxConfig
    from transformers.exporters.exporter_onnx import OnnxExporter

    with quiet():
        model: Any = checkpoint.load(source)
        if checkpoint.generates(model):
            raise Unsupported("OnnxExporter splits a model that generates into parts that the worker cannot run")
        example = _example_tensors(source)
        shapes = {name: dict.fromkeys(range(len(kind.axes)), torch.export.Dim.AUTO) for name in example}
        with _refusals("OnnxExporter", model):
            export = OnnxExporter().export(model, example, config=OnnxConfig(dynamic=True, dynamic_shapes=shapes))
        OnnxExporter.save_program(export.program, out / FILE)
    return {"exporter": f"OnnxExporter, transformers {version('transformers')}", "torch": torch.__version__}


def _example_tensors(source: Path) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(array) for name, array in checkpoint.example(source).items()}


def optimise(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Apply Optimum's O2: ONNX Runtime's basic and extended optimisations and transformer fusions, all in float."""
    if not (source / "config.json").exists():
        raise Unsupported("ORTOptimizer chooses fusions by Transformers model type; a native module has none")
    from optimum.onnxruntime import ORTModelForSeq2SeqLM, ORTOptimizer
    from optimum.onnxruntime.configuration import AutoOptimizationConfig

    with quiet():
        try:
            model: Any = source
            if is_generating(source):
                model = ORTModelForSeq2SeqLM.from_pretrained(source, use_merged=False, local_files_only=True)
            optimizer = ORTOptimizer.from_pretrained(model)
            optimizer.optimize(AutoOptimizationConfig.O2(), save_dir=out, file_suffix=None)
        except (KeyError, NotImplementedError) as error:
            raise Unsupported(f"ORTOptimizer: {brief_error(error)}") from error
    return {"optimizer": f"ORTOptimizer O2, optimum-onnx {version('optimum-onnx')}"}


def host_run(session: Any) -> Callable[[Arrays], Arrays]:
    """Return a function from a batch to a session's outputs, all in host memory."""
    select = input_selector([node.name for node in session.get_inputs()])
    outputs = [node.name for node in session.get_outputs()]
    return lambda arrays: dict(zip(outputs, session.run(outputs, select(arrays)), strict=True))


def input_selector(names: Sequence[str]) -> Callable[[Arrays], Arrays]:
    """Return a function that selects a graph's inputs from a batch; ValueError if the batch lacks one.

    Where a tokenizer gives no token types they are zero, as in PyTorch.
    """
    reads_types = TYPES in names

    def select(arrays: Arrays) -> Arrays:
        if reads_types and TYPES not in arrays and "input_ids" in arrays:
            arrays = {**arrays, TYPES: np.zeros_like(arrays["input_ids"])}
        try:
            return {name: arrays[name] for name in names}
        except KeyError as missing:
            raise ValueError(f"the graph needs input {missing}; the processor gives only {', '.join(arrays)}") from None

    return select


def copy_settings(source: Path, out: Path) -> None:
    """Copy the settings that a model that generates is loaded with."""
    if is_generating(source):
        for settings in source.glob("*config.json"):
            shutil.copyfile(settings, out / settings.name)


def is_generating(artifact: Path) -> bool:
    """Return whether the artifact is of a model that generates text."""
    return (artifact / ENCODER).exists()
