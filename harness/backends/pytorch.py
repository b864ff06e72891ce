"""PyTorch eager: the reference. Its artifact is the checkpoint itself.

ALSO: PyTorch in a float of half the size, weights and activations, as `model.to(torch.bfloat16)` has them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import checkpoint
from harness.backends.cuda import TRANSFERS, exact_torch
from harness.contracts.backend import REFERENCE, Backend, Device, Session, Target
from harness.contracts.kind import Arrays, Kind
from harness.errors import Unsupported
from harness.util.machine import cpu_flags


def set_common(target: Target) -> dict[str, str]:
    """Sets what every backend of PyTorch has in common, threads and TF32; settings that each of them records."""
    import torch

    torch.set_num_threads(target.threads)
    return {
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        **exact_torch(),
        **(TRANSFERS if target.device == "cuda" else {}),
    }


def load(artifact: Path, target: Target) -> Session:
    """The checkpoint's model in eval mode; every call runs under `inference_mode` and ends on the host."""
    from harness import checkpoint

    settings = set_common(target)
    model = checkpoint.load(artifact).to(target.device)
    return Session(
        run=checkpoint.answering(model, target.device), device=next(model.parameters()).device.type, settings=settings
    )


PYTORCH = Backend(name=REFERENCE, load=load, imports=("torch",))

NATIVE = ("amx_bf16", "avx512_bf16", "bf16")
"""CPU flags of bfloat16 products, x86's and Arm's; without them they are emulated, slower than float32."""

AMPERE = 8.0
"""Compute capability of the first NVIDIA devices with such products."""


def unavailable(device: Device) -> str | None:
    """Only where the processor itself multiplies bfloat16."""
    if device == "cpu":
        return unavailable_on_cpu(cpu_flags())
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split()[0]
        capability = float(found)
    except (OSError, subprocess.SubprocessError, IndexError, ValueError) as error:
        return f"nvidia-smi does not tell the device's compute capability: {error}"
    return None if capability >= AMPERE else f"bfloat16 takes compute capability {AMPERE:g}; this device has {found}"


def unavailable_on_cpu(flags: frozenset[str]) -> str | None:
    """What a CPU with these flags lacks."""
    return None if flags & set(NATIVE) else f"this CPU has no bfloat16 products: none of {', '.join(NATIVE)}"


def build_bf16(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """The checkpoint in bfloat16."""
    return build_in("bfloat16", source, out)


def build_fp16(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """The checkpoint in float16."""
    return build_in("float16", source, out)


def load_bf16(artifact: Path, target: Target) -> Session:
    """The model in bfloat16."""
    return load_in("bfloat16", artifact, target)


def load_fp16(artifact: Path, target: Target) -> Session:
    """The model in float16."""
    return load_in("float16", artifact, target)


def build_in(form: str, source: Path, out: Path) -> dict[str, str]:
    """The checkpoint with weights in one of torch's floats, by its name; Unsupported if the model cannot compute in it.

    Not `torch.autocast` over float32 weights: that casts them at every call, and MiniLM took 20.9 ms in bfloat16
    instead of 13.4 for one row of 96 tokens, 98 instead of 86 for sixteen (27.6 and 295 in float32).
    """
    import torch
    from safetensors.torch import load_file, save_file

    from harness.util.store import MARKER  # a worker, which imports this module, has none of what that needs

    for path in source.iterdir():
        if path.suffix == ".safetensors" and path.name != checkpoint.EXAMPLE:
            tensors = {name: _cast(tensor, getattr(torch, form)) for name, tensor in load_file(path).items()}
            save_file(tensors, out / path.name, metadata={"format": "pt"})
        elif path.is_file() and path.name != MARKER:
            shutil.copyfile(path, out / path.name)
    try:
        _answering(_load(form, out), "cpu")(checkpoint.example(out))
    except (RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise Unsupported(f"the model does not compute in {form}: {reason}") from error
    return {"precision": f"{form} weights and activations", "torch": str(torch.__version__)}


def load_in(form: str, artifact: Path, target: Target) -> Session:
    """The model in this float; floating inputs are cast to it and outputs to float32 inside the window."""
    settings = set_common(target)
    model = _load(form, artifact).to(target.device)
    weight = next(model.parameters())
    return Session(
        run=_answering(model, target.device),
        device=weight.device.type,
        settings={**settings, "precision": str(weight.dtype).removeprefix("torch.")},
    )


def _load(form: str, folder: Path) -> Any:
    """The model of a checkpoint, which is loaded in float32; what was narrowed on disk loses nothing more."""
    import torch

    return checkpoint.load(folder).to(getattr(torch, form))


def _cast(tensor: Any, form: Any) -> Any:
    return tensor.to(form) if tensor.is_floating_point() else tensor


def _answering(model: Any, device: str) -> Callable[[Arrays], Arrays]:
    """As `checkpoint.answering`, floating inputs narrowed and outputs widened: numpy knows no bfloat16."""
    import torch

    if checkpoint.generates(model):
        return checkpoint.answering(model, device)  # tokens in, tokens out
    form = next(model.parameters()).dtype

    def call(**given: Any) -> dict[str, Any]:
        output = model(**{name: _cast(tensor, form) for name, tensor in given.items()})
        named = {"logits": output} if isinstance(output, torch.Tensor) else output
        return {name: _cast(value, torch.float32) for name, value in named.items() if isinstance(value, torch.Tensor)}

    return checkpoint.answering(call, device)


PYTORCH_BF16 = Backend(
    name="pytorch-bf16",
    build=build_bf16,
    load=load_bf16,
    imports=("torch",),
    lossy=True,
    unavailable=unavailable,
)

PYTORCH_FP16 = Backend(
    name="pytorch-fp16",
    build=build_fp16,
    load=load_fp16,
    imports=("torch",),
    lossy=True,
    devices=("cuda",),
)
