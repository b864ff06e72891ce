"""The ONNX exporter of Transformers 5: built in an environment of its own, run by the installed ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import checkpoint
from harness.backends.onnx_export import FILE
from harness.backends.onnx_quantization import quantised_operators
from harness.backends.onnxruntime import load, unavailable
from harness.contracts.backend import Backend, Python
from harness.contracts.kind import Kind
from harness.errors import Unsupported
from harness.util.console import quiet

TRANSFORMERS5 = Python(
    requirements=(
        "transformers==5.23.*",
        "torch>=2.11,<2.14",
        "onnx>=1.17",
        "onnxscript>=0.5",
        "onnxruntime>=1.23,<2",
        "pillow>=10",
    )
)
"""Optimum does not admit Transformers 5, so the two need separate environments. The ranges are this project's."""


def export(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Export the checkpoint with `OnnxExporter`; the kind's axes stay dynamic."""
    if checkpoint.is_native(source):
        raise Unsupported("Transformers exports only its own models, not native modules")
    import torch
    from transformers.exporters import OnnxConfig
    from transformers.exporters.exporter_onnx import OnnxExporter

    with quiet():
        model: Any = checkpoint.load(source)
        if checkpoint.generates(model):
            raise Unsupported("OnnxExporter splits a model that generates into other parts than the worker's loop runs")
        example = {name: torch.from_numpy(array) for name, array in checkpoint.example(source).items()}
        shapes = {name: dict.fromkeys(range(len(kind.axes)), torch.export.Dim.AUTO) for name in example}
        export = OnnxExporter().export(model, example, config=OnnxConfig(dynamic=True, dynamic_shapes=shapes))
        OnnxExporter.save_program(export.program, out / FILE)
    return {"exporter": f"OnnxExporter, transformers {version('transformers')}", "torch": torch.__version__}


def quantise(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Quantise dynamically with Transformers' own quantizer and its defaults."""
    from transformers.exporters import OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer
    from transformers.exporters.configs import ExportFormat
    from transformers.exporters.exporter_onnx import OnnxExporter

    with quiet():
        quantizer = OnnxRuntimeQuantizer(OnnxRuntimeDynamicConfig())
        program = quantizer.quantize(OnnxExporter.load_program(source / FILE), {}, ExportFormat.ONNX)
        OnnxExporter.save_program(program, out / FILE)
    return {
        "quantizer": f"OnnxRuntimeQuantizer dynamic, transformers {version('transformers')}",
        "operators": quantised_operators(out),
    }


ONNXRUNTIME_TF5 = Backend(
    name="onnxruntime-tf5",
    build=export,
    builds_in=TRANSFORMERS5,
    load=load,
    imports=("onnxruntime",),
    unavailable=unavailable,
)

ONNXRUNTIME_TF5_INT8 = replace(
    ONNXRUNTIME_TF5,
    name="onnxruntime-tf5-int8",
    source=ONNXRUNTIME_TF5,
    build=quantise,
    lossy=True,
    # The CUDA provider has no kernels for dynamically quantised matrix products.
    devices=("cpu",),
)
