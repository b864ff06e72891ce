"""How variants of a real export are run: ONNX Runtime's real session, with its inputs disturbed or its options changed.

Workers find these by path. What a variant is, `variant.json` beside its graph says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts import Arrays, Backend, Session, Target

VARIANT = "variant.json"
SHORTER = 64
"""Tokens that the wrong truncation keeps."""
FIRST_WORD = 1_000
"""Vocabulary entries before it are special tokens, characters and unused ones, in every BERT vocabulary."""


def lost_mask(arrays: Arrays) -> Arrays:
    """Padding is attended to like text."""
    return arrays | {"attention_mask": np.ones_like(arrays["attention_mask"])}


def wrong_token_types(arrays: Arrays) -> Arrays:
    """Every token is said to belong to the second text."""
    return arrays | {"token_type_ids": np.ones_like(arrays["token_type_ids"])}


def padded_left(arrays: Arrays) -> Arrays:
    """Padding comes before the text; the mask moves with it."""
    lengths = arrays["attention_mask"].sum(axis=1)
    width = arrays["attention_mask"].shape[1]
    return {
        name: np.stack([np.roll(row, width - length) for row, length in zip(values, lengths, strict=True)])
        for name, values in arrays.items()
    }


def cut_shorter(arrays: Arrays) -> Arrays:
    """Texts end earlier than they were trained to."""
    return {name: np.ascontiguousarray(values[:, :SHORTER]) for name, values in arrays.items()}


def other_vocabulary(arrays: Arrays) -> Arrays:
    """Words have the numbers of a vocabulary with one more line before them."""
    ids = arrays["input_ids"]
    return arrays | {"input_ids": np.where(ids >= FIRST_WORD, ids + 1, ids)}


DISTURBANCES: dict[str, Callable[[Arrays], Arrays]] = {
    function.__name__: function
    for function in (lost_mask, wrong_token_types, padded_left, cut_shorter, other_vocabulary)
}


def load(artifact: Path, target: Target) -> Session:
    """The project's own ONNX Runtime session over the graph; its inputs pass through the named disturbance."""
    from harness.backends.onnxruntime import load as load_onnxruntime

    session = load_onnxruntime(artifact, target)
    disturb = DISTURBANCES[json.loads((artifact / VARIANT).read_text())["disturbance"]]
    return session._replace(run=lambda arrays: session.run(disturb(arrays)))


def load_with_options(artifact: Path, target: Target) -> Session:
    """A session with other options of ONNX Runtime than the project's."""
    import onnxruntime as ort

    wanted: dict[str, Any] = json.loads((artifact / VARIANT).read_text())
    options = ort.SessionOptions()
    options.intra_op_num_threads = wanted.get("threads", target.threads)
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, wanted.get("level", "ORT_ENABLE_ALL"))
    if wanted.get("parallel"):
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    options.enable_mem_pattern = wanted.get("pattern", True)
    options.enable_cpu_mem_arena = wanted.get("arena", True)
    for name, value in wanted.get("entries", {}).items():
        options.add_session_config_entry(name, value)
    session = ort.InferenceSession(str(artifact / "model.onnx"), options, providers=["CPUExecutionProvider"])
    inputs = [node.name for node in session.get_inputs()]
    outputs = [node.name for node in session.get_outputs()]

    def run(arrays: Arrays) -> Arrays:
        found = session.run(outputs, {name: arrays[name] for name in inputs})
        return dict(zip(outputs, found, strict=True))

    return Session(run=run, device="cpu", settings={"onnxruntime": ort.__version__})


DISTURBED = Backend(name="disturbed", load=load)
OPTIONS = Backend(name="options", load=load_with_options)
