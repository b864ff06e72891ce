"""Int8 forms of an ONNX graph: dynamic, of the optimised graph, calibrated, and guarded.

ALSO: Int8 with a guard: layers that cost accuracy on validation rows stay in float."""

from __future__ import annotations

import math
import platform
import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.backends.onnx_export import FILE, copy_settings, is_generating
from harness.contracts.backend import single_rows
from harness.contracts.kind import Arrays, Kind
from harness.errors import Unsupported
from harness.util.console import quiet
from harness.util.machine import cpu_flags

if TYPE_CHECKING:
    from harness.contracts.backend import Calibration

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


def calibrate_by_range(source: Path, out: Path, kind: Kind, aside: Calibration) -> dict[str, str]:
    """Static int8: activations are scaled by the smallest and largest values that the calibration rows gave."""
    return _static(source, out, aside, "MinMax")


def calibrate_by_percentile(source: Path, out: Path, kind: Kind, aside: Calibration) -> dict[str, str]:
    """Static int8: activations are scaled by the 99.999th percentile of absolute values, and what is beyond is cut."""
    return _static(source, out, aside, "Percentile")


def _static(source: Path, out: Path, aside: Calibration, method: str) -> dict[str, str]:
    """QDQ, weights per channel; results of matrix products stay in float, for the next operator takes no int8."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    check_one_graph(source)
    rows = single_rows(aside.calibration)
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


LAYERS = ("MatMul", "Gemm", "Conv", "Gather", "LSTM", "GRU")
"""Operators with weights that the quantiser turns into int8."""

LOOKED_AT = 32
"""Validation rows that layers are ranked by; all of them decide."""


def guard(source: Path, out: Path, kind: Kind, aside: Calibration) -> dict[str, str]:
    """Dynamic int8, of which as few layers as it takes stay in float for the drop to be within the gate's margin.

    Layers are ranked by what int8 in that layer alone changes of the outputs: the mean squared difference. The worst
    1, 2, 4, … stay in float until the score on validation rows is within the margin, and then as few of them as it
    takes. Unsupported where no gate is known, or not even float in every ranked layer helps.
    """
    check_one_graph(source)
    if aside.max_drop is None:
        raise Unsupported("no gate says which drop is allowed; pass cases() a mapping of models to gates")
    rows = single_rows(aside.validation)
    score = aside.score(_outputs(source / FILE, rows))
    least = score - aside.max_drop
    with quiet(), folded(source / FILE, out) as graph:

        def lost(floats: Sequence[str]) -> bool:
            return not aside.score(_quantised_outputs(graph, floats, rows)) >= least

        ranked = _ranked(graph, rows[:LOOKED_AT]) if lost(()) else []
        floats = ranked[: fewest(lost, ranked)]
        dynamic(graph, out, floats)
    return described(out) | {
        "guards": "onnxruntime-int8",
        "float_layers": ", ".join(sorted(floats)) or "none had to be",
        "validation": f"{aside.score(_outputs(out / FILE, rows)):.4f} where float scores {score:.4f}, {len(rows)} rows",
    }


def fewest(lost: Callable[[Sequence[str]], bool], ranked: Sequence[str]) -> int:
    """How many of the first `ranked` have to stay in float, by doubling and bisection; Unsupported if all do not do.

    `lost` is asked whether int8 loses too much with these in float.
    """
    if not ranked:
        return 0
    enough = 1
    while lost(ranked[:enough]):
        if enough >= len(ranked):
            raise Unsupported("int8 loses more than the gate allows on validation rows, whatever layers stay in float")
        enough = min(2 * enough, len(ranked))
    few = enough // 2  # known not to do; 0 where one does
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (middle, enough) if lost(ranked[:middle]) else (few, middle)
    return enough


def _ranked(graph: Path, rows: Sequence[Arrays]) -> list[str]:
    """Names of layers, the one first whose int8 form alone changes the outputs most."""
    import onnx

    model = onnx.load(graph, load_external_data=False)
    weights = {weight.name for weight in model.graph.initializer}
    layers = [node.name for node in model.graph.node if node.op_type in LAYERS and weights & set(node.input)]
    wanted = _outputs(graph, rows)
    changes = {
        layer: _change(_quantised_outputs(graph, [name for name in layers if name != layer], rows), wanted)
        for layer in layers
    }
    return sorted(layers, key=lambda layer: -changes[layer])


def _change(found: Sequence[Arrays], wanted: Sequence[Arrays]) -> float:
    """Mean squared difference over all outputs; infinite where one is not finite."""
    squares = [
        ((one[name] - other[name]) ** 2).mean() for one, other in zip(found, wanted, strict=True) for name in one
    ]
    mean = float(np.mean(squares))
    return mean if np.isfinite(mean) else math.inf


def _quantised_outputs(graph: Path, floats: Sequence[str], rows: Sequence[Arrays]) -> list[Arrays]:
    with TemporaryDirectory(dir=graph.parent) as scratch:
        dynamic(graph, Path(scratch), floats)
        return _outputs(Path(scratch) / graph.name, rows)


def _outputs(graph: Path, rows: Sequence[Arrays]) -> list[Arrays]:
    """The graph's answers to each row."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    made = [output.name for output in session.get_outputs()]
    return [dict(zip(made, session.run(None, {name: row[name] for name in names}), strict=True)) for row in rows]
