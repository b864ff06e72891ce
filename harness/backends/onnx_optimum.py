"""Optimum, in an environment of its own: its exports, its optimised graphs, and its models that generate."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from harness import checkpoint
from harness.backends.onnx_export import describe_export, refusals
from harness.backends.onnx_graphs import ENCODER, FILE, host_run, is_generating
from harness.backends.transformers_4 import readable_by_4
from harness.contracts.backend import Python
from harness.contracts.kind import Arrays, Kind, omit
from harness.errors import Unsupported, brief_error
from harness.util.console import quiet

OPTIMUM = Python(
    requirements=(
        "huggingface-hub==0.36.2",
        "optimum==2.1.0",
        "optimum-onnx==0.1.0",
        "tokenizers==0.22.2",
        "transformers==4.57.6",
    ),
    overlay=True,
)
"""Optimum's last release for ONNX, the last Transformers that it admits, and what that needs in older releases than
this environment has. Exact versions, so that an artifact's key is known before they are installed.
"""
MASK = "attention_mask"


def export_with_optimum(source: Path, out: Path, kind: Kind, opset: int | None = None) -> dict[str, str]:
    """Export a checkpoint with Optimum, by default for the opset that it chooses for the architecture."""
    with quiet(), readable_by_4(source) as folder:
        try:
            model: Any = checkpoint.load(folder)
        except AttributeError as error:
            architecture = checkpoint.read_json(source / "config.json")["architectures"][0]
            if error.name != architecture:
                raise
            release = version("transformers")
            raise Unsupported(f"Transformers {release}, which Optimum needs, has no {architecture}") from error
        return _export_with_optimum(model, out, kind, opset)


def _export_with_optimum(model: Any, out: Path, kind: Kind, opset: int | None) -> dict[str, str]:
    from optimum.exporters.onnx import onnx_export_from_model
    from optimum.exporters.tasks import TasksManager

    model_type = model.config.model_type
    try:
        tasks = TasksManager.get_supported_tasks_for_model_type(model_type, "onnx", library_name="transformers")
    except KeyError as error:
        raise Unsupported(f"Optimum exports no model of the type {model_type}") from error
    task = kind.export or kind.name
    if task not in tasks:
        raise Unsupported(f"Optimum exports no {task} head for {model_type}; it exports {', '.join(tasks)}")
    # Optimum's validation only warns; `check_export` and the pipeline compare answers with the reference instead.
    # A decoder's two graphs stay separate: merged, they are branches, which the quantiser does not enter.
    arguments: dict[str, Any] = {"do_validation": False, "no_post_process": checkpoint.generates(model)}
    if model_type == "whisper":  # which hears one length only
        arguments["nb_max_frames"] = 2 * model.config.max_source_positions
    with refusals("Optimum", model):
        onnx_export_from_model(model, out, opset=opset, task=task, **arguments)
    return describe_export(f"optimum-onnx {version('optimum-onnx')}", out)


def check_export(source: Path, out: Path, kind: Kind) -> None:
    """Raise Unsupported for a graph that answers the example's rows otherwise than this environment's Transformers.

    The older Transformers under Optimum may read a checkpoint wrongly, and of sound Optimum leaves the mask out. Text
    that is generated is left to the pipeline, which compares every answer.
    """
    if is_generating(out):
        return
    import onnxruntime

    with quiet():
        reference = checkpoint.make_run(checkpoint.load(source), "cpu")
    session = onnxruntime.InferenceSession(str(out / FILE), providers=["CPUExecutionProvider"])
    example = checkpoint.example(source)
    if MASK in example and MASK not in [node.name for node in session.get_inputs()]:
        raise Unsupported(f"Optimum's graph takes no {MASK}, by which the model knows the padding of a batch")
    run = host_run(session)
    for row in _single_rows(example, kind.shared):
        own, expected = run(row), reference(row)
        for name in own.keys() & expected.keys():
            tolerance = kind.tolerance.of(expected[name])
            if not max(tolerance.excesses(list(own[name]), list(expected[name]))) <= 0:  # a NaN fails
                distance = max(map(tolerance.distance, own[name], expected[name]))
                raise Unsupported(f"Optimum's graph answers otherwise than the checkpoint: {name} by {distance:.2g}")


def _single_rows(example: Arrays, shared: Collection[str] = ()) -> Iterator[Arrays]:
    """Yield each row of a batch without its padding, and with the arrays that all of them share."""
    own = omit(example, shared)
    mask = own.get(MASK)
    for row in range(len(next(iter(own.values())))):
        alone = {name: array[row : row + 1] for name, array in own.items()}
        if mask is not None:
            tokens = mask[row].astype(bool)
            used = tokens.reshape(-1, tokens.shape[-1]).any(axis=0)  # along the last axis, the length
            alone = {
                name: np.compress(used, array, mask.ndim - 1) if array.shape[1 : mask.ndim] == tokens.shape else array
                for name, array in alone.items()
            }
        yield {**example, **alone}


def optimise(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Apply Optimum's O2: ONNX Runtime's basic and extended optimisations and transformer fusions, all in float."""
    checkpoint.leave_out_unused()
    from optimum.onnxruntime import ORTOptimizer
    from optimum.onnxruntime.configuration import AutoOptimizationConfig

    with quiet():
        try:
            model: Any = source
            if (source / ENCODER).exists():
                model = writer_class(source).from_pretrained(source, use_merged=False, local_files_only=True)
            optimizer = ORTOptimizer.from_pretrained(model)
            optimizer.optimize(AutoOptimizationConfig.O2(), save_dir=out, file_suffix=None)
        except (KeyError, NotImplementedError) as error:
            raise Unsupported(f"ORTOptimizer: {brief_error(error)}") from error
    return {"optimizer": f"ORTOptimizer O2, optimum-onnx {version('optimum-onnx')}"}


def writer_class(artifact: Path) -> Any:
    """Return Optimum's class for a model whose encoder reads texts, sound or pictures, and whose decoder writes."""
    from optimum import onnxruntime
    from transformers.models.auto import modeling_auto as auto

    model_type = checkpoint.read_json(artifact / "config.json")["model_type"]
    if model_type in auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES:
        return onnxruntime.ORTModelForSpeechSeq2Seq
    sees = model_type in auto.MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES
    return onnxruntime.ORTModelForVision2Seq if sees else onnxruntime.ORTModelForSeq2SeqLM
