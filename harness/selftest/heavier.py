"""Real models with real extra work, proportional to what they do anyway. Workers find these by this file's path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.contracts import Arrays, Session, Target

REPEATED = (
    "encoder.layer.1.intermediate.dense",
    *(f"encoder.layer.4.attention.self.{name}" for name in ("query", "key", "value")),
)
"""Layers of MiniLM whose products are computed twice: 4 + 3 of 72 equal parts. Products are half of a call's time, so
that this is a twentieth more of it; the figure says what came of it."""


def repeating(artifact: Path, target: Target) -> Session:
    """The reference backend, which computes some layers' products once more and forgets them."""
    import torch

    from harness.training import checkpoint

    torch.set_num_threads(target.threads)
    model: Any = checkpoint.load(artifact).to(target.device)
    for name in REPEATED:
        model.base_model.get_submodule(name).register_forward_hook(_again)

    return Session(
        run=checkpoint.answering(model, target.device),
        device=next(model.parameters()).device.type,
        settings={"torch": torch.__version__},
    )


def _again(layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
    import torch

    torch.nn.functional.linear(inputs[0], layer.weight, layer.bias)


def doubling(artifact: Path, target: Target) -> Session:
    """The project's ONNX Runtime session, every call made twice."""
    from harness.backends.onnxruntime import load

    session = load(artifact, target)

    def run(arrays: Arrays) -> Arrays:
        session.run(arrays)
        return session.run(arrays)

    return session._replace(run=run)
