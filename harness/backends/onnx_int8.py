"""Int8 forms of an ONNX graph: dynamic, of the optimised graph, calibrated, and guarded."""

from __future__ import annotations

import platform
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.artifacts.aside import alone
from harness.backends.onnx_graphs import FILE, copy_settings, is_generating
from harness.contracts import Arrays
from harness.environment import cpu_flags
from harness.errors import Unsupported
from harness.kind import Kind
from harness.quiet import quiet

if TYPE_CHECKING:
    from harness.artifacts.aside import Aside

INTEGER = re.compile("Integer|Quantize|QAttention|QEmbed|QLinear|QGemm")
"""Operators that a quantised graph has and a float one has not."""
CALIBRATED = ("MatMul", "Gemm", "Conv")
"""Operators that have weights. Of the others' values int8 costs accuracy and saves no time: of 200 BBC articles MiniLM
gave 6 another answer with all of them, 2 with these."""


def quantise(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Dynamic int8 with the preset that suits this machine's CPU.

    It starts from the plain float export, for Optimum's quantiser does not know the nodes of the optimised one.
    """
    with quiet():
        for file in sorted(source.glob("*.onnx")):
            with folded(file, out) as graph:
                dynamic(graph, out)
    copy_settings(source, out)
    return described(out)


def dynamic(graph: Path, out: Path, floats: Collection[str] = ()) -> None:
    """Write the graph's dynamic int8 form to `out`; nodes named in `floats` stay as they are."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    preset = int8_preset(platform.machine(), cpu_flags())
    if preset in ("avx2", "avx512") and "avx_vnni" not in cpu_flags():
        warnings.warn("this CPU has no VNNI instructions, int8 is slower here than on one that has", stacklevel=2)
    config = getattr(AutoQuantizationConfig, preset)(is_static=False, nodes_to_exclude=list(floats))
    ORTQuantizer(graph).quantize(config, save_dir=out, file_suffix=None)


def described(out: Path) -> dict[str, str]:
    """What `dynamic` made."""
    preset = int8_preset(platform.machine(), cpu_flags())
    quantizer = f"ORTQuantizer dynamic {preset}, optimum-onnx {version('optimum-onnx')}"
    return {"quantizer": quantizer, "preset": preset, "operators": operators(out)}


def quantise_optimised(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Dynamic int8 of the O2 graph, by ONNX Runtime's own quantiser, which has an int8 form of fused attention."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        for file in sorted(source.glob("*.onnx")):
            quantize_dynamic(
                str(file),
                str(out / file.name),
                weight_type=QuantType.QInt8,
                per_channel=True,
                # Shape inference knows no fused nodes, so that the type of what they give has to be told.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
    copy_settings(source, out)
    return {
        "quantizer": f"quantize_dynamic per channel, onnxruntime {version('onnxruntime')}",
        "operators": operators(out),
    }


def calibrate_by_range(source: Path, out: Path, kind: Kind, aside: Aside) -> dict[str, str]:
    """Static int8: activations are scaled by the smallest and largest values that the calibration rows gave."""
    return _static(source, out, aside, "MinMax")


def calibrate_by_percentile(source: Path, out: Path, kind: Kind, aside: Aside) -> dict[str, str]:
    """Static int8: activations are scaled by the 99.999th percentile of absolute values, and what is beyond is cut."""
    return _static(source, out, aside, "Percentile")


def _static(source: Path, out: Path, aside: Aside, method: str) -> dict[str, str]:
    """QDQ, weights per channel; results of matrix products stay in float, for the next operator takes no int8."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    check_one_graph(source)
    rows = alone(aside.calibration)
    with quiet(), folded(source / FILE, out) as graph:
        quantize_static(
            str(graph),
            str(out / FILE),
            _reader(graph, rows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(CALIBRATED),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method],
            extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
        )
    return {
        "quantizer": f"quantize_static {method}, QDQ, per channel, onnxruntime {version('onnxruntime')}",
        "calibration_rows": str(len(rows)),
        "operators": operators(out),
    }


def _reader(graph: Path, rows: list[Arrays]) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader

    names = [given.name for given in onnx.load(graph, load_external_data=False).graph.input]
    given = iter([{name: row[name] for name in names} for row in rows])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Arrays | None:
            return next(given, None)

    return Reader()


def check_one_graph(source: Path) -> None:
    """Unsupported for a model that generates."""
    if is_generating(source):
        raise Unsupported("calibration rows give a decoder no inputs: those are what it wrote itself")


@contextmanager
def folded(file: Path, beside: Path) -> Iterator[Path]:
    """The graph with its constants folded: the quantiser passes over weights that a graph computes (an LSTM's are)."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory(dir=beside) as scratch:
        graph = Path(scratch) / file.name
        quant_pre_process(str(file), str(graph), skip_symbolic_shape=True)
        yield graph


def operators(out: Path) -> str:
    """The quantised ones of all graphs in a folder, with their number."""
    import onnx

    graphs = (onnx.load(file, load_external_data=False).graph for file in sorted(out.glob("*.onnx")))
    found = Counter(node.op_type for graph in graphs for node in graph.node)
    return ", ".join(f"{name} {n}" for name, n in sorted(found.items()) if INTEGER.search(name))


def int8_preset(machine: str, flags: frozenset[str]) -> str:
    """Name of Optimum's quantisation preset for a CPU with these flags."""
    if machine.lower() in ("arm64", "aarch64"):
        return "arm64"
    if {"avx512_vnni", "avx512vnni"} & flags:
        return "avx512_vnni"
    return "avx512" if "avx512f" in flags else "avx2"
