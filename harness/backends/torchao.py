"""PyTorch in dynamic int8 through torchao, compiled. Its artifact is the checkpoint itself."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import checkpoint
from harness.backends import torch_compile
from harness.backends.pytorch import set_common
from harness.contracts.backend import Backend, Device, Session, Target
from harness.errors import Unsupported

LEAST = 0.01
"""Share of a model's weights that linear layers must hold: a head alone in int8 is not the model in int8."""


def unavailable(device: Device) -> str | None:
    """It takes torchao, and what torch.compile takes."""
    try:
        version("torchao")
    except PackageNotFoundError:
        return 'torchao is not installed; run: python -m pip install -e ".[torchao]"'
    return torch_compile.unavailable(device)


def load(artifact: Path, target: Target) -> Session:
    """The checkpoint's linear layers in int8, scaled by row of the activations at every call, then compiled.

    Quantised here rather than in `build`, as it takes a tenth of a second, and torchao's own form on disk is a
    prototype. Compiled, because eagerly the scales alone take longer than the products save: MiniLM, one row of 96
    tokens, 35.5 ms eagerly, 9.3 compiled, 18.6 in float32. Unsupported for a model whose work is not in linear layers.
    """
    import torch
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    from torchao.utils import should_reduce_range

    settings = set_common(target)
    model = checkpoint.load(artifact).to(target.device)
    told = share(model)
    # Its settings for inductor are those of Triton, and let products that stay in float32 be rounded.
    narrow = should_reduce_range(torch.device(target.device))
    quantize_(model, Int8DynamicActivationInt8WeightConfig(set_inductor_config=False, reduce_range=narrow))
    return torch_compile.session(model, target, {**settings, "torchao": version("torchao"), "int8": told})


def share(model: Any) -> str:
    """How much of a model is quantised, in words; Unsupported if that is next to nothing."""
    import torch

    every = sum(weight.numel() for weight in model.parameters())
    layers = [layer.weight.numel() for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    told = f"{len(layers)} linear layers, {sum(layers):,} of {every:,} weights"
    if sum(layers) < LEAST * every:
        raise Unsupported(f"torchao quantises linear layers alone: {told}")
    return told


PYTORCH_INT8 = Backend(
    name="pytorch-int8",
    load=load,
    imports=("torch", "torchao.quantization"),
    lossy=True,
    devices=("cpu",),
    unavailable=unavailable,
)
