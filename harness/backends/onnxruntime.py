"""ONNX Runtime on a float export, its optimised graph, and its int8 form. Workers import no torch, but to generate.

ALSO: ONNX graphs in float16, with float32 at their edges.
ALSO: Another release of a runtime beside the installed one, on the same artifact in the same rounds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import checkpoint
from harness.backends.cuda import ON_DEVICE, PLACEMENT, PROVIDERS, bound, exact_onnxruntime, placement
from harness.backends.onnx_export import FILE, copy_settings, export, giver, is_generating, optimise
from harness.backends.onnx_quantization import (
    calibrate_by_percentile,
    calibrate_by_range,
    guard,
    quantise,
    quantise_optimised,
)
from harness.contracts.backend import Backend, Device, Option, Python, Session, Target
from harness.contracts.kind import Arrays, Kind
from harness.util.console import quiet


def unavailable(device: Device) -> str | None:
    """The CPU-only distribution knows no CUDA."""
    try:
        version("onnxruntime-gpu")
    except PackageNotFoundError:
        return 'onnxruntime-gpu is not installed; run: python -m pip install -e ".[gpu]"' if device == "cuda" else None
    return None


def load(artifact: Path, target: Target) -> Session:
    """An inference session on the device's own execution provider, whose idle threads sleep unless told to spin."""
    return load_on(PROVIDERS[target.device], artifact, target)


def load_on(providers: list[tuple[str, dict[str, str]]], artifact: Path, target: Target) -> Session:
    """Likewise, on these execution providers, each with its options; the first that can runs a node."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = target.threads
    options.inter_op_num_threads = 1
    _choose(options, target, onnxruntime)
    options.log_severity_level = 3
    spinning = "1" if target.spinning else "0"
    for pool in ("intra_op", "inter_op"):  # the latter has threads in parallel execution
        options.add_session_config_entry(f"session.{pool}.allow_spinning", spinning)
    if target.device == "cuda":
        onnxruntime.preload_dlls()
    options.add_session_config_entry(PLACEMENT, "1")
    if is_generating(artifact):
        run, session = _generating(artifact, options, providers[0], target)
    else:
        session = onnxruntime.InferenceSession(str(artifact / FILE), options, providers=providers)
        given = giver([node.name for node in session.get_inputs()])
        run = _answering(session, given) if target.device == "cpu" else bound(session, target.device, given)
    found = session.get_providers()
    return Session(
        run=run,
        device="cuda" if found[0] in ON_DEVICE else "cpu",
        settings={
            "onnxruntime": onnxruntime.__version__,
            "providers": ",".join(found),
            "placement": placement(session),
            "threads": str(session.get_session_options().intra_op_num_threads),
            "allow_spinning": spinning,
            **exact_onnxruntime(session),
            **_chosen(session.get_session_options()),
        },
    )


def _choose(options: Any, target: Target, runtime: Any) -> None:
    """What CHOICES leave open; by default as ONNX Runtime has it."""
    chosen = target.options
    options.enable_cpu_mem_arena = chosen.get("arena", True)
    options.enable_mem_pattern = chosen.get("memory_pattern", True)
    options.graph_optimization_level = getattr(
        runtime.GraphOptimizationLevel, LEVELS[str(chosen.get("optimisation", "all"))]
    )
    if chosen.get("execution") == "parallel":
        options.execution_mode = runtime.ExecutionMode.ORT_PARALLEL
        options.inter_op_num_threads = target.threads


def _chosen(options: Any) -> dict[str, str]:
    """The same, read back from a session."""
    levels = {level: name for name, level in LEVELS.items()}
    return {
        "arena": str(options.enable_cpu_mem_arena),
        "memory_pattern": str(options.enable_mem_pattern),
        "optimisation": levels[options.graph_optimization_level.name],
        "execution": options.execution_mode.name.removeprefix("ORT_").lower(),
        "threads_between_nodes": str(options.inter_op_num_threads),
    }


def _answering(session: Any, given: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    outputs = [node.name for node in session.get_outputs()]

    def run(arrays: Arrays) -> Arrays:
        return dict(zip(outputs, session.run(outputs, given(arrays)), strict=True))

    return run


def _generating(
    artifact: Path, options: Any, provider: tuple[str, dict[str, str]], target: Target
) -> tuple[Callable[[Arrays], Arrays], Any]:
    """`generate` over sessions of encoder and decoder, and one of these. The loop is Transformers' and needs torch."""
    import torch
    from optimum.onnxruntime import ORTModelForSeq2SeqLM

    torch.set_num_threads(target.threads)
    with quiet():
        model = ORTModelForSeq2SeqLM.from_pretrained(
            artifact,
            session_options=options,
            provider=provider[0],
            provider_options=provider[1],
            use_merged=False,
            local_files_only=True,
        )
    return checkpoint.answering(model, target.device), model.decoder.session


LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}
"""ONNX Runtime's own optimisations of a graph, made anew in every session."""

CHOICES: dict[str, tuple[Option, ...]] = {
    "optimisation": tuple(LEVELS),
    "arena": (True, False),
    "memory_pattern": (True, False),
    "execution": ("sequential", "parallel"),
}

ONNXRUNTIME = Backend(
    name="onnxruntime",
    imports=("onnxruntime",),
    build=export,
    load=load,
    unavailable=unavailable,
    choices=CHOICES,
)

ONNXRUNTIME_O2 = replace(ONNXRUNTIME, name="onnxruntime-o2", source=ONNXRUNTIME, build=optimise)

ONNXRUNTIME_INT8 = replace(
    ONNXRUNTIME,
    name="onnxruntime-int8",
    source=ONNXRUNTIME,
    build=quantise,
    lossy=True,
    # ONNX Runtime's CUDA provider has no kernels for quantised matrix products.
    devices=("cpu",),
)

ONNXRUNTIME_O2_INT8 = replace(
    ONNXRUNTIME_INT8, name="onnxruntime-o2-int8", source=ONNXRUNTIME_O2, build=quantise_optimised
)

ONNXRUNTIME_INT8_STATIC = replace(
    ONNXRUNTIME_INT8, name="onnxruntime-int8-static", build=None, calibrate=calibrate_by_range
)

ONNXRUNTIME_INT8_PERCENTILE = replace(
    ONNXRUNTIME_INT8, name="onnxruntime-int8-percentile", build=None, calibrate=calibrate_by_percentile
)

ONNXRUNTIME_INT8_GUARDED = replace(ONNXRUNTIME_INT8, name="onnxruntime-int8-guarded", build=None, calibrate=guard)


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
    imports=("onnxruntime",),
    lossy=True,
    # On the CPU float16 is cast to float32 and back around every node.
    devices=("cuda",),
    unavailable=unavailable,
)

PREPARING = ("numpy>=2,<3", "transformers>=4.57,<4.58", "pillow>=10")
"""What workers need beside their runtime: numpy always, the others in the finals, where rows are prepared in there."""


def onnxruntime_at(release: str) -> Backend:
    """ONNX Runtime as PyPI had it then, "1.23.2" for instance, running what the installed one runs."""
    return Backend(
        name=f"onnxruntime-{re.sub('[^A-Za-z0-9]+', '-', release)}",
        source=ONNXRUNTIME,
        load=load,
        imports=("onnxruntime",),
        runs_in=Python(requirements=(f"onnxruntime=={release}", *PREPARING)),
        devices=("cpu",),
    )
