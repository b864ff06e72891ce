"""Float ONNX graphs of a checkpoint: exports by Optimum, torch and Transformers, and Optimum's optimised form."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from harness import checkpoint
from harness.contracts.backend import Python, Route
from harness.contracts.kind import Arrays, Kind, omit
from harness.errors import Unsupported, brief_error
from harness.util.console import quiet
from harness.util.decoding import read_limits

FILE = "model.onnx"

MASK, TYPES = "attention_mask", "token_type_ids"

PRODUCER = "transformers"
"""Producer that a graph of Transformers' exporter names; Optimum's names torch."""

MAX_BYTES = 2**31 - 2**20
"""Most weights in one file: protobuf's limit, less room for the graph itself."""

ENCODER = "encoder_model.onnx"
"""The encoder's graph, of a model that answers a text with a text; one that continues a text has FILE alone."""


OPTIMUM = Python(
    requirements=(
        "huggingface-hub==0.36.2",
        "optimum==2.1.0",
        "optimum-onnx==0.1.0",
        "tokenizers==0.22.2",
        "transformers==4.57.6",
    ),
    overlay=True,
)
"""Optimum's last release for ONNX, the last Transformers that it admits, and what that needs in older releases than
this environment has. Exact versions, so that an artifact's key is known before they are installed.
"""


MODEL_FILES = (checkpoint.WEIGHTS, "generation_config.json")
"""Files that a model is read from, besides its config.json."""

ROTARY = "rope_parameters"
"""Settings of rotary positions since Transformers 5. Earlier ones drop them, and rotate by other angles."""

BASES_OF_LAYERS = {"modernbert": {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}}
"""Model type → for each sort of layers the earlier name of the base of its angles."""


def exporters(source: Path) -> tuple[Route, ...]:
    """Return the ways to export a checkpoint: torch's for a native module, else Optimum's, else Transformers' own."""
    if checkpoint.is_native(source):
        return (Route(export_native),)
    return Route(export_with_optimum, OPTIMUM, check_export), Route(export_with_transformers)


def export_with_optimum(source: Path, out: Path, kind: Kind, opset: int | None = None) -> dict[str, str]:
    """Export a checkpoint with Optimum, by default for the opset that it chooses for the architecture."""
    with quiet(), _readable_by_4(source) as folder:
        try:
            model: Any = checkpoint.load(folder)
        except AttributeError as error:
            architecture = checkpoint.read_json(source / "config.json")["architectures"][0]
            if error.name != architecture:
                raise
            release = version("transformers")
            raise Unsupported(f"Transformers {release}, which Optimum needs, has no {architecture}") from error
        return _export_with_optimum(model, out, kind, opset)


def _export_with_optimum(model: Any, out: Path, kind: Kind, opset: int | None) -> dict[str, str]:
    from optimum.exporters.onnx import onnx_export_from_model
    from optimum.exporters.tasks import TasksManager

    model_type = model.config.model_type
    try:
        tasks = TasksManager.get_supported_tasks_for_model_type(model_type, "onnx", library_name="transformers")
    except KeyError as error:
        raise Unsupported(f"Optimum exports no model of the type {model_type}") from error
    task = kind.export or kind.name
    if task not in tasks:
        raise Unsupported(f"Optimum exports no {task} head for {model_type}; it exports {', '.join(tasks)}")
    # Optimum's validation only warns; `check_export` and the pipeline compare answers with the reference instead.
    # A decoder's two graphs stay separate: merged, they are branches, which the quantiser does not enter.
    arguments: dict[str, Any] = {"do_validation": False, "no_post_process": checkpoint.generates(model)}
    if model_type == "whisper":  # which hears one length only
        arguments["nb_max_frames"] = 2 * model.config.max_source_positions
    with _refusals("Optimum", model):
        onnx_export_from_model(model, out, opset=opset, task=task, **arguments)
    return _described(f"optimum-onnx {version('optimum-onnx')}", out)


@contextmanager
def _readable_by_4(source: Path) -> Iterator[Path]:
    """Yield a checkpoint's model as Transformers 4.57 reads it; Unsupported for settings that it cannot express.

    Without the tokenizer: Optimum would read it and write its own form of it beside the graph.
    """
    config = checkpoint.read_json(source / "config.json")
    with TemporaryDirectory() as folder:
        for name in MODEL_FILES:
            if (source / name).exists():
                (Path(folder) / name).symlink_to((source / name).absolute())
        (Path(folder) / "config.json").write_text(json.dumps(earlier(config)))
        yield Path(folder)


def write_tokenizer_class(folder: Path) -> None:
    """Name the class of a tokenizer, and its further special tokens, as both 4.57 and 5 read them."""
    file = folder / "tokenizer_config.json"
    declared = json.loads(file.read_text("utf-8"))
    if declared.get("tokenizer_class") == "TokenizersBackend":
        declared["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(further := declared.get("extra_special_tokens"), list):
        declared |= {"extra_special_tokens": {}, "additional_special_tokens": further}
    file.write_text(json.dumps(declared, indent=2, ensure_ascii=False), encoding="utf-8")


def earlier(config: dict[str, Any]) -> dict[str, Any]:
    """Return the contents of a config.json under earlier names; Unsupported for settings that had none."""
    config = {name: earlier(value) if _is_config(value) else value for name, value in config.items()}
    rotary = config.pop(ROTARY, None)
    return config if rotary is None else config | _earlier_rotary(config["model_type"], rotary)


def _is_config(value: Any) -> bool:
    return isinstance(value, dict) and "model_type" in value


def _earlier_rotary(model_type: str, rotary: dict[str, Any]) -> dict[str, Any]:
    if names := BASES_OF_LAYERS.get(model_type):
        kinds = {settings.get("rope_type", "default") for settings in rotary.values()}
        if rotary.keys() == names.keys() and kinds == {"default"}:
            return {names[layers]: settings["rope_theta"] for layers, settings in rotary.items()}
    elif "rope_theta" in rotary:
        scaling = {name: value for name, value in rotary.items() if name not in ("rope_theta", "partial_rotary_factor")}
        settings = {name: rotary[name] for name in ("rope_theta", "partial_rotary_factor") if name in rotary}
        return settings | {"rope_scaling": None if scaling.get("rope_type", "default") == "default" else scaling}
    raise Unsupported(f"Transformers 4.57, which Optimum needs, cannot express {model_type}'s {ROTARY}: {rotary}")


def export_native(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Export a native module with torch's own exporter."""
    with quiet():
        exporter = _export_native(source, out, kind)
    return _described(exporter, out)


def _described(exporter: str, out: Path) -> dict[str, str]:
    import onnx

    graph = onnx.load(next(out.glob("*.onnx")), load_external_data=False)
    opset = max(entry.version for entry in graph.opset_import)
    return {"exporter": exporter, "opset": str(opset), "onnx": version("onnx")}


def check_export(source: Path, out: Path, kind: Kind) -> None:
    """Raise Unsupported for a graph that answers the example's rows otherwise than this environment's Transformers.

    The older Transformers under Optimum may read a checkpoint wrongly, and of sound Optimum leaves the mask out. Text
    that is generated is left to the pipeline, which compares every answer.
    """
    if is_generating(out):
        return
    import onnxruntime

    with quiet():
        reference = checkpoint.make_run(checkpoint.load(source), "cpu")
    session = onnxruntime.InferenceSession(str(out / FILE), providers=["CPUExecutionProvider"])
    example = checkpoint.example(source)
    if MASK in example and MASK not in [node.name for node in session.get_inputs()]:
        raise Unsupported(f"Optimum's graph takes no {MASK}, by which the model knows the padding of a batch")
    run = host_run(session)
    for row in _single_rows(example, kind.shared):
        own, expected = run(row), reference(row)
        for name in own.keys() & expected.keys():
            tolerance = kind.tolerance.of(expected[name])
            if not max(tolerance.excesses(list(own[name]), list(expected[name]))) <= 0:  # a NaN fails
                distance = max(map(tolerance.distance, own[name], expected[name]))
                raise Unsupported(f"Optimum's graph answers otherwise than the checkpoint: {name} by {distance:.2g}")


def _single_rows(example: Arrays, shared: Collection[str] = ()) -> Iterator[Arrays]:
    """Yield each row of a batch without its padding, and with the arrays that all of them share."""
    own = omit(example, shared)
    mask = own.get(MASK)
    for row in range(len(next(iter(own.values())))):
        alone = {name: array[row : row + 1] for name, array in own.items()}
        if mask is not None:
            tokens = mask[row].astype(bool)
            used = tokens.reshape(-1, tokens.shape[-1]).any(axis=0)  # along the last axis, the length
            alone = {
                name: np.compress(used, array, mask.ndim - 1) if array.shape[1 : mask.ndim] == tokens.shape else array
                for name, array in alone.items()
            }
        yield {**example, **alone}


def _export_native(source: Path, out: Path, kind: Kind) -> str:
    import onnx
    import torch

    example = _example_tensors(source)
    shapes = {name: dict(enumerate(kind.axes)) for name in example}
    module = checkpoint.load(source)
    with _refusals("torch.onnx", module):
        program = torch.onnx.export(
            module, kwargs=example, dynamo=True, verbose=False, output_names=["logits"], dynamic_shapes=shapes
        )
    assert program is not None
    model = program.model_proto
    _remove_notes(model)
    # The quantiser transposes weights in place and fails on shapes that were recorded before.
    del model.graph.value_info[:]
    onnx.save(model, out / FILE)
    return f"torch.onnx {torch.__version__}"


@contextmanager
def _refusals(exporter: str, model: Any) -> Iterator[None]:
    """Turn an exporter's statement that it cannot express a model into Unsupported; other errors stay as they are."""
    import torch
    from torch import nn

    try:
        yield
    except (NotImplementedError, torch.onnx.OnnxExporterError) as error:
        cause = error.__cause__ or error
        places = re.findall(r'File ".*?([^/"]+)", line (\d+), in \w+\n +(.+)', str(cause))
        place = " ({}, line {}: {})".format(*places[-1]) if places else ""
        reason = f"{exporter} cannot express {type(model).__name__}: {brief_error(cause)}{place}"
        if "DataDependent" in type(cause).__name__:
            reason += "; a branch on values of tensors cannot be exported, torch.where can"
        if torch.__version__ < "2.13" and any(isinstance(part, (nn.LSTM, nn.GRU)) for part in model.modules()):
            reason = f"{reason.rstrip(':')}; torch exports LSTM and GRU layers at any length from 2.13 on: upgrade it"
        raise Unsupported(reason) from error


def _remove_notes(model: Any) -> None:
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        _remove_source_paths(nodes)


def _remove_source_paths(nodes: Iterable[Any]) -> None:
    """Remove the source files of this machine that each node names: they would be published with the graph."""
    for node in nodes:
        del node.metadata_props[:]
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):  # of loops and branches
                _remove_source_paths(body.node)


def export_with_transformers(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Export a checkpoint with Transformers' own exporter; the kind's axes stay dynamic."""
    import torch
    from transformers.exporters import OnnxConfig
    from transformers.exporters.exporter_onnx import OnnxExporter

    if checkpoint.is_native(source):
        raise Unsupported("Transformers exports only its own models, not native modules")
    with quiet(), redirect_stdout(None):  # where torch reports its steps
        model: Any = checkpoint.load(source)
        if checkpoint.generates(model):
            raise Unsupported("Transformers' exporter splits a model that generates into parts that nothing here runs")
        example = _example_tensors(source)
        axes = dict.fromkeys(range(len(kind.axes)), torch.export.Dim.AUTO)
        shapes = {name: {} if name in kind.shared else axes for name in example}
        with _refusals("OnnxExporter", model):
            export = OnnxExporter().export(model, example, config=OnnxConfig(dynamic=True, dynamic_shapes=shapes))
        save_program(export.program, out)
    shutil.copyfile(source / "config.json", out / "config.json")
    return _described(transformers_name("OnnxExporter"), out)


def fuse(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Apply Transformers' fusions for ONNX Runtime to a graph of its own exporter, all in float."""
    from transformers.exporters.exporter_onnx import OnnxExporter
    from transformers.exporters.onnxruntime_fusions import fuse_for_onnxruntime

    with quiet():
        program = OnnxExporter.load_program(source / FILE)
        fuse_for_onnxruntime(program, "cpu")  # which reads shapes, and records wrong ones for what it adds
        save_program(program, out, shapes=False)
    shutil.copyfile(source / "config.json", out / "config.json")
    return {"optimizer": transformers_name("ort_fusions cpu")}


def transformers_name(tool: str) -> str:
    """Return the name of one of Transformers' tools with its version, which counts: they are experimental."""
    return f"{tool}, transformers {version('transformers')}"


def save_program(program: Any, out: Path, shapes: bool = True) -> None:
    """Save a graph of Transformers' exporter, with or without shapes, in one file unless that is too large for it."""
    import onnx
    import onnx_ir

    program.producer_name = PRODUCER
    weights = sum(value.const_value.nbytes for value in program.graph.initializers.values())
    onnx_ir.save(program, out / FILE, external_data=f"{FILE}.data" if weights > MAX_BYTES else None)
    model = onnx.load(out / FILE, load_external_data=False)
    _remove_notes(model)
    if not shapes:
        del model.graph.value_info[:]
    onnx.save(model, out / FILE)


def _example_tensors(source: Path) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(array) for name, array in checkpoint.example(source).items()}


def optimisers(source: Path) -> tuple[Route, ...]:
    """Return the way to fuse a float export: that of the library that exported it."""
    import onnx

    if not (source / "config.json").exists():
        raise Unsupported("ORTOptimizer chooses fusions by Transformers model type; a native module has none")
    by_transformers = not is_generating(source) and (
        onnx.load(source / FILE, load_external_data=False).producer_name == PRODUCER
    )
    return (Route(fuse) if by_transformers else Route(optimise, OPTIMUM),)


def optimise(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Apply Optimum's O2: ONNX Runtime's basic and extended optimisations and transformer fusions, all in float."""
    checkpoint.leave_out_unused()
    from optimum.onnxruntime import ORTOptimizer
    from optimum.onnxruntime.configuration import AutoOptimizationConfig

    with quiet():
        try:
            model: Any = source
            if (source / ENCODER).exists():
                model = writer_class(source).from_pretrained(source, use_merged=False, local_files_only=True)
            optimizer = ORTOptimizer.from_pretrained(model)
            optimizer.optimize(AutoOptimizationConfig.O2(), save_dir=out, file_suffix=None)
        except (KeyError, NotImplementedError) as error:
            raise Unsupported(f"ORTOptimizer: {brief_error(error)}") from error
    return {"optimizer": f"ORTOptimizer O2, optimum-onnx {version('optimum-onnx')}"}


def host_run(session: Any) -> Callable[[Arrays], Arrays]:
    """Return a function from a batch to a session's outputs, all in host memory."""
    select = input_selector([node.name for node in session.get_inputs()])
    outputs = [node.name for node in session.get_outputs()]
    return lambda arrays: dict(zip(outputs, session.run(outputs, select(arrays)), strict=True))


def input_selector(names: Sequence[str]) -> Callable[[Arrays], Arrays]:
    """Return a function that selects a graph's inputs from a batch; ValueError if the batch lacks one.

    Where a tokenizer gives no token types they are zero, as in PyTorch.
    """
    reads_types = TYPES in names

    def select(arrays: Arrays) -> Arrays:
        if reads_types and TYPES not in arrays and "input_ids" in arrays:
            arrays = {**arrays, TYPES: np.zeros_like(arrays["input_ids"])}
        try:
            return {name: arrays[name] for name in names}
        except KeyError as missing:
            raise ValueError(f"the graph needs input {missing}; the processor gives only {', '.join(arrays)}") from None

    return select


def copy_settings(source: Path, out: Path) -> None:
    """Copy the settings that a model that generates is loaded with."""
    if is_generating(source):
        for settings in source.glob("*config.json"):
            shutil.copyfile(settings, out / settings.name)


def writer_class(artifact: Path) -> Any:
    """Return Optimum's class for a model whose encoder reads texts or sound, and whose decoder writes."""
    from optimum import onnxruntime
    from transformers.models.auto.modeling_auto import MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES

    hears = checkpoint.read_json(artifact / "config.json")["model_type"] in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES
    return onnxruntime.ORTModelForSpeechSeq2Seq if hears else onnxruntime.ORTModelForSeq2SeqLM


def is_generating(artifact: Path) -> bool:
    """Return whether the artifact is of a model that generates text."""
    return (artifact / ENCODER).exists() or read_limits(artifact) is not None
