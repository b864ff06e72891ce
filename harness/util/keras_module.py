"""Keras on PyTorch: imported without settings of the home folder, and its models as modules of PyTorch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import Parameter, Signature
from tempfile import TemporaryDirectory
from typing import Any

from harness.errors import HarnessError


@contextmanager
def on_torch() -> Iterator[None]:
    """Have Keras, if it is imported here, choose PyTorch, and write its settings to a folder that does not stay."""
    names = ("KERAS_BACKEND", "KERAS_HOME")
    before = {name: os.environ[name] for name in names if name in os.environ}
    with TemporaryDirectory() as home:
        os.environ |= dict(zip(names, ("torch", home), strict=True))
        try:
            yield
        finally:
            for name in names:
                del os.environ[name]
            os.environ |= before


def is_keras(model: Any) -> bool:
    """Return whether this is a model of Keras, which need not be installed."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(model, keras.Model)


def as_module(owner: str, model: Any) -> Any:
    """Return a Keras model as a module whose `forward` takes its inputs by name; HarnessError if they have no names.

    Names of Keras's own weights count what the process created before; here they count the model's weights.
    """
    import torch

    if not (inputs := getattr(model, "inputs", None)):
        raise HarnessError(
            f"{owner} returns a {type(model).__name__} without declared inputs; build it of layers with "
            "keras.Model(inputs, outputs) and keras.Input(shape, dtype='int64', name='input_ids')"
        )
    names = [tensor.name for tensor in inputs]

    class KerasModule(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            values = {f"{number:04}_{own.name}": own.value for number, own in enumerate(model.variables)}
            self.weights = torch.nn.ParameterDict(values)

        def forward(self, **arrays: torch.Tensor) -> Any:
            return model(arrays if len(names) > 1 else arrays[names[0]], training=self.training)

    # By which callers and exporters know the inputs.
    arguments = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *names)]
    KerasModule.forward.__signature__ = Signature(arguments)  # type: ignore[attr-defined]
    module = KerasModule()
    module.shipbench_keras = names  # type: ignore[assignment]
    return module
