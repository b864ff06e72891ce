"""OpenVINO on the float export of ONNX Runtime's backend, read as it is. Workers import no torch."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.backends.onnx_export import FILE, giver, is_generating
from harness.backends.onnxruntime import ONNXRUNTIME
from harness.backends.pytorch import unavailable_on_cpu
from harness.contracts.backend import Backend, Device, Session, Target
from harness.contracts.kind import Arrays
from harness.errors import Unsupported
from harness.util.machine import cpu_flags

ASKED = {
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": "1",
    # Nobody else's threads are bound to a core either.
    "ENABLE_CPU_PINNING": "NO",
}

READ = (
    "INFERENCE_NUM_THREADS",
    "INFERENCE_PRECISION_HINT",
    "PERFORMANCE_HINT",
    "NUM_STREAMS",
    "ENABLE_CPU_PINNING",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE",
    "EXECUTION_MODE_HINT",
    "EXECUTION_DEVICES",
)
"""Properties of a compiled model that go on record."""


def unavailable(device: Device) -> str | None:
    """It is an extra."""
    try:
        version("openvino")
    except PackageNotFoundError:
        return 'openvino is not installed; run: python -m pip install -e ".[cpu,openvino]"'
    return None


def unavailable_in_bf16(device: Device) -> str | None:
    """It would compute in float32 on a CPU that multiplies no bfloat16."""
    return unavailable(device) or unavailable_on_cpu(cpu_flags())


def load(artifact: Path, target: Target) -> Session:
    """The graph with every number in float32: left to itself, it takes bfloat16 where the CPU has AMX."""
    return load_in("f32", artifact, target)


def load_bf16(artifact: Path, target: Target) -> Session:
    """The graph with matrix products, and what lies between them, in bfloat16."""
    return load_in("bf16", artifact, target)


def load_in(precision: str, artifact: Path, target: Target) -> Session:
    """The graph compiled for the CPU, one stream of the target's threads.

    Its threads come from TBB, which spins for a moment and sleeps then; there is no switch, so `spinning` is recorded
    as the runtime's own. Shapes are free, and the kernels of a new one are made at its first call.
    """
    import openvino

    if is_generating(artifact):
        raise Unsupported("openvino itself runs graphs and has no loop that generates; that is Optimum Intel's")
    asked = {**ASKED, "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": str(target.threads)}
    core = openvino.Core()
    model = core.compile_model(_read(core, artifact / FILE), "CPU", asked)
    told = {name: _plain(model.get_property(name)) for name in READ}
    if told["INFERENCE_PRECISION_HINT"] != precision:
        raise RuntimeError(f"asked for {precision}, OpenVINO computes in {told['INFERENCE_PRECISION_HINT']}")
    given = giver([port.any_name for port in model.inputs])
    outputs = {port.any_name: index for index, port in enumerate(model.outputs)}
    request = model.create_infer_request()

    def run(arrays: Arrays) -> Arrays:
        found = request.infer(given(arrays), share_inputs=True)
        return {name: found[index] for name, index in outputs.items()}

    return Session(
        run=run,
        device={"CPU": "cpu"}.get(told["EXECUTION_DEVICES"], told["EXECUTION_DEVICES"]),
        settings={
            "openvino": version("openvino"),
            "threads": told["INFERENCE_NUM_THREADS"],
            "spinning": "TBB's own",
            **{name.lower(): value for name, value in told.items() if name != "INFERENCE_NUM_THREADS"},
        },
    )


def _read(core: Any, path: Path) -> Any:
    """The graph; Unsupported where it has operators that OpenVINO cannot express."""
    try:
        return core.read_model(path)
    except RuntimeError as error:
        if "OpConversionFailure" not in str(error):
            raise
        summary = str(error).rpartition("failed for: ")[2].strip()
        raise Unsupported(f"OpenVINO cannot read these nodes of the export: {summary}") from error


def _plain(value: object) -> str:
    """A property in the words that set it."""
    import openvino

    if isinstance(value, openvino.Type):
        return str(value.to_string())
    if isinstance(value, list | set):
        return ",".join(sorted(map(str, value)))
    return str(value).rpartition(".")[2]


OPENVINO = Backend(
    name="openvino",
    source=ONNXRUNTIME,
    load=load,
    imports=("openvino",),
    devices=("cpu",),
    unavailable=unavailable,
)

OPENVINO_BF16 = Backend(
    name="openvino-bf16",
    source=ONNXRUNTIME,
    load=load_bf16,
    imports=("openvino",),
    lossy=True,
    devices=("cpu",),
    unavailable=unavailable_in_bf16,
)
