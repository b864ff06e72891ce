"""ONNX graphs in the folder of an artifact: their files, the inputs that they take, and what they answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.kind import Arrays
from harness.util.decoding import read_limits

FILE = "model.onnx"
ENCODER = "encoder_model.onnx"
"""The encoder's graph, of a model that answers a text with a text; one that continues a text has FILE alone."""
TYPES = "token_type_ids"


def is_generating(artifact: Path) -> bool:
    """Return whether the artifact is of a model that generates text."""
    return (artifact / ENCODER).exists() or read_limits(artifact) is not None


def copy_settings(source: Path, out: Path) -> None:
    """Copy the settings that a model that generates is loaded with."""
    if is_generating(source):
        for settings in source.glob("*config.json"):
            shutil.copyfile(settings, out / settings.name)


def host_run(session: Any) -> Callable[[Arrays], Arrays]:
    """Return a function from a batch to a session's outputs, all in host memory."""
    select = input_selector([node.name for node in session.get_inputs()])
    outputs = [node.name for node in session.get_outputs()]
    return lambda arrays: dict(zip(outputs, session.run(outputs, select(arrays)), strict=True))


def input_selector(names: Sequence[str]) -> Callable[[Arrays], Arrays]:
    """Return a function that selects a graph's inputs from a batch; ValueError if the batch lacks one.

    Where a tokenizer gives no token types they are zero, as in PyTorch.
    """
    reads_types = TYPES in names

    def select(arrays: Arrays) -> Arrays:
        if reads_types and TYPES not in arrays and "input_ids" in arrays:
            arrays = {**arrays, TYPES: np.zeros_like(arrays["input_ids"])}
        try:
            return {name: arrays[name] for name in names}
        except KeyError as missing:
            raise ValueError(f"the graph needs input {missing}; the processor gives only {', '.join(arrays)}") from None

    return select
