"""The CUDA settings that make PyTorch and ONNX Runtime comparable, and their values as each library reports them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from harness.contracts.backend import Device
from harness.contracts.kind import Arrays

PROVIDERS: dict[Device, list[tuple[str, dict[str, str]]]] = {
    "cpu": [("CPUExecutionProvider", {})],
    # cuDNN chooses by its heuristic, as in PyTorch: a search would start again at every length.
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"})],
}
"""Execution providers of ONNX Runtime, with their options."""

TENSORRT = "TensorrtExecutionProvider"

GPU_PROVIDERS = ("CUDAExecutionProvider", TENSORRT)

RECORD_PLACEMENT = "session.record_ep_graph_assignment_info"
"""Session option of ONNX Runtime ≥ 1.24 that records which provider runs a node."""


def configure_torch() -> dict[str, str]:
    """Turn TF32 off and let cuDNN choose convolutions by its heuristic; return both settings as PyTorch reports them.

    Called without CUDA too, so that no PyTorch backend depends on what ran before.
    """
    import torch

    backends: Any = torch.backends
    backends.cudnn.benchmark = False
    # Inductor reads this older switch, and reading raises an error where only the newer ones below are set.
    backends.cudnn.allow_tf32 = False
    # Each one separately, because a separate setting overrides the common one.
    operators = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    for operator in operators:
        operator.fp32_precision = "ieee"
    precisions = {operator.fp32_precision for operator in operators}
    return {"tf32": "0" if precisions == {"ieee"} else ", ".join(sorted(precisions)), "cudnn": "heuristic"}


def onnxruntime_settings(session: Any) -> dict[str, str]:
    """Return TF32, cuDNN and transfers of a CUDA session as ONNX Runtime reports them; nothing for a CPU session."""
    options = session.get_provider_options().get("CUDAExecutionProvider")
    if options is None:
        return {}
    return {
        "tf32": options["use_tf32"],
        "cudnn": options["cudnn_conv_algo_search"].lower(),
        "transfers": "inputs and outputs bound on the device, copied in and out inside the window",
    }


def node_placement(session: Any) -> str:
    """Return how many nodes of the graph each provider runs."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return "not reported by this ONNX Runtime"
    counts: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        counts[subgraph.ep_name] += len(subgraph.get_nodes())
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def bound_run(session: Any, device: str, select_inputs: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    """Return a function from host arrays to host arrays through device memory, both copies included.

    Outputs are bound to a device, not to a buffer: lengths change from call to call, so the runtime allocates.
    """
    import onnxruntime

    outputs = [node.name for node in session.get_outputs()]

    def run(arrays: Arrays) -> Arrays:
        binding = session.io_binding()
        for name, array in select_inputs(arrays).items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
        for name in outputs:
            binding.bind_output(name, device, 0)
        binding.synchronize_inputs()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return dict(zip(outputs, binding.copy_outputs_to_cpu(), strict=True))

    return run
