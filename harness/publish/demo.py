"""The demo of a published model: a small Gradio app that runs the published backend and PyTorch on the same input."""

from __future__ import annotations

from pathlib import Path
from string import Template
from textwrap import indent
from typing import Any

from packaging.requirements import Requirement
from safetensors.numpy import load_file

from harness.checkpoint import EXAMPLE
from harness.contracts.backend import REFERENCE
from harness.errors import HarnessError
from harness.publish.loading import Loading, loading
from harness.publish.publication import ASSETS, USAGE, Publication
from harness.publish.snippets import OWN_LABELS, label_names, packages, processor, truncation
from harness.results.schema import Result
from harness.stats.intervals import join_names

APP = "app.py"

REQUIREMENTS = "requirements.txt"

GRADIO = "6.31.0"
"""The release that the demos are tested with."""


def check(result: Result, graphs: bool) -> None:
    """Raise HarnessError if the demo would not run the case as measured; `graphs` says if graphs are published.

    It loads graphs with ONNX Runtime and the checkpoint with PyTorch, on a CPU and with default options.
    """
    assert result.data is not None
    kinds = [kind for kind, usage in USAGE.items() if usage.preprocess]
    if result.data.kind not in kinds:
        raise HarnessError(
            f"--demo: {result.data.kind} has no demo, only {join_names(kinds)} have one; leave the option out"
        )
    settings = result.process.settings if result.process else {}
    defaults = settings.get("providers") == "CPUExecutionProvider" and "options" not in settings
    if result.device != "cpu" or not (defaults if graphs else result.backend == REFERENCE):
        raise HarnessError(
            f"--demo runs only ONNX Runtime and pytorch, on a CPU with default options: {result.name} was measured "
            "differently, so the demo's times and answers would not be those measured; leave the option out, or "
            "publish another case"
        )


def app(publication: Publication, checkpoint: Path) -> str:
    """Return the app's source, which needs only the published files."""
    result, usage = publication.result, USAGE[publication.data.kind]
    runs = {result.backend: loading(publication)}
    if result.backend != REFERENCE:
        runs[REFERENCE] = loading(publication, graphs=False)
    loader, labels = processor(publication), label_names(publication)
    imports = [f"from transformers import {loader}", *(line for run in runs.values() for line in run.imports)]
    if labels == OWN_LABELS:
        labels = f"[name for _, name in sorted({OWN_LABELS}.items())]"
        imports.append("from transformers import AutoConfig")
    mode, size = _image_format(checkpoint) if usage.media == "image" else ("", ())
    fields = [
        Template(usage.field).substitute(name=repr(name), mode=mode) for name in publication.data.inputs or ("text",)
    ]
    return Template((ASSETS / "app.py.txt").read_text("utf-8")).substitute(
        title=publication.title,
        backends=" and ".join(runs),
        imports="\n".join(sorted(dict.fromkeys(imports), key=lambda line: (line.startswith("from"), line))),
        processor=loader,
        loading=usage.loading,
        labels=labels,
        functions="\n".join(_function(number, run) for number, run in enumerate(runs.values())),
        runs="\n".join(f'    "{name}": (load_{n}(), "{run.tensors}"),' for n, (name, run) in enumerate(runs.items())),
        preprocess=Template(usage.preprocess).substitute(cut=truncation(publication), size=size),
        names=join_names([f"`{name}`" for name in runs]),
        fields=f"[{', '.join(fields)}]",
    )


def requirements(publication: Publication) -> str:
    """Return the app's requirements in pip's format, with the measured versions."""
    needed = f"{packages(publication)} {packages(publication, graphs=False)}".replace('"', "").split()
    names = [Requirement(one).name for one in needed]
    process = publication.result.process
    # A worker may have run in an environment of its own, with another ONNX Runtime.
    own = {name: version for name, version in process.settings.items() if name == "onnxruntime"} if process else {}
    versions = {**publication.result.environment.packages, **own}
    pinned = {name: versions.get(name, "").partition("+")[0] for name in names}
    lines = [f"{name}=={version}" if version else name for name, version in pinned.items()]
    return "\n".join([f"gradio=={GRADIO}", *lines, ""])


def space(publication: Publication) -> dict[str, Any]:
    """Return the metadata that makes the folder a Space; empty without a demo."""
    if not (publication.folder / APP).exists():
        return {}
    return {"title": publication.title, "sdk": "gradio", "sdk_version": GRADIO, "app_file": APP}


def _function(number: int, run: Loading) -> str:
    """Return a function that loads one model and returns a function from inputs to logits."""
    lines = indent("\n".join(run.lines), "    ")
    return f"def load_{number}():\n{lines}\n    return lambda inputs: {run.logits}\n\n"


def _image_format(checkpoint: Path) -> tuple[str, tuple[int, int]]:
    """Return the mode and the (width, height) of the images that the model was measured on."""
    channels, height, width = load_file(checkpoint / EXAMPLE)["pixel_values"].shape[1:]
    return ("L" if channels == 1 else "RGB"), (width, height)
