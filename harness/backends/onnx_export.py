"""Float ONNX graphs of a checkpoint: the export and its optimised form."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import checkpoint
from harness.contracts.kind import Arrays, Kind
from harness.errors import Unsupported
from harness.util.console import quiet

FILE = "model.onnx"

ENCODER = "encoder_model.onnx"


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
    known = TasksManager.get_supported_tasks_for_model_type(
        model.config.model_type, "onnx", library_name="transformers"
    )
    task = kind.export or kind.name
    if task not in known:
        raise Unsupported(f"Optimum exports no {task} head for {model.config.model_type}; it has {', '.join(known)}")
    # Optimum's validation only warns; the pipeline compares every answer with the reference instead. A decoder's two
    # graphs stay apart: merged, they are branches, which the quantiser does not enter.
    apart = checkpoint.generates(model)
    onnx_export_from_model(model, out, task=task, do_validation=False, no_post_process=apart)
    return f"optimum-onnx {version('optimum-onnx')}"


def _export_native(source: Path, out: Path, kind: Kind) -> str:
    import onnx
    import torch

    example = {name: torch.from_numpy(array) for name, array in checkpoint.example(source).items()}
    program = torch.onnx.export(
        checkpoint.load(source),
        kwargs=example,
        dynamo=True,
        verbose=False,
        output_names=["logits"],
        dynamic_shapes={name: dict(enumerate(kind.axes)) for name in example},
    )
    assert program is not None
    model = program.model_proto
    # The quantiser transposes weights in place; shapes noted for the old ones would make it stumble.
    del model.graph.value_info[:]
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        _forget_places(nodes)
    onnx.save(model, out / FILE)
    return f"torch.onnx {torch.__version__}"


def _forget_places(nodes: Iterable[Any]) -> None:
    """Take out of nodes in which files of this machine each was called: it would be published with the graph."""
    for node in nodes:
        del node.metadata_props[:]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):  # of a loop, its body
                _forget_places(inner.node)


def optimise(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Optimum's O2: ONNX Runtime's basic and extended optimisations and its transformer fusions, all in float."""
    if not (source / "config.json").exists():
        raise Unsupported(
            "ORTOptimizer needs a Transformers model type to choose its fusions; a native module has none"
        )
    from optimum.onnxruntime import ORTModelForSeq2SeqLM, ORTOptimizer
    from optimum.onnxruntime.configuration import AutoOptimizationConfig

    with quiet():
        try:
            model: Any = source
            if is_generating(source):
                model = ORTModelForSeq2SeqLM.from_pretrained(source, use_merged=False, local_files_only=True)
            optimizer = ORTOptimizer.from_pretrained(model)
        except (KeyError, NotImplementedError) as error:
            raise Unsupported(f"ORTOptimizer: {error}") from error
        optimizer.optimize(AutoOptimizationConfig.O2(), save_dir=out, file_suffix=None)
    return {"optimizer": f"ORTOptimizer O2, optimum-onnx {version('optimum-onnx')}"}


def giver(inputs: Sequence[str]) -> Callable[[Arrays], Arrays]:
    """What a graph with these inputs is given of a batch; ValueError if that lacks one."""

    def given(arrays: Arrays) -> Arrays:
        try:
            return {name: arrays[name] for name in inputs}
        except KeyError as missing:
            raise ValueError(f"the graph asks for {missing}, the processor gives {', '.join(arrays)}") from None

    return given


def copy_settings(source: Path, out: Path) -> None:
    """What a generating model is loaded by, beside its graphs."""
    if is_generating(source):
        for settings in source.glob("*config.json"):
            shutil.copyfile(settings, out / settings.name)


def is_generating(artifact: Path) -> bool:
    """Whether an artifact answers with text that it generates: then its encoder is a graph of its own."""
    return (artifact / ENCODER).exists()
