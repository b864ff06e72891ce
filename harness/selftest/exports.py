"""Broken exports are refused by the gate of every session, and harmless changes are accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.backends import ONNXRUNTIME, ONNXRUNTIME_O2, PYTORCH, tuned
from harness.backends.onnx_optimum import OPTIMUM, export_with_optimum
from harness.contracts.backend import Backend
from harness.errors import HarnessError
from harness.evaluation.answers import check_parity
from harness.selftest import toys
from harness.selftest.figures import Figure, Workspace, count, part
from harness.selftest.graph_edits import Graph
from harness.selftest.real import Real, collect, prepare

if TYPE_CHECKING:
    from harness.contracts.kind import Kind

CONTROL = {"at_least": 1, "control": True}  # one broken export must pass once a check is switched off
DENSE = "encoder/layer.2/attention/output/dense/MatMul"
TEXT_VALUE, TEXT_DENSE = "/bert/encoder/layer.2/attention/self/value/Add_output_0", f"/bert/{DENSE}"
TEXT_NODES = ("/bert/embeddings/LayerNorm/LayerNormalization_output_0", TEXT_VALUE, TEXT_DENSE)
IMAGE_VALUE = "/vit/encoder/layer.2/attention/attention/value/Add_output_0"
IMAGE_NODES = ("/vit/embeddings/Add_output_0", IMAGE_VALUE, f"/vit/{DENSE}")
"""The tensor of the embeddings, that of an attention's values, and the matrix product behind it."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A changed export."""

    name: str
    build: Callable[[Real, Path], Path] = lambda real, folder: real.artifact.path
    """(real model, empty folder) → the artifact; by default the export as it is."""
    backend: Backend = ONNXRUNTIME
    hidden: bool = False
    """True if rows of one length cannot show the mistake."""


@part(
    "broken-exports", "all broken exports of a text and an image model (12 and 7) are refused, all clean ones accepted"
)
def broken_exports(workspace: Workspace) -> Iterator[Figure]:
    """Check a text model, then an image model."""
    text = prepare("test_bbc_news.py", "MINILM", workspace)
    broken = broken_text(text.shop.model.max_length)
    yield from _judge("MiniLM", text, broken, clean_text())
    # The safety switched off: rows are probed at no length but their own.
    inputs = replace(text.inputs, kind=replace(text.inputs.kind, axes=("batch",)))
    uncut = replace(text, inputs=inputs, reference=collect(text.shop, PYTORCH, text.checkpoint.path, inputs))
    hidden = {variant.name: _refusals(uncut, variant)[0] for variant in broken if variant.hidden}
    yield _accepted("MiniLM: without rows cut to other lengths, padding mistakes accepted", hidden, **CONTROL)
    image = prepare("test_digits.py", "TINY_VIT", workspace)
    yield from _judge("ViT", image, broken_image(), clean_image())


def _judge(name: str, real: Real, broken: Sequence[Variant], clean: Sequence[Variant]) -> Iterator[Figure]:
    refusals = {variant.name: _refusals(real, variant) for variant in broken}
    refused = {name: reason for name, (reason, _) in refusals.items()}
    yield _accepted(f"{name}: broken exports accepted", refused, at_most=0)
    by_score = {name: reason for name, (_, reason) in refusals.items()}
    yield _accepted(f"{name}: without parity, by score alone, broken exports accepted", by_score, **CONTROL)
    refused = {variant.name: _refusals(real, variant)[0] for variant in clean}
    yield _accepted(f"{name}: clean exports accepted", refused)


def _accepted(label: str, reasons: Mapping[str, str | None], **limits: Any) -> Figure:
    """Count the exports that are accepted; the note says how the others are refused."""
    refused = (f"{name}: {' '.join(reason.split())[:150]}" for name, reason in reasons.items() if reason is not None)
    return count(label, (reason is None for reason in reasons.values()), note="; ".join(refused), **limits)


def _refusals(real: Real, variant: Variant) -> tuple[str | None, str | None]:
    """Return why the gate of every session refuses a variant, and why its score alone would; None if accepted."""
    with TemporaryDirectory() as folder:  # one of these models is 90 MB
        try:
            own = collect(real.shop, variant.backend, variant.build(real, Path(folder)), real.inputs)
        except HarnessError as error:
            return str(error).splitlines()[0], str(error)
    drop = (real.reference.score or 0.0) - (own.score or 0.0)
    by_score = f"drops {drop:.4f}" if drop > real.gate.max_drop else None
    try:
        check_parity(own, real.reference, PYTORCH.name, real.inputs)
    except HarnessError as error:
        return str(error), by_score
    return None, by_score


def broken_graphs(labels: int, embedded: str, value: str, dense: str) -> list[Variant]:
    """Return mistakes that an export of any kind of model may have."""
    return [
        _edited("swapped labels", Graph.reorder_labels, [1, 0, *range(2, labels)]),
        _edited("shifted argmax", Graph.reorder_labels, [*range(1, labels), 0]),
        _edited("one layer x 1.01", Graph.scale_layer, dense, 1.01),
        _edited("fp16 overflow", Graph.convert_to_half, value, f"{dense}_output_0"),
        _edited("training-mode dropout", Graph.add_dropout, embedded, 0.1),
    ]


def broken_text(max_length: int) -> list[Variant]:
    """Return the mistakes of a text model that was exported with an example of `max_length` tokens."""
    return [
        *broken_graphs(5, *TEXT_NODES),
        _disturbed("lost mask", toys.lost_mask, hidden=True),
        _disturbed("wrong token types", toys.wrong_token_types),
        _disturbed("wrong padding side", toys.padded_left, hidden=True),
        _disturbed("wrong truncation", toys.cut_shorter),
        _disturbed("wrong tokenizer", toys.other_vocabulary),
        _edited("length folded to a constant", Graph.fold_axis, 1, max_length, hidden=True),
        _edited("NaN on long input", Graph.add_nan_beyond, "input_ids", 1, max_length - 1),
    ]


def broken_image() -> list[Variant]:
    """Return the mistakes of an image model."""
    return [
        *broken_graphs(10, *IMAGE_NODES),
        _edited("batch folded to a constant", Graph.fold_axis, 0, 1),
        _edited("NaN on large batches", Graph.add_nan_beyond, "pixel_values", 0, 8),
    ]


def clean_image() -> list[Variant]:
    """Return harmless changes to any kind of model."""
    return [
        Variant(name="as exported"),
        Variant(name="external weights", build=_store_weights_outside),
        Variant(name="constants folded", build=partial(_optimise, level="ORT_ENABLE_BASIC")),
        Variant(name="laid out for this processor", build=partial(_optimise, level="ORT_ENABLE_ALL")),
        _tuned(threads=1),
        _tuned(optimisation="disabled"),
        Variant(name="opset 17", build=partial(_export, opset=17)),
    ]


def clean_text() -> list[Variant]:
    """Return harmless changes to a text model."""
    return [
        *clean_image(),
        *(Variant(name=f"opset {opset}", build=partial(_export, opset=opset)) for opset in (14, 18)),
        Variant(name="fused by ONNX Runtime", build=partial(_optimise, level="ORT_ENABLE_EXTENDED")),
        Variant(
            name="fused by Optimum's O2",
            build=lambda real, folder: real.shop.artifact(ONNXRUNTIME_O2, real.artifact).path,
        ),
        _edited("rescaled in float32", Graph.rescale, TEXT_VALUE, f"{TEXT_DENSE}_output_0"),
        _tuned(optimisation="basic"),
        _tuned(optimisation="extended"),
        _tuned(execution="parallel"),
        _tuned(memory_pattern=False),
        _tuned(arena=False),
        _tuned(spinning=True),
    ]


def _edited(name: str, edit: Callable[..., None], *arguments: Any, hidden: bool = False) -> Variant:
    def build(real: Real, folder: Path) -> Path:
        graph = Graph(real.artifact.path / "model.onnx")
        edit(graph, *arguments)
        graph.onnx.save(graph.model, folder / "model.onnx")
        return folder

    return Variant(name=name, build=build, hidden=hidden)


def _disturbed(name: str, load: toys.Load, *, hidden: bool = False) -> Variant:
    return Variant(name=name, backend=Backend(name="disturbed", load=load), hidden=hidden)


def _tuned(**options: Any) -> Variant:
    name = ", ".join(f"{option}={value}" for option, value in options.items())
    return Variant(name=name, backend=tuned(ONNXRUNTIME, **options))


def _store_weights_outside(real: Real, folder: Path) -> Path:
    import onnx

    model = onnx.load(real.artifact.path / "model.onnx")
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    return folder


def _optimise(real: Real, folder: Path, level: str) -> Path:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(folder / "model.onnx")
    ort.InferenceSession(str(real.artifact.path / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return folder


def _export(real: Real, folder: Path, opset: int) -> Path:
    build = {14: opset_14, 17: opset_17, 18: opset_18}[opset]  # found by name in a process of its own
    backend = replace(ONNXRUNTIME, name=f"opset-{opset}", routes=None, build=build, builds_in=OPTIMUM)
    return real.shop.artifact(real.shop.resolve(backend), real.checkpoint).path


def opset_14(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Export with Optimum for ONNX's opset 14."""
    return export_with_optimum(source, out, kind, opset=14)


def opset_17(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Export with Optimum for opset 17."""
    return export_with_optimum(source, out, kind, opset=17)


def opset_18(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Export with Optimum for opset 18."""
    return export_with_optimum(source, out, kind, opset=18)
