"""PyTorch eager: the reference in float32, whose artifact is the checkpoint itself, and its bfloat16 and float16 forms.

The forms of half the size convert weights and activations, as `model.to(torch.bfloat16)` does. `torch.autocast` would
cast float32 weights at every call: MiniLM took 20.9 ms instead of 13.4 for one row of 96 tokens, and 98 instead of 86
for sixteen (27.6 and 295 in float32).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import checkpoint
from harness.contracts.backend import REFERENCE, Backend, Device, Session, Target
from harness.contracts.kind import Kind
from harness.errors import Unsupported, brief_error
from harness.util.machine import cpu_flags

BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
"""CPU flags of bfloat16 products, on x86 and Arm. Without them they are emulated, slower than float32."""

AMPERE = 8.0
"""Compute capability of the first NVIDIA GPUs with bfloat16 products."""


def unavailable_in_bf16(device: Device) -> str | None:
    """Return why bfloat16 cannot run: the processor itself must multiply it."""
    if device == "cpu":
        return cpu_lacks_bfloat16()
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        text = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split()[0]
        capability = float(text)
    except (OSError, subprocess.SubprocessError, IndexError, ValueError) as error:
        return f"nvidia-smi reports no compute capability: {error}"
    return None if capability >= AMPERE else f"bfloat16 takes compute capability {AMPERE:g}; this device has {text}"


def cpu_lacks_bfloat16() -> str | None:
    """Return why this CPU cannot run bfloat16."""
    if cpu_flags() & set(BFLOAT16_FLAGS):
        return None
    return f"this CPU has no bfloat16 products; it needs one of the flags {', '.join(BFLOAT16_FLAGS)}"


def load(artifact: Path, target: Target) -> Session:
    """Return the checkpoint's model in eval mode; every call runs under `inference_mode` and ends on the host."""
    settings = configure(target)
    model = checkpoint.load(artifact).to(target.device)
    device = next(model.parameters()).device.type
    return Session(run=checkpoint.make_run(model, target.device), device=device, settings=settings)


def configure(target: Target) -> dict[str, str]:
    """Set threads, turn TF32 off and let cuDNN choose convolutions by its heuristic; return the settings to record.

    Without CUDA too, so that no PyTorch backend depends on what ran before.
    """
    import torch

    torch.set_num_threads(target.threads)
    backends: Any = torch.backends
    backends.cudnn.benchmark = False
    # Inductor reads this older switch, and reading raises an error where only the newer ones below are set.
    backends.cudnn.allow_tf32 = False
    # Each one separately, because a separate setting overrides the common one.
    operators = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    for operator in operators:
        operator.fp32_precision = "ieee"
    precisions = {operator.fp32_precision for operator in operators}
    settings = {
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "tf32": "0" if precisions == {"ieee"} else ", ".join(sorted(precisions)),
        "cudnn": "heuristic",
    }
    if target.device == "cuda":
        settings["transfers"] = "inputs copied to the device and outputs back inside the window"
    return settings


def build_bf16(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Write the checkpoint in bfloat16."""
    return build_in("bfloat16", source, out)


def build_fp16(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Write the checkpoint in float16."""
    return build_in("float16", source, out)


def load_bf16(artifact: Path, target: Target) -> Session:
    """Return the model in bfloat16."""
    return load_in("bfloat16", artifact, target)


def load_fp16(artifact: Path, target: Target) -> Session:
    """Return the model in float16."""
    return load_in("float16", artifact, target)


def build_in(dtype: str, source: Path, out: Path) -> dict[str, str]:
    """Write the checkpoint with weights of a torch dtype; Unsupported if the model cannot compute in it."""
    import torch
    from safetensors.torch import load_file, save_file

    from harness.util.store import MARKER  # workers import this module, and their environment may lack msgspec

    for path in source.iterdir():
        if path.suffix == ".safetensors" and path.name != checkpoint.EXAMPLE:
            tensors = {name: _cast(tensor, getattr(torch, dtype)) for name, tensor in load_file(path).items()}
            save_file(tensors, out / path.name, metadata={"format": "pt"})
        elif path.is_file() and path.name != MARKER:
            shutil.copyfile(path, out / path.name)
    try:
        numbers = getattr(torch, dtype)
        checkpoint.make_run(checkpoint.load(out).to(numbers), "cpu", numbers)(checkpoint.example(out))
    except (RuntimeError, TypeError) as error:
        raise Unsupported(f"the model does not compute in {dtype}: {brief_error(error)}") from error
    return {"precision": f"{dtype} weights and activations", "torch": str(torch.__version__)}


def load_in(dtype: str, artifact: Path, target: Target) -> Session:
    """Return the model in a torch dtype; the window includes casting floating inputs to it and outputs to float32."""
    import torch

    settings = configure(target)
    # It loads in float32, and casting that back is exact.
    model = checkpoint.load(artifact).to(target.device, getattr(torch, dtype))
    weight = next(model.parameters())
    settings["precision"] = str(weight.dtype).removeprefix("torch.")
    run = checkpoint.make_run(model, target.device, weight.dtype)
    return Session(run=run, device=weight.device.type, settings=settings)


def _cast(tensor: Any, dtype: Any) -> Any:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


PYTORCH = Backend(name=REFERENCE, load=load, imports=("torch",))

PYTORCH_BF16 = replace(
    PYTORCH, name="pytorch-bf16", build=build_bf16, load=load_bf16, lossy=True, unavailable=unavailable_in_bf16
)

PYTORCH_FP16 = replace(PYTORCH, name="pytorch-fp16", build=build_fp16, load=load_fp16, lossy=True, devices=("cuda",))
