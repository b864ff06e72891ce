"""OpenVINO on the float export of ONNX Runtime's backend, and on its int8 form by NNCF. Workers import no torch."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.backends.onnx_graphs import FILE, input_selector, is_generating
from harness.backends.onnx_quantization import check_single_graph, weight_format
from harness.backends.onnxruntime import ONNXRUNTIME
from harness.backends.pytorch import cpu_lacks_bfloat16
from harness.contracts.backend import PROFILE, Backend, Calibration, Device, Session, Target, single_rows
from harness.contracts.kind import Arrays, Kind
from harness.errors import Unsupported, brief_error
from harness.util.console import quiet
from harness.util.machine import missing_module

PROPERTIES = {
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": "1",
    # No other backend pins its threads to cores.
    "ENABLE_CPU_PINNING": "NO",
}

INT8_FILE = "model.xml"
"""NNCF's graph in OpenVINO's own format; its weights lie beside it in `model.bin`."""

PRODUCTS = frozenset(("FullyConnected", "MatMul", "Convolution"))
"""Layers of a compiled model that multiply, by OpenVINO's names."""

ATTENTION = frozenset(("Softmax", "ScaledDotProductAttention"))
"""Operators inside attention; NNCF then quantises what lies around it as in a transformer."""

THREADS, PRECISION, DEVICES = "INFERENCE_NUM_THREADS", "INFERENCE_PRECISION_HINT", "EXECUTION_DEVICES"

RECORDED = (*PROPERTIES, THREADS, PRECISION, DEVICES, "EXECUTION_MODE_HINT")
"""Properties of a compiled model that are recorded."""


def unavailable(device: Device) -> str | None:
    """Return why OpenVINO cannot run: it is an extra."""
    return missing_module("openvino", '-e ".[cpu,openvino]"')


def unavailable_in_bf16(device: Device) -> str | None:
    """Return why OpenVINO cannot run in bfloat16; without CPU support it would compute in float32."""
    return unavailable(device) or cpu_lacks_bfloat16()


def unavailable_in_int8(device: Device) -> str | None:
    """Return why int8 cannot run: NNCF, which quantises, is in the same extra."""
    return unavailable(device) or missing_module("nncf", '-e ".[cpu,openvino]"')


def quantise(source: Path, out: Path, kind: Kind, calibration: Calibration) -> dict[str, str]:
    """Quantise the float graph with NNCF: weights per channel, activations by their values on calibration rows.

    Unsupported for a graph that NNCF refuses, and for one in which it quantises nothing.
    """
    os.environ.setdefault("NNCF_CI", "1")  # else it reports each use over the network
    import nncf
    import openvino

    check_single_graph(source)
    graph = _read_graph(openvino.Core(), source / FILE)
    rows = single_rows(calibration.calibration)
    select = input_selector([port.any_name for port in graph.inputs])
    transformer = bool(ATTENTION & {node.get_type_name() for node in graph.get_ops()})
    overflow = nncf.OverflowFix.ENABLE if weight_format()[1] else nncf.OverflowFix.DISABLE
    try:
        with quiet(), redirect_stdout(None):  # where NNCF draws its progress
            quantised = nncf.quantize(
                graph,
                nncf.Dataset(rows, select),
                subset_size=len(rows),
                model_type=nncf.ModelType.TRANSFORMER if transformer else None,
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=overflow),
            )
    except (nncf.UnsupportedModelError, nncf.ValidationError, nncf.ParameterNotSupportedError) as error:
        raise Unsupported(f"NNCF cannot quantise this graph: {brief_error(error)}") from error
    counts = Counter(node.get_type_name() for node in quantised.get_ops())
    if not counts["FakeQuantize"]:
        raise Unsupported("NNCF finds nothing to quantise in this graph: no product with constant weights")
    openvino.save_model(quantised, out / INT8_FILE, compress_to_fp16=False)
    half = ", weights in 7 bits for a CPU without VNNI" if overflow == nncf.OverflowFix.ENABLE else ""
    return {
        "quantizer": f"nncf {nncf.__version__}, {'transformer' if transformer else 'no attention'}{half}",
        "calibration_rows": str(len(rows)),
        "operators": f"FakeQuantize {counts['FakeQuantize']}",
    }


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
    profiles, runs = PROFILE in target.options, []
    requested = {**PROPERTIES, PRECISION: precision, THREADS: str(target.threads)}
    requested |= {"PERF_COUNT": "YES"} if profiles else {}
    int8 = artifact / INT8_FILE
    graph = _read_graph(core, int8 if int8.exists() else artifact / FILE)
    model = core.compile_model(graph, "CPU", requested)
    properties = {name: _property_text(model.get_property(name)) for name in RECORDED}
    if properties[PRECISION] != precision:
        raise RuntimeError(f"OpenVINO computes in {properties[PRECISION]} instead of {precision}")
    select = input_selector([port.any_name for port in model.inputs])
    outputs = {port.any_name: index for index, port in enumerate(model.outputs)}
    request = model.create_infer_request()

    def run(arrays: Arrays) -> Arrays:
        values = request.infer(select(arrays), share_inputs=True)
        if profiles:
            runs.append(_operators(request))
        return {name: values[index] for name, index in outputs.items()}

    device = "cpu" if properties[DEVICES] == "CPU" else properties[DEVICES]
    settings = {"openvino": version("openvino"), "threads": properties.pop(THREADS), "spinning": "TBB's own"}
    settings |= {name.lower(): value for name, value in properties.items()} | {"products": _precisions(model)}
    return Session(run=run, device=device, settings=settings, operators=(lambda: runs) if profiles else None)


def _operators(request: Any) -> list[tuple[str, float]]:
    """Return the operators of a request's last answer, each with the format of its kernel, and their seconds."""
    executed = (node for node in request.get_profiling_info() if node.status.name == "EXECUTED")
    return [
        (f"{node.node_type} {node.exec_type.rpartition('_')[2].lower()}", node.real_time.total_seconds())
        for node in executed
    ]


def _read_graph(core: Any, path: Path) -> Any:
    """Return the graph; Unsupported if it has operators that OpenVINO cannot express."""
    try:
        return core.read_model(path)
    except RuntimeError as error:
        if "OpConversionFailure" not in str(error):
            raise
        summary = str(error).rpartition("failed for: ")[2].strip()
        raise Unsupported(f"OpenVINO cannot read these nodes of the export: {summary}") from error


def _precisions(model: Any) -> str:
    """Return the formats in which a compiled model multiplies, with the number of layers of each."""
    layers = [node.get_rt_info() for node in model.get_runtime_model().get_ops()]
    products = [layer for layer in layers if layer["layerType"].astype(str) in PRODUCTS]
    counts = Counter(layer["runtimePrecision"].astype(str) for layer in products)
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


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

OPENVINO_INT8 = replace(
    OPENVINO,
    name="openvino-int8",
    calibrate=quantise,
    lossy=True,
    unavailable=unavailable_in_int8,
    packages=("nncf", "openvino"),
)
