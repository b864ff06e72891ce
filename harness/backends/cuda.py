"""What makes PyTorch and ONNX Runtime compute alike on CUDA, each told in its own words, and what they then say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from harness.contracts.backend import Device
from harness.contracts.kind import Arrays

PROVIDERS: dict[Device, list[tuple[str, dict[str, str]]]] = {
    "cpu": [("CPUExecutionProvider", {})],
    # cuDNN's algorithms by its heuristic, as PyTorch has them: a search would begin again at every length.
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"})],
}
"""ONNX Runtime's, with their options."""

TENSORRT = "TensorrtExecutionProvider"

ON_DEVICE = ("CUDAExecutionProvider", TENSORRT)

PLACEMENT = "session.record_ep_graph_assignment_info"
"""Session option by which ONNX Runtime, since 1.24, tells which provider runs a node."""

COPIED = "inputs and outputs bound on the device, copied in and out inside the window"

TRANSFERS = {"transfers": "inputs copied to the device and outputs back inside the window"}
"""PyTorch's."""


def exact_torch() -> dict[str, str]:
    """Products in fp32 without TF32, convolutions by cuDNN's heuristic; what PyTorch says of both. Also where there is
    no CUDA, so that no backend of PyTorch can be told otherwise."""
    import torch

    known: Any = torch.backends
    known.cudnn.benchmark = False
    # The switch of before, which inductor still reads: it raises where only those below are set.
    known.cudnn.allow_tf32 = False
    # Each by itself: what somebody has set of one goes before what is said of all.
    kinds = (known.cuda.matmul, known.cudnn.conv, known.cudnn.rnn)
    for kind in kinds:
        kind.fp32_precision = "ieee"
    precisions = {kind.fp32_precision for kind in kinds}
    return {"tf32": "0" if precisions == {"ieee"} else ", ".join(sorted(precisions)), "cudnn": "heuristic"}


def exact_onnxruntime(session: Any) -> dict[str, str]:
    """What a session on CUDA says of TF32, cuDNN and its transfers; nothing of one on the CPU."""
    options = session.get_provider_options().get("CUDAExecutionProvider")
    if options is None:
        return {}
    return {"tf32": options["use_tf32"], "cudnn": options["cudnn_conv_algo_search"].lower(), "transfers": COPIED}


def placement(session: Any) -> str:
    """How many of the graph's nodes each provider runs."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return "this ONNX Runtime does not tell"
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def bound(session: Any, device: str, given: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    """Host arrays → host arrays through memory of the device, both copies included.

    Outputs are bound by place, not by size: their memory is the runtime's own, as lengths change from call to call.
    """
    import onnxruntime

    names = [node.name for node in session.get_outputs()]

    def run(arrays: Arrays) -> Arrays:
        binding = session.io_binding()
        for name, array in given(arrays).items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
        for name in names:
            binding.bind_output(name, device, 0)
        binding.synchronize_inputs()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return dict(zip(names, binding.copy_outputs_to_cpu(), strict=True))

    return run
