"""The variants of a real export that the self-test holds to the gate: a dozen mistakes, a score of harmless changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness.backends import ONNXRUNTIME, ONNXRUNTIME_O2
from harness.contracts import Backend
from harness.selftest import graphs, variants
from harness.selftest.real import Real

Edit = Callable[[Any], Any]
Make = Callable[[Real, Path], Path]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One changed export."""

    name: str
    backend: Backend = ONNXRUNTIME
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the backend reads beside the graph."""
    edit: Edit = lambda model: model
    make: Make | None = None
    """(real model, empty folder) → the artifact, where it is no edit of the export's graph."""
    hidden: bool = False
    """Whether rows that all have one length hide it."""

    def artifact(self, real: Real, folder: Path) -> Path:
        """Build it in an empty folder."""
        import onnx

        if self.make is not None:
            return self.make(real, folder)
        onnx.save(self.edit(onnx.load(real.artifact.path / "model.onnx")), folder / "model.onnx")
        (folder / variants.VARIANT).write_text(json.dumps(dict(self.settings)))
        return folder


@dataclass(frozen=True, kw_only=True)
class Names:
    """What an exported graph calls the places that are edited."""

    labels: int
    embedded: str
    value: str
    dense: str


TEXT = Names(
    labels=5,
    embedded="/bert/embeddings/LayerNorm/LayerNormalization_output_0",
    value="/bert/encoder/layer.2/attention/self/value/Add_output_0",
    dense="/bert/encoder/layer.2/attention/output/dense/MatMul",
)
IMAGE = Names(
    labels=10,
    embedded="/vit/embeddings/Add_output_0",
    value="/vit/encoder/layer.2/attention/attention/value/Add_output_0",
    dense="/vit/encoder/layer.2/attention/output/dense/MatMul",
)


def broken_graphs(names: Names) -> list[Variant]:
    """Mistakes that an export of any kind of model may carry."""
    straight = list(range(names.labels))
    scaled = (names.value, f"{names.dense}_output_0")
    return [
        Variant(name="swapped labels", edit=partial(graphs.labels_in_order, order=[1, 0, *straight[2:]])),
        Variant(name="shifted argmax", edit=partial(graphs.labels_in_order, order=[*straight[1:], 0])),
        Variant(name="one layer x 1.01", edit=partial(graphs.scaled_layer, node_name=names.dense, factor=1.01)),
        Variant(name="fp16 overflow", edit=partial(graphs.half_precision, first=scaled[0], second=scaled[1])),
        Variant(name="training-mode dropout", edit=partial(graphs.training_dropout, tensor=names.embedded, ratio=0.1)),
    ]


def broken_text(max_length: int) -> list[Variant]:
    """The twelve of a text model whose example was as long as its longest text."""
    return [
        *broken_graphs(TEXT),
        _disturbed("lost mask", variants.lost_mask, hidden=True),
        _disturbed("wrong token types", variants.wrong_token_types),
        _disturbed("wrong padding side", variants.padded_left, hidden=True),
        _disturbed("wrong truncation", variants.cut_shorter),
        _disturbed("wrong tokenizer", variants.other_vocabulary),
        Variant(
            name="length folded to a constant",
            edit=partial(graphs.folded_axis, axis=1, size=max_length),
            hidden=True,
        ),
        Variant(
            name="NaN on long input",
            edit=partial(graphs.nan_beyond, source="input_ids", axis=1, most=max_length - 1),
        ),
    ]


def broken_image() -> list[Variant]:
    """Those that an image model can have; its batches, not its texts, are folded and too long."""
    return [
        *broken_graphs(IMAGE),
        Variant(name="batch folded to a constant", edit=partial(graphs.folded_axis, axis=0, size=1)),
        Variant(name="NaN on large batches", edit=partial(graphs.nan_beyond, source="pixel_values", axis=0, most=8)),
    ]


def clean_image() -> list[Variant]:
    """Changes that must not matter, to any kind of model."""
    return [
        Variant(name="as exported"),
        Variant(name="external weights", make=_external),
        Variant(name="every inner name changed", edit=graphs.renamed),
        Variant(name="constants folded", make=partial(_optimised, level="ORT_ENABLE_BASIC")),
        _options("one thread", threads=1),
        _options("no graph optimisation", level="ORT_DISABLE_ALL"),
        Variant(name="opset 17", make=partial(_exported, opset=17)),
    ]


def clean_text() -> list[Variant]:
    """The twenty of a text model."""
    scaled = (TEXT.value, f"{TEXT.dense}_output_0")
    return [
        *clean_image(),
        Variant(name="opset 14", make=partial(_exported, opset=14)),
        Variant(name="opset 16", make=partial(_exported, opset=16)),
        Variant(name="opset 18", make=partial(_exported, opset=18)),
        Variant(name="fused by ONNX Runtime", make=partial(_optimised, level="ORT_ENABLE_EXTENDED")),
        Variant(name="fused by Optimum's O2", make=_fused),
        Variant(name="rescaled in float32", edit=partial(graphs.rescaled, first=scaled[0], second=scaled[1])),
        _options("basic optimisation", level="ORT_ENABLE_BASIC"),
        _options("extended optimisation", level="ORT_ENABLE_EXTENDED"),
        _options("parallel execution", parallel=True),
        _options("no memory pattern", pattern=False),
        _options("no memory arena", arena=False),
        _options("threads that spin", entries={"session.intra_op.allow_spinning": "1"}),
        _options("denormals to zero", entries={"session.set_denormal_as_zero": "1"}),
    ]


def _disturbed(name: str, disturbance: Callable[..., Any], *, hidden: bool = False) -> Variant:
    settings = {"disturbance": disturbance.__name__}
    return Variant(name=name, backend=variants.DISTURBED, settings=settings, hidden=hidden)


def _options(name: str, **settings: Any) -> Variant:
    return Variant(name=name, backend=variants.OPTIONS, settings=settings)


def _external(real: Real, folder: Path) -> Path:
    import onnx

    model = onnx.load(real.artifact.path / "model.onnx")
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    return folder


def _optimised(real: Real, folder: Path, level: str) -> Path:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(folder / "model.onnx")
    ort.InferenceSession(str(real.artifact.path / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return folder


def _fused(real: Real, folder: Path) -> Path:
    return real.shop.artifact(ONNXRUNTIME_O2, real.artifact).path


def _exported(real: Real, folder: Path, opset: int) -> Path:
    from optimum.exporters.onnx import onnx_export_from_model

    from harness.quiet import quiet
    from harness.training import checkpoint

    model: Any = checkpoint.load(real.checkpoint.path)
    with quiet():
        onnx_export_from_model(model, folder, task=real.shop.task.kind.name, opset=opset, do_validation=False)
    return folder
