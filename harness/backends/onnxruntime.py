"""ONNX Runtime: the float export, its optimised graph, its int8 and float16 forms, and other releases of the runtime.

Workers import no torch, except for models that generate text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import checkpoint
from harness.backends.cuda import (
    GPU_PROVIDERS,
    PROVIDERS,
    RECORD_PLACEMENT,
    bound_run,
    node_placement,
    onnxruntime_settings,
)
from harness.backends.onnx_export import FILE, copy_settings, export, input_selector, is_generating, optimise
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

OPTIMISATION_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}
"""ONNX Runtime's own optimisations of a graph, which every session repeats."""

CHOICES: dict[str, tuple[Option, ...]] = {
    "optimisation": tuple(OPTIMISATION_LEVELS),
    "arena": (True, False),
    "memory_pattern": (True, False),
    "execution": ("sequential", "parallel"),
}

FINALS_REQUIREMENTS = ("numpy>=2,<3", "transformers>=4.57,<4.58", "pillow>=10")
"""Packages that workers need besides the runtime: numpy always, the others in the finals, where workers preprocess."""


def unavailable(device: Device) -> str | None:
    """Return why ONNX Runtime cannot use the device: only its GPU distribution supports CUDA."""
    try:
        version("onnxruntime-gpu")
    except PackageNotFoundError:
        return 'onnxruntime-gpu is not installed; run: python -m pip install -e ".[gpu]"' if device == "cuda" else None
    return None


def load(artifact: Path, target: Target) -> Session:
    """Return a session on the device's execution provider."""
    return load_on(PROVIDERS[target.device], artifact, target)


def load_on(providers: list[tuple[str, dict[str, str]]], artifact: Path, target: Target) -> Session:
    """Return a session on these execution providers, each with its options; a node runs on the first that supports it.

    Idle threads sleep unless the target asks for spinning.
    """
    import onnxruntime

    if target.device == "cuda":
        onnxruntime.preload_dlls()
    options = _session_options(target)
    if is_generating(artifact):
        run, session = _load_generating(artifact, options, providers[0], target)
    else:
        session = onnxruntime.InferenceSession(str(artifact / FILE), options, providers=providers)
        select = input_selector([node.name for node in session.get_inputs()])
        run = _host_run(session, select) if target.device == "cpu" else bound_run(session, target.device, select)
    active = session.get_providers()
    return Session(
        run=run,
        device="cuda" if active[0] in GPU_PROVIDERS else "cpu",
        settings={
            "onnxruntime": onnxruntime.__version__,
            "providers": ",".join(active),
            "placement": node_placement(session),
            "threads": str(session.get_session_options().intra_op_num_threads),
            "allow_spinning": options.get_session_config_entry("session.intra_op.allow_spinning"),
            **onnxruntime_settings(session),
            **_chosen_options(session.get_session_options()),
        },
    )


def _session_options(target: Target) -> Any:
    """Return session options for the target; what it does not choose is ONNX Runtime's default."""
    import onnxruntime

    options, chosen = onnxruntime.SessionOptions(), target.options
    parallel = chosen.get("execution") == "parallel"
    options.intra_op_num_threads = target.threads
    options.inter_op_num_threads = target.threads if parallel else 1
    if parallel:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = chosen.get("arena", True)
    options.enable_mem_pattern = chosen.get("memory_pattern", True)
    level = OPTIMISATION_LEVELS[str(chosen.get("optimisation", "all"))]
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 3
    for pool in ("intra_op", "inter_op"):  # parallel execution has threads in the latter
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "1" if target.spinning else "0")
    options.add_session_config_entry(RECORD_PLACEMENT, "1")
    return options


def _chosen_options(options: Any) -> dict[str, str]:
    """Return the options of CHOICES as a session reports them."""
    levels = {level: name for name, level in OPTIMISATION_LEVELS.items()}
    return {
        "arena": str(options.enable_cpu_mem_arena),
        "memory_pattern": str(options.enable_mem_pattern),
        "optimisation": levels[options.graph_optimization_level.name],
        "execution": options.execution_mode.name.removeprefix("ORT_").lower(),
        "threads_between_nodes": str(options.inter_op_num_threads),
    }


def _host_run(session: Any, select_inputs: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    outputs = [node.name for node in session.get_outputs()]

    def run(arrays: Arrays) -> Arrays:
        return dict(zip(outputs, session.run(outputs, select_inputs(arrays)), strict=True))

    return run


def _load_generating(
    artifact: Path, options: Any, provider: tuple[str, dict[str, str]], target: Target
) -> tuple[Callable[[Arrays], Arrays], Any]:
    """Return `generate` over encoder and decoder sessions, and the decoder's. The loop is Transformers', in torch."""
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
    return checkpoint.make_run(model, target.device), model.decoder.session


def halve(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Convert weights and arithmetic to float16 with ONNX Runtime's converter; inputs and outputs keep their types."""
    import onnx
    import onnxruntime
    from onnxruntime.transformers.float16 import convert_float_to_float16

    formats: Counter[str] = Counter()
    for file in sorted(source.glob("*.onnx")):
        with quiet():
            graph = convert_float_to_float16(onnx.load(file), keep_io_types=True)
        onnx.save(graph, out / file.name)
        formats.update(onnx.TensorProto.DataType.Name(weight.data_type).lower() for weight in graph.graph.initializer)
    copy_settings(source, out)
    return {
        "converter": f"onnxruntime.transformers.float16, onnxruntime {onnxruntime.__version__}",
        "weights": ", ".join(f"{name} {count}" for name, count in sorted(formats.items())),
    }


ONNXRUNTIME = Backend(
    name="onnxruntime", imports=("onnxruntime",), build=export, load=load, unavailable=unavailable, choices=CHOICES
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

ONNXRUNTIME_FP16 = replace(
    ONNXRUNTIME,
    name="onnxruntime-fp16",
    source=ONNXRUNTIME,
    build=halve,
    lossy=True,
    # On the CPU every node would cast float16 to float32 and back.
    devices=("cuda",),
)


def onnxruntime_at(release: str) -> Backend:
    """Return a backend that runs the float export on another release of ONNX Runtime, such as "1.23.2"."""
    return Backend(
        name=f"onnxruntime-{re.sub('[^A-Za-z0-9]+', '-', release)}",
        source=ONNXRUNTIME,
        load=load,
        imports=("onnxruntime",),
        runs_in=Python(requirements=(f"onnxruntime=={release}", *FINALS_REQUIREMENTS)),
        devices=("cpu",),
    )
