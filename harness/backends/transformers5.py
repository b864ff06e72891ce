"""The ONNX exporter of Transformers 5 beside Optimum's: built in an environment of its own, run by the same runtime."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import checkpoint
from harness.backends.onnx_export import FILE
from harness.backends.onnx_quantization import operators
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
"""The ranges are those of this project; Optimum admits no Transformers 5, so that both cannot stand in one."""


def export(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """The checkpoint as `OnnxExporter` writes it, its axes as free as the kind has them."""
    if checkpoint.is_native(source):
        raise Unsupported("Transformers exports its own models; a native module is none")
    import torch
    from transformers.exporters import OnnxConfig
    from transformers.exporters.exporter_onnx import OnnxExporter

    with quiet():
        model: Any = checkpoint.load(source)
        if checkpoint.generates(model):
            raise Unsupported("its parts of a model that generates are not those that the worker's loop runs")
        example = {name: torch.from_numpy(array) for name, array in checkpoint.example(source).items()}
        free = {name: dict.fromkeys(range(len(kind.axes)), torch.export.Dim.AUTO) for name in example}
        exported = OnnxExporter().export(model, example, config=OnnxConfig(dynamic=True, dynamic_shapes=free))
        OnnxExporter.save_program(exported.program, out / FILE)
    return {"exporter": f"OnnxExporter, transformers {version('transformers')}", "torch": torch.__version__}


def quantise(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Dynamic int8 by Transformers' own quantizer, as it comes."""
    from transformers.exporters import OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer
    from transformers.exporters.configs import ExportFormat
    from transformers.exporters.exporter_onnx import OnnxExporter

    with quiet():
        quantizer = OnnxRuntimeQuantizer(OnnxRuntimeDynamicConfig())
        program = quantizer.quantize(OnnxExporter.load_program(source / FILE), {}, ExportFormat.ONNX)
        OnnxExporter.save_program(program, out / FILE)
    return {
        "quantizer": f"OnnxRuntimeQuantizer dynamic, transformers {version('transformers')}",
        "operators": operators(out),
    }


ONNXRUNTIME_TF5 = Backend(
    name="onnxruntime-tf5",
    build=export,
    builds_in=TRANSFORMERS5,
    load=load,
    imports=("onnxruntime",),
    unavailable=unavailable,
)

ONNXRUNTIME_TF5_INT8 = Backend(
    name="onnxruntime-tf5-int8",
    source=ONNXRUNTIME_TF5,
    build=quantise,
    builds_in=TRANSFORMERS5,
    load=load,
    imports=("onnxruntime",),
    lossy=True,
    # As with Optimum's: the CUDA provider has no kernels for dynamically quantised matrix products.
    devices=("cpu",),
)
