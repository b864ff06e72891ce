"""Int8 with a guard: layers that cost accuracy on validation rows stay in float."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.artifacts.aside import alone
from harness.backends.onnx_graphs import FILE
from harness.backends.onnx_int8 import check_one_graph, described, dynamic, folded
from harness.contracts import Arrays
from harness.errors import Unsupported
from harness.kind import Kind
from harness.quiet import quiet

if TYPE_CHECKING:
    from harness.artifacts.aside import Aside

LAYERS = ("MatMul", "Gemm", "Conv", "Gather", "LSTM", "GRU")
"""Operators with weights that the quantiser turns into int8."""
LOOKED_AT = 32
"""Validation rows that layers are ranked by; all of them decide."""


def guard(source: Path, out: Path, kind: Kind, aside: Aside) -> dict[str, str]:
    """Dynamic int8, of which as few layers as it takes stay in float for the loss to be within the gate's margin.

    Layers are ranked by what int8 in that layer alone changes of the outputs: the mean squared difference. The worst
    1, 2, 4, … stay in float until the score on validation rows is within the margin, and then as few of them as it
    takes. Unsupported where no gate is known, or not even float in every ranked layer helps.
    """
    check_one_graph(source)
    if aside.max_loss is None:
        raise Unsupported("no gate says which loss is allowed; pass cases() a mapping of models to gates")
    rows = alone(aside.validation)
    score = aside.score(_outputs(source / FILE, rows))
    least = score - aside.max_loss
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
