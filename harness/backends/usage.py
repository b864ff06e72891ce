"""How a published model is loaded, in a few lines of Python for its reader: by Optimum, ONNX Runtime or PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from harness.backends.onnx_graphs import ENCODER, FILE
from harness.contracts import REFERENCE
from harness.errors import HarnessError
from harness.training import checkpoint

GRAPHS = "onnx"
"""Sub-folder of a published folder that holds its graphs."""


class Loading(NamedTuple):
    """Lines of Python."""

    imports: list[str]
    lines: list[str]
    """Define `model` or `session`, where `path` is the published folder."""
    tensors: str
    """What these take: `pt` or `np`."""
    logits: str
    """Expression for the answer to `inputs`."""
    packages: str
    """What there must be installed, as pip is told it."""
    by_path: bool = False
    """Whether they need a folder, where others take a repository's name, too."""


def check_graphs(artifact: Path) -> None:
    """HarnessError if an artifact is nothing that readers could be told how to load."""
    if not (artifact / FILE).exists() and not (artifact / ENCODER).exists():
        held = ", ".join(sorted(path.name for path in artifact.iterdir())[:5])
        raise HarnessError(
            f"{artifact} holds {held}: no ONNX graph, and nothing here knows how else it would be loaded; publish "
            "pytorch's case, or one of ONNX Runtime"
        )


def is_told(backend: str, settings: Mapping[str, str], graphs: bool) -> bool:
    """Whether `loading` runs a case as it was measured on a CPU: graphs on ONNX Runtime, the checkpoint as it is.

    `settings` are what its runtime said of itself; options that were chosen for it are nobody's default.
    """
    if not graphs:
        return backend == REFERENCE
    return settings.get("providers") == "CPUExecutionProvider" and "options" not in settings


def loading(folder: Path, auto_class: str | None, graphs: bool = True) -> Loading:
    """For the model published in `folder`, whose kind has this Auto class in Transformers; None for a suite's own.

    Without `graphs` it is PyTorch that loads it, whatever else is there.
    """
    graphs = graphs and (folder / GRAPHS).exists()
    native = checkpoint.is_native(folder)
    if graphs and (native or auto_class is None):
        return _session()
    if native:
        return _module(folder)
    if not graphs:
        return _pretrained(auto_class or "AutoModel")
    assert auto_class is not None
    name = f"ORT{auto_class.removeprefix('Auto')}" if auto_class != "AutoModel" else "ORTModelForFeatureExtraction"
    file = ", use_merged=False" if (folder / GRAPHS / ENCODER).exists() else f', file_name="{FILE}"'
    return Loading(
        imports=[f"from optimum.onnxruntime import {name}"],
        lines=[f'model = {name}.from_pretrained(path, subfolder="{GRAPHS}"{file})'],
        tensors="pt",
        logits="model(**inputs).logits",
        packages='"optimum-onnx[onnxruntime]"',
    )


def _pretrained(auto_class: str) -> Loading:
    return Loading(
        imports=[f"from transformers import {auto_class}"],
        lines=[f"model = {auto_class}.from_pretrained(path).eval()"],
        tensors="pt",
        logits="model(**inputs).logits",
        packages="torch transformers",
    )


def _session() -> Loading:
    return Loading(
        imports=["import onnxruntime"],
        lines=[
            f'session = onnxruntime.InferenceSession(f"{{path}}/{GRAPHS}/{FILE}")',
            "names = [node.name for node in session.get_inputs()]",
        ],
        tensors="np",
        logits="session.run(None, {name: inputs[name] for name in names})[0]",
        packages="onnxruntime transformers",
        by_path=True,
    )


def _module(folder: Path) -> Loading:
    described = json.loads((folder / checkpoint.NATIVE).read_text())
    arguments = ", ".join(f"{name}={value!r}" for name, value in described["arguments"].items())
    return Loading(
        imports=["import sys", "from safetensors.torch import load_model"],
        lines=[
            "sys.path.insert(0, path)  # for module.py",
            f"from module import {described['class']}",
            f"model = {described['class']}({arguments}).eval()",
            f'load_model(model, f"{{path}}/{checkpoint.WEIGHTS}")',
        ],
        tensors="pt",
        logits="model(**inputs)",
        packages="torch safetensors transformers",
        by_path=True,
    )
