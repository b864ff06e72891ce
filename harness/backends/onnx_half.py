"""ONNX graphs in float16, with float32 at their edges."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from harness.backends.onnx_graphs import copy_settings
from harness.backends.onnxruntime import ONNXRUNTIME, load, unavailable
from harness.contracts import Backend
from harness.kind import Kind
from harness.quiet import quiet


def halve(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Weights and arithmetic in float16, by ONNX Runtime's own converter; inputs and outputs keep their types."""
    import onnx
    import onnxruntime
    from onnxruntime.transformers.float16 import convert_float_to_float16

    forms: Counter[str] = Counter()
    for file in sorted(source.glob("*.onnx")):
        with quiet():
            graph = convert_float_to_float16(onnx.load(file), keep_io_types=True)
        onnx.save(graph, out / file.name)
        forms.update(onnx.TensorProto.DataType.Name(weight.data_type).lower() for weight in graph.graph.initializer)
    copy_settings(source, out)
    return {
        "converter": f"onnxruntime.transformers.float16, onnxruntime {onnxruntime.__version__}",
        "weights": ", ".join(f"{form} {count}" for form, count in sorted(forms.items())),
    }


ONNXRUNTIME_FP16 = Backend(
    name="onnxruntime-fp16",
    source=ONNXRUNTIME,
    build=halve,
    load=load,
    lossy=True,
    # On the CPU float16 is cast to float32 and back around every node.
    devices=("cuda",),
    unavailable=unavailable,
)
