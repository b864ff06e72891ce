"""Int8 forms of an ONNX graph: dynamic, of the optimised graph, and calibrated."""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from harness.backends import onnx_rewrites
from harness.backends.onnx_export import save_program, transformers_name
from harness.backends.onnx_graphs import FILE, copy_settings, input_selector, is_generating
from harness.contracts.backend import Calibration, single_rows
from harness.contracts.kind import Kind
from harness.errors import Unsupported
from harness.util.console import quiet
from harness.util.machine import cpu_flags

INTEGER = re.compile("Integer|NBits|Quantize|QAttention|QEmbed|QLinear|QGemm")
"""Operators that only a quantised graph has."""
CALIBRATED = ("MatMul", "Gemm", "Conv")
"""Operators with weights. Elsewhere int8 costs accuracy and saves no time: MiniLM changed 6 of 200 answers on BBC
articles with all operators calibrated, and 2 with these."""
DYNAMIC = ("Conv", "MatMul", "Attention", "LSTM", "Gather", "Transpose", "EmbedLayerNormalization")
"""Operators that dynamic quantisation turns into int8."""
VNNI = frozenset(("avx512_vnni", "avx512vnni", "avx_vnni", "amx_int8"))
"""CPU flags of instructions that add products of bytes in 32 bits."""
BRANCHES = ("If", "Loop", "Scan", "SequenceMap")
"""Operators with graphs of their own."""
BLOCK = 32
"""Weights in 4 bits that share a scale."""


def quantise(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Quantise the plain export dynamically: Optimum's quantiser does not know the nodes of the optimised graph."""
    with quiet():
        for file in sorted(source.glob("*.onnx")):
            with constants_folded(file, out) as graph:
                quantise_dynamic(graph, out)
    copy_settings(source, out)
    return describe("quantize_dynamic", out)


def quantise_optimised(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Rewrite the O2 graph for the CPU, and quantise it with the quantiser that has an int8 form of fused attention."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    done = dict[str, str]()
    with quiet():
        for file in sorted(source.glob("*.onnx")):
            model = onnx.load(file)
            done[file.stem] = onnx_rewrites.rewrite(model)
            quantize_dynamic(
                model,
                str(out / file.name),
                **_weight_arguments(),
                # Shape inference does not know the types that fused nodes return.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
    copy_settings(source, out)
    return describe("quantize_dynamic", out) | {"rewrites": onnx_rewrites.describe(done)}


def quantise_with_transformers(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Quantise dynamically with Transformers' own quantizer and its defaults."""
    from transformers.exporters import OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer
    from transformers.exporters.configs import ExportFormat
    from transformers.exporters.exporter_onnx import OnnxExporter

    with quiet():
        quantizer = OnnxRuntimeQuantizer(OnnxRuntimeDynamicConfig())
        save_program(quantizer.quantize(OnnxExporter.load_program(source / FILE), {}, ExportFormat.ONNX), out)
    return {"quantizer": transformers_name("OnnxRuntimeQuantizer dynamic"), "operators": quantised_operators(out)}


def quantise_to_4_bits(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Write the weights of matrix products in 4 bits; the products round activations to 8 bits by block."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with quiet():
        for file in sorted(source.glob("*.onnx")):
            quantizer = MatMulNBitsQuantizer(onnx.load(file), block_size=BLOCK, is_symmetric=True, accuracy_level=4)
            quantizer.process()
            onnx.save(quantizer.model.model, out / file.name)
    copy_settings(source, out)
    if not (operators := quantised_operators(out)):
        raise Unsupported("the graph has no product with a matrix of weights, which alone have a form in 4 bits")
    quantizer_name = f"MatMulNBits, 4 bits in blocks of {BLOCK}, onnxruntime {version('onnxruntime')}"
    return {"quantizer": quantizer_name, "operators": operators}


def calibrate_by_range(source: Path, out: Path, kind: Kind, calibration: Calibration) -> dict[str, str]:
    """Quantise statically: activations are scaled by the smallest and largest values on calibration rows."""
    return _quantise_static(source, out, calibration, "MinMax")


def calibrate_by_percentile(source: Path, out: Path, kind: Kind, calibration: Calibration) -> dict[str, str]:
    """Quantise statically: activations are scaled by, and clipped at, the 99.999th percentile of absolute values."""
    return _quantise_static(source, out, calibration, "Percentile")


def _quantise_static(source: Path, out: Path, calibration: Calibration, method: str) -> dict[str, str]:
    """QDQ, weights per channel; matrix products return float, because the next operator takes no int8."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    check_single_graph(source)
    rows = single_rows(calibration.calibration)
    names = [value.name for value in onnx.load(source / FILE, load_external_data=False).graph.input]
    inputs = map(input_selector(names), rows)
    with quiet(), constants_folded(source / FILE, out) as graph:
        quantize_static(
            str(graph),
            str(out / FILE),
            SimpleNamespace(get_next=lambda: next(inputs, None)),  # a CalibrationDataReader
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(CALIBRATED),
            **_weight_arguments(),
            activation_type=QuantType.QUInt8,
            calibrate_method=CalibrationMethod[method],
            extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
        )
    return describe(f"quantize_static {method}, QDQ,", out) | {"calibration_rows": str(len(rows))}


def quantise_dynamic(graph: Path, out: Path, floats: Collection[str] = ()) -> None:
    """Write the graph's dynamic int8 form to `out`; nodes named in `floats` stay in float.

    Products of activations are int8 too, as in attention, and branches are entered, as in Optimum's presets.
    """
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    nodes = onnx.load(graph, load_external_data=False).graph.node
    quantize_dynamic(
        str(graph),
        str(out / graph.name),
        op_types_to_quantize=list(DYNAMIC),
        **_weight_arguments(),
        nodes_to_exclude=list(floats),
        extra_options={
            "WeightSymmetric": True,
            "MatMulConstBOnly": False,
            "EnableSubgraph": any(node.op_type in BRANCHES for node in nodes),
        },
    )


def _weight_arguments() -> dict[str, Any]:
    """Return the quantisers' arguments for weights on this machine."""
    from onnxruntime.quantization import QuantType

    name, reduced = weight_format()
    return {"weight_type": QuantType[name], "reduce_range": reduced, "per_channel": True}


def weight_format() -> tuple[str, bool]:
    """Return the type of int8 weights on this machine, and whether they are reduced to 7 bits.

    x86 without VNNI multiplies unsigned activations fastest by signed weights, but adds two products in 16 bits, which
    saturate: 2 x 255 x 127 does not fit, 2 x 255 x 64 does. Products of two activations are not affected.
    """
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i686", "i386", "x86")
    return "QInt8", x86 and not cpu_flags() & VNNI


def describe(method: str, out: Path) -> dict[str, str]:
    """Return the settings to record: how the graphs in a folder were quantised, and what is quantised in them."""
    name, reduced = weight_format()
    weights = f"{name} per channel{' in 7 bits, for a CPU without VNNI' if reduced else ''}"
    quantizer = f"{method} {weights}, onnxruntime {version('onnxruntime')}"
    return {"quantizer": quantizer, "operators": quantised_operators(out)}


def check_single_graph(source: Path) -> None:
    """Raise Unsupported for a model that generates."""
    if is_generating(source):
        raise Unsupported("calibration rows hold no decoder inputs: a decoder reads the text that it generates")


@contextmanager
def constants_folded(file: Path, out: Path) -> Iterator[Path]:
    """Yield the graph with constants folded: the quantiser skips weights that a graph computes, such as an LSTM's."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory(dir=out) as scratch:
        graph = Path(scratch) / file.name
        quant_pre_process(str(file), str(graph), skip_symbolic_shape=True)
        model = onnx.load(graph)
        # The quantiser infers shapes itself, after it has transposed weights; ONNX Runtime 1.23 stops at the old ones.
        del model.graph.value_info[:]
        onnx.save(model, graph)
        yield graph


def quantised_operators(out: Path) -> str:
    """Return the quantised operators of all graphs in a folder, with their counts."""
    import onnx

    graphs = (onnx.load(file, load_external_data=False).graph for file in sorted(out.glob("*.onnx")))
    counts = Counter(node.op_type for graph in graphs for node in graph.node)
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if INTEGER.search(name))
