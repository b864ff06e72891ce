"""OpenVINO on the float export of ONNX Runtime's backend. Workers import no torch."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.backends.onnx_export import FILE, input_selector, is_generating
from harness.backends.onnxruntime import ONNXRUNTIME
from harness.backends.pytorch import cpu_lacks_bfloat16
from harness.contracts.backend import Backend, Device, Session, Target
from harness.contracts.kind import Arrays
from harness.errors import Unsupported
from harness.util.machine import missing_module

PROPERTIES = {
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": "1",
    # No other backend pins its threads to cores.
    "ENABLE_CPU_PINNING": "NO",
}

THREADS, PRECISION, DEVICES = "INFERENCE_NUM_THREADS", "INFERENCE_PRECISION_HINT", "EXECUTION_DEVICES"

RECORDED = (*PROPERTIES, THREADS, PRECISION, DEVICES, "EXECUTION_MODE_HINT")
"""Properties of a compiled model that are recorded."""


def unavailable(device: Device) -> str | None:
    """Return why OpenVINO cannot run: it is an extra."""
    return missing_module("openvino", '-e ".[cpu,openvino]"')


def unavailable_in_bf16(device: Device) -> str | None:
    """Return why OpenVINO cannot run in bfloat16; without CPU support it would compute in float32."""
    return unavailable(device) or cpu_lacks_bfloat16()


def load(artifact: Path, target: Target) -> Session:
    """Return a session in float32; by default OpenVINO takes bfloat16 on a CPU with AMX."""
    return _load_in("f32", artifact, target)


def load_bf16(artifact: Path, target: Target) -> Session:
    """Return a session with matrix products, and what lies between them, in bfloat16."""
    return _load_in("bf16", artifact, target)


def _load_in(precision: str, artifact: Path, target: Target) -> Session:
    """Compile the graph for the CPU, in one stream of the target's threads.

    The threads are TBB's. They spin briefly, then sleep, and no option changes that. Shapes are dynamic; kernels
    for a new shape are made in its first call.
    """
    import openvino

    if is_generating(artifact):
        raise Unsupported("OpenVINO runs graphs and has no generation loop; only Optimum Intel has one")
    core = openvino.Core()
    requested = {**PROPERTIES, PRECISION: precision, THREADS: str(target.threads)}
    model = core.compile_model(_read_graph(core, artifact / FILE), "CPU", requested)
    properties = {name: _property_text(model.get_property(name)) for name in RECORDED}
    if properties[PRECISION] != precision:
        raise RuntimeError(f"OpenVINO computes in {properties[PRECISION]} instead of {precision}")
    select = input_selector([port.any_name for port in model.inputs])
    outputs = {port.any_name: index for index, port in enumerate(model.outputs)}
    request = model.create_infer_request()

    def run(arrays: Arrays) -> Arrays:
        values = request.infer(select(arrays), share_inputs=True)
        return {name: values[index] for name, index in outputs.items()}

    device = "cpu" if properties[DEVICES] == "CPU" else properties[DEVICES]
    settings = {"openvino": version("openvino"), "threads": properties.pop(THREADS), "spinning": "TBB's own"}
    settings |= {name.lower(): value for name, value in properties.items()}
    return Session(run=run, device=device, settings=settings)


def _read_graph(core: Any, path: Path) -> Any:
    """Return the graph; Unsupported if it has operators that OpenVINO cannot express."""
    try:
        return core.read_model(path)
    except RuntimeError as error:
        if "OpConversionFailure" not in str(error):
            raise
        summary = str(error).rpartition("failed for: ")[2].strip()
        raise Unsupported(f"OpenVINO cannot read these nodes of the export: {summary}") from error


def _property_text(value: object) -> str:
    """Return a property's value as the text that sets it."""
    import openvino

    if isinstance(value, openvino.Type):
        return str(value.to_string())
    if isinstance(value, list | set):
        return ",".join(sorted(map(str, value)))
    return str(value).rpartition(".")[2]


OPENVINO = Backend(
    name="openvino", source=ONNXRUNTIME, load=load, imports=("openvino",), devices=("cpu",), unavailable=unavailable
)

OPENVINO_BF16 = replace(OPENVINO, name="openvino-bf16", load=load_bf16, lossy=True, unavailable=unavailable_in_bf16)
