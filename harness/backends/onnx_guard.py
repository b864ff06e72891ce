"""The guarded int8 form of an ONNX graph: the layers that cost most accuracy stay in float until the gate passes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from harness.backends.onnx_graphs import FILE, host_run
from harness.backends.onnx_quantization import check_single_graph, constants_folded, describe, quantise_dynamic
from harness.contracts.backend import Calibration, single_rows
from harness.contracts.kind import Arrays, Kind
from harness.errors import Unsupported
from harness.util.console import quiet

LAYERS = ("MatMul", "Gemm", "Conv", "Gather", "LSTM", "GRU")
"""Operators with weights that dynamic quantisation turns into int8."""
RANKING_ROWS = 32
"""Validation rows by which layers are ranked; the decision uses all of them."""


def guard(source: Path, out: Path, kind: Kind, calibration: Calibration) -> dict[str, str]:
    """Quantise dynamically, and keep just enough layers in float for the drop on validation rows to pass the gate.

    Layers are ranked by the mean squared change of the outputs when only that layer is int8. The worst 1, 2, 4, … stay
    in float until the drop is within the gate; bisection then finds the smallest number that suffices. Unsupported
    where the suite declares no gate, and where not even float in every ranked layer suffices.
    """
    check_single_graph(source)
    if calibration.max_drop is None:
        raise Unsupported("no gate sets max_drop; pass cases() a mapping of models to gates")
    rows = single_rows(calibration.validation)
    float_score = calibration.score(_outputs(source / FILE, rows))
    min_score = float_score - calibration.max_drop
    with quiet(), constants_folded(source / FILE, out) as graph:

        def fails(floats: Sequence[str]) -> bool:
            return not calibration.score(_quantised_outputs(graph, floats, rows)) >= min_score  # a NaN fails

        ranked = _rank_layers(graph, rows[:RANKING_ROWS]) if fails(()) else []
        floats = ranked[: fewest(fails, ranked)]
        quantise_dynamic(graph, out, floats)
    score = calibration.score(_outputs(out / FILE, rows))
    return describe("quantize_dynamic", out) | {
        "guards": "onnxruntime-int8",
        "float_layers": ", ".join(sorted(floats)) or "none",
        "validation": f"drops {float_score - score:.4f} against float, {len(rows)} rows",
    }


def fewest(fails: Callable[[Sequence[str]], bool], ranked: Sequence[str]) -> int:
    """Return how many of the first `ranked` layers must stay in float; Unsupported if all of them do not suffice.

    `fails(floats)` says whether int8 drops too much with these layers in float.
    """

    def suffices(count: int) -> bool:
        return not fails(ranked[:count])

    if not ranked:
        return 0
    doublings = {min(2**power, len(ranked)) for power in range(len(ranked).bit_length() + 1)}
    enough = next(filter(suffices, sorted(doublings)), None)
    if enough is None:
        raise Unsupported("int8 drops more than the gate allows on validation rows, whichever layers stay in float")
    return bisect_left(range(enough), True, lo=enough // 2 + 1, key=suffices)


def _rank_layers(graph: Path, rows: Sequence[Arrays]) -> list[str]:
    """Return the names of layers, first the one whose int8 form alone changes the outputs most."""
    import onnx

    model = onnx.load(graph, load_external_data=False)
    weights = {weight.name for weight in model.graph.initializer}
    layers = [node.name for node in model.graph.node if node.op_type in LAYERS and weights & set(node.input)]
    expected = _outputs(graph, rows)

    def change(layer: str) -> float:
        """Return the mean squared difference over all outputs; infinite if one is not finite."""
        outputs = _quantised_outputs(graph, [name for name in layers if name != layer], rows)
        pairs = [(own[name], reference[name]) for own, reference in zip(outputs, expected, strict=True) for name in own]
        mean = np.mean([((own - reference) ** 2).mean() for own, reference in pairs])
        return float(mean) if np.isfinite(mean) else np.inf

    return sorted(layers, key=change, reverse=True)


def _quantised_outputs(graph: Path, floats: Sequence[str], rows: Sequence[Arrays]) -> list[Arrays]:
    with TemporaryDirectory(dir=graph.parent) as scratch:
        quantise_dynamic(graph, Path(scratch), floats)
        return _outputs(Path(scratch) / graph.name, rows)


def _outputs(graph: Path, rows: Sequence[Arrays]) -> list[Arrays]:
    import onnxruntime

    return list(map(host_run(onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])), rows))
