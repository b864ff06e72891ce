"""ONNX Runtime: the float export, its optimised graph, its int8 and float16 forms, and other releases of the runtime.

Workers import no torch, except for models that generate text.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from harness import checkpoint
from harness.backends import onnx_export, onnx_optimum, onnx_rewrites
from harness.backends import onnx_quantization as int8
from harness.backends.onnx_decoding import make_writer
from harness.backends.onnx_graphs import ENCODER, FILE, copy_settings, host_run, input_selector, is_generating
from harness.backends.onnx_guard import guard
from harness.contracts.backend import PROFILE, Backend, Device, Option, Python, Route, Session, Target
from harness.contracts.kind import Arrays, Kind
from harness.errors import Unsupported
from harness.util.console import quiet
from harness.util.decoding import Limits, read_limits
from harness.util.machine import versions

Provider = tuple[str, dict[str, str]]
"""An execution provider and its options."""

PROVIDERS: dict[Device, Provider] = {
    "cpu": ("CPUExecutionProvider", {}),
    # cuDNN chooses by its heuristic, as in PyTorch: a search would start again at every length.
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
}

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

FINALS_REQUIREMENTS = ("numpy>=2,<3", "transformers>=5.10,<6", "pillow>=10")
"""Packages that workers need besides the runtime: numpy always, the others in the finals, where workers preprocess."""


def unavailable(device: Device) -> str | None:
    """Return why ONNX Runtime cannot use the device: only its GPU distribution supports CUDA."""
    if device == "cpu" or versions(("onnxruntime-gpu",)):
        return None
    return 'onnxruntime-gpu is not installed; run: python -m pip install -e ".[gpu]"'


def load(artifact: Path, target: Target) -> Session:
    """Return a session on the device's execution provider."""
    return load_on([PROVIDERS[target.device]], artifact, target)


def load_on(providers: list[Provider], artifact: Path, target: Target) -> Session:
    """Return a session on these execution providers; a node runs on the first that supports it.

    Idle threads sleep unless the target asks for spinning.
    """
    import onnxruntime

    if target.device == "cuda":
        onnxruntime.preload_dlls()
    options = _session_options(target)
    if (artifact / ENCODER).exists():
        run, session = _load_generating(artifact, options, providers[0], target)
    else:
        session = onnxruntime.InferenceSession(str(artifact / FILE), options, providers=providers)
        run = _runner(session, target.device, read_limits(artifact))
    device = "cuda" if session.get_providers()[0].startswith(("CUDA", "Tensorrt")) else "cpu"
    operators = partial(_profiled, session) if PROFILE in target.options else None
    return Session(run=run, device=device, settings=_settings(session, options), operators=operators)


def _runner(session: Any, device: Device, limits: Limits | None) -> Callable[[Arrays], Arrays]:
    """Return a function from a batch to its answer: the graph's outputs, or what a decoder writes within `limits`."""
    if limits is not None:
        return make_writer(session, device, limits)
    return host_run(session) if device == "cpu" else bound_run(session, device)


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
    if PROFILE in chosen:
        options.enable_profiling, options.profile_file_prefix = True, f"{chosen[PROFILE]}/onnxruntime"
    for pool in ("intra_op", "inter_op"):  # parallel execution has threads in the latter
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "1" if target.spinning else "0")
    # ONNX Runtime ≥ 1.24 then records which provider runs a node.
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _settings(session: Any, options: Any) -> dict[str, str]:
    """Return the settings of a session as ONNX Runtime reports them; TF32, cuDNN and transfers on CUDA only."""
    import onnxruntime

    effective = session.get_session_options()
    levels = {level: name for name, level in OPTIMISATION_LEVELS.items()}
    settings = {
        "onnxruntime": onnxruntime.__version__,
        "providers": ",".join(session.get_providers()),
        "placement": node_placement(session),
        "threads": str(effective.intra_op_num_threads),
        "allow_spinning": options.get_session_config_entry("session.intra_op.allow_spinning"),
        "arena": str(effective.enable_cpu_mem_arena),
        "memory_pattern": str(effective.enable_mem_pattern),
        "optimisation": levels[effective.graph_optimization_level.name],
        "execution": effective.execution_mode.name.removeprefix("ORT_").lower(),
        "threads_between_nodes": str(effective.inter_op_num_threads),
    }
    if cuda := session.get_provider_options().get(PROVIDERS["cuda"][0]):
        settings |= {
            "tf32": cuda["use_tf32"],
            "cudnn": cuda["cudnn_conv_algo_search"].lower(),
            "transfers": "inputs and outputs bound on the device, copied in and out inside the window",
        }
    return settings


def _profiled(session: Any) -> list[list[tuple[str, float]]]:
    """End the session's profile; return the operators of each of its runs, with their seconds."""
    events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    starts = sorted(event["ts"] for event in events if event["name"] == "model_run")
    runs: list[list[tuple[str, float]]] = [[] for _ in starts]
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            operator = (event["args"]["op_name"], event["dur"] / 1e6)
            runs[bisect_right(starts, event["ts"]) - 1].append(operator)
    return runs


def node_placement(session: Any) -> str:
    """Return how many nodes of the graph each provider runs."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return "not reported by this ONNX Runtime"
    counts: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        counts[subgraph.ep_name] += len(subgraph.get_nodes())
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def bound_run(session: Any, device: str) -> Callable[[Arrays], Arrays]:
    """Return a function from host arrays to host arrays through device memory, both copies included.

    Outputs are bound to a device, not to a buffer: lengths change from call to call, so the runtime allocates.
    """
    import onnxruntime

    select = input_selector([node.name for node in session.get_inputs()])
    outputs = [node.name for node in session.get_outputs()]

    def run(arrays: Arrays) -> Arrays:
        binding = session.io_binding()
        for name, array in select(arrays).items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
        for name in outputs:
            binding.bind_output(name, device, 0)
        binding.synchronize_inputs()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return dict(zip(outputs, binding.copy_outputs_to_cpu(), strict=True))

    return run


def _load_generating(
    artifact: Path, options: Any, provider: Provider, target: Target
) -> tuple[Callable[[Arrays], Arrays], Any]:
    """Return `generate` over encoder and decoder sessions, and the decoder's. The loop is Transformers', in torch."""
    import torch

    torch.set_num_threads(target.threads)
    name, settings = provider
    with quiet():
        model = onnx_optimum.writer_class(artifact).from_pretrained(
            artifact,
            session_options=options,
            provider=name,
            provider_options=settings,
            use_merged=False,
            local_files_only=True,
        )
    return checkpoint.make_run(model, target.device), model.decoder.session


def exporters(source: Path) -> tuple[Route, ...]:
    """Return the ways to export a checkpoint: torch's for a native module, else Optimum's, else Transformers' own."""
    if checkpoint.is_native(source):
        return (Route(onnx_export.export_native),)
    by_optimum = Route(onnx_optimum.export_with_optimum, onnx_optimum.OPTIMUM, onnx_optimum.check_export)
    return by_optimum, Route(onnx_export.export_with_transformers)


def optimisers(source: Path) -> tuple[Route, ...]:
    """Return the way to fuse a float export: that of the library that exported it."""
    import onnx

    if not (source / "config.json").exists():
        raise Unsupported("ORTOptimizer chooses fusions by Transformers model type; a native module has none")
    by_transformers = not is_generating(source) and (
        onnx.load(source / FILE, load_external_data=False).producer_name == onnx_export.PRODUCER
    )
    return (Route(onnx_export.fuse) if by_transformers else Route(onnx_optimum.optimise, onnx_optimum.OPTIMUM),)


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
    weights = ", ".join(f"{name} {count}" for name, count in sorted(formats.items()))
    return {"converter": f"onnxruntime.transformers.float16, onnxruntime {onnxruntime.__version__}", "weights": weights}


_RUNTIME = Backend(
    name="onnxruntime",
    imports=("onnxruntime",),
    generates_in=onnx_optimum.OPTIMUM,
    load=load,
    unavailable=unavailable,
    choices=CHOICES,
)

ONNXRUNTIME = replace(_RUNTIME, routes=exporters)

_DERIVED = replace(_RUNTIME, source=ONNXRUNTIME)

ONNXRUNTIME_O2 = replace(_DERIVED, name="onnxruntime-o2", routes=optimisers)

ONNXRUNTIME_REWRITTEN = replace(
    _DERIVED,
    name="onnxruntime-rewritten",
    source=ONNXRUNTIME_O2,
    build=onnx_rewrites.rewrite_graphs,
    devices=("cpu",),
)

# ONNX Runtime's CUDA provider has no kernels for quantised matrix products.
_INT8 = replace(_DERIVED, lossy=True, devices=("cpu",))

ONNXRUNTIME_INT8 = replace(_INT8, name="onnxruntime-int8", build=int8.quantise)

ONNXRUNTIME_O2_INT8 = replace(_INT8, name="onnxruntime-o2-int8", source=ONNXRUNTIME_O2, build=int8.quantise_optimised)

ONNXRUNTIME_INT4 = replace(_INT8, name="onnxruntime-int4", build=int8.quantise_to_4_bits)

ONNXRUNTIME_INT8_STATIC = replace(_INT8, name="onnxruntime-int8-static", calibrate=int8.calibrate_by_range)

ONNXRUNTIME_INT8_PERCENTILE = replace(_INT8, name="onnxruntime-int8-percentile", calibrate=int8.calibrate_by_percentile)

ONNXRUNTIME_INT8_GUARDED = replace(_INT8, name="onnxruntime-int8-guarded", calibrate=guard)

# On the CPU every node would cast float16 to float32 and back.
ONNXRUNTIME_FP16 = replace(_DERIVED, name="onnxruntime-fp16", build=halve, lossy=True, devices=("cuda",))

ONNXRUNTIME_TRANSFORMERS = replace(
    _RUNTIME, name="onnxruntime-transformers", build=onnx_export.export_with_transformers
)

ONNXRUNTIME_TRANSFORMERS_FUSED = replace(
    _DERIVED, name="onnxruntime-transformers-fused", source=ONNXRUNTIME_TRANSFORMERS, build=onnx_export.fuse
)

ONNXRUNTIME_TRANSFORMERS_INT8 = replace(
    _INT8,
    name="onnxruntime-transformers-int8",
    source=ONNXRUNTIME_TRANSFORMERS,
    build=int8.quantise_with_transformers,
)


def onnxruntime_at(release: str) -> Backend:
    """Return a backend that runs the float export on another release of ONNX Runtime, such as "1.23.2"."""
    name = f"onnxruntime-{re.sub('[^A-Za-z0-9]+', '-', release)}"
    python = Python(requirements=(f"onnxruntime=={release}", *FINALS_REQUIREMENTS))
    return replace(_DERIVED, name=name, runs_in=python, devices=("cpu",))
