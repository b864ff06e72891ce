"""ONNX graphs of a checkpoint: the float export, its optimised form, and its int8 form."""

from __future__ import annotations

import platform
import re
import shutil
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import checkpoint
from harness.contracts import Kind
from harness.environment import cpu_flags
from harness.errors import Unsupported
from harness.quiet import quiet

FILE = "model.onnx"
ENCODER = "encoder_model.onnx"
INTEGER = re.compile("Integer|Quantize")
"""Operators that a quantised graph has and a float one has not."""


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
    onnx.save(model, out / FILE)
    return f"torch.onnx {torch.__version__}"


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


def quantise(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Dynamic int8 with the preset that suits this machine's CPU.

    It starts from the plain float export: Optimum's fused O2 graph has nodes that the quantiser does not know. ONNX
    Runtime's own pre-processing folds constants first, since the quantiser passes over weights that the graph computes
    (an exported LSTM's are).
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    preset = int8_preset(platform.machine(), cpu_flags())
    if preset in ("avx2", "avx512") and "avx_vnni" not in cpu_flags():
        warnings.warn("this CPU has no VNNI instructions, int8 is slower here than on one that has", stacklevel=2)
    files = sorted(source.glob("*.onnx"))
    with quiet(), TemporaryDirectory(dir=out) as scratch:
        config = getattr(AutoQuantizationConfig, preset)(is_static=False)
        for file in files:
            folded = Path(scratch) / file.name
            quant_pre_process(str(file), str(folded), skip_symbolic_shape=True)
            ORTQuantizer(folded).quantize(config, save_dir=out, file_suffix=None)
    if is_generating(source):
        for settings in source.glob("*config.json"):
            shutil.copyfile(settings, out / settings.name)
    operators = Counter(node.op_type for file in files for node in onnx.load(out / file.name).graph.node)
    return {
        "quantizer": f"ORTQuantizer dynamic {preset}, optimum-onnx {version('optimum-onnx')}",
        "preset": preset,
        "operators": ", ".join(f"{name} {n}" for name, n in sorted(operators.items()) if INTEGER.search(name)),
    }


def int8_preset(machine: str, flags: frozenset[str]) -> str:
    """Name of Optimum's quantisation preset for a CPU with these flags."""
    if machine.lower() in ("arm64", "aarch64"):
        return "arm64"
    if {"avx512_vnni", "avx512vnni"} & flags:
        return "avx512_vnni"
    return "avx512" if "avx512f" in flags else "avx2"


def is_generating(artifact: Path) -> bool:
    """Whether an artifact answers with text that it generates: then its encoder is a graph of its own."""
    return (artifact / ENCODER).exists()
