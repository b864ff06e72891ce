"""The demo of a published model: a small Gradio app that asks the published backend and PyTorch the same question."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from harness.checkpoint import EXAMPLE
from harness.contracts.backend import REFERENCE
from harness.errors import HarnessError
from harness.publish.snippets import (
    OWN_LABELS,
    USAGE,
    Loading,
    Publication,
    label_names,
    limit,
    loading,
    processor,
)
from harness.results.schema import Result
from harness.stats.intervals import join_names

APP = "app.py"

REQUIREMENTS = "requirements.txt"

GRADIO = "6.17.3"
"""The last release that admits huggingface_hub below 1, which Transformers 4.57 insists on."""

LABELS_OF_CONFIG = "[name for _, name in sorted(AutoConfig.from_pretrained(path).id2label.items())]"


class Input(NamedTuple):
    """Lines of Python for a kind's input."""

    preprocess: str
    """Defines `preprocess(…, tensors)`."""
    before: str = ""
    imports: tuple[str, ...] = ()


TEXT = Input(
    before="LONGEST = 20_000  # characters; the model reads only the first tokens, which are shorter\n",
    preprocess="""\
def preprocess(*texts, tensors):
    if not all(text and text.strip() for text in texts):
        raise gradio.Error("Write something first.", print_exception=False)
    texts = [text[:LONGEST] for text in texts]
    return processor(*texts, truncation=True$limit, return_tensors=tensors)""",
)

IMAGE = Input(
    imports=("import numpy",),
    preprocess="""\
def preprocess(image, tensors):
    if image is None:
        raise gradio.Error("Choose an image first.", print_exception=False)
    if not getattr(processor, "do_resize", False):
        image = image.resize($size)
    pixels = numpy.asarray(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return processor(pixels, input_data_format="channels_last", return_tensors=tensors)""",
)

INPUTS = {"text-classification": TEXT, "image-classification": IMAGE}
"""The kinds that have a demo, by name."""


def check(result: Result, graphs: bool) -> None:
    """Raise HarnessError if the demo would not run the case as measured; `graphs` says if graphs are published.

    It loads graphs with ONNX Runtime and the checkpoint with PyTorch, on a CPU and with default options.
    """
    assert result.data is not None
    if result.data.kind not in INPUTS:
        raise HarnessError(
            f"--demo: {result.data.kind} has no demo, only {join_names(list(INPUTS))} have one; leave the option out"
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
    result, kind = publication.result, publication.data.kind
    runs = {result.backend: loading(publication)}
    if result.backend != REFERENCE:
        runs[REFERENCE] = loading(publication, graphs=False)
    loader, labels, inputs = processor(publication), label_names(publication), INPUTS[kind]
    imports = [*inputs.imports, *(line for run in runs.values() for line in run.imports)]
    if labels == OWN_LABELS:
        labels = LABELS_OF_CONFIG
        imports.append("from transformers import AutoConfig")
    imports.append(f"from transformers import {loader}")
    mode, size = _image_format(checkpoint) if kind == "image-classification" else ("", ())
    template = (resources.files("harness.publish") / "assets" / "app.py.txt").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=publication.title,
        backends=" and ".join(runs),
        imports="\n".join(sorted(dict.fromkeys(imports), key=lambda line: (line.startswith("from"), line))),
        processor=loader,
        loading=USAGE[kind].loading,
        labels=labels,
        before=inputs.before,
        functions="\n".join(_function(number, run) for number, run in enumerate(runs.values())),
        runs="\n".join(f'    "{name}": (load_{n}(), "{run.tensors}"),' for n, (name, run) in enumerate(runs.items())),
        prepare=Template(inputs.preprocess).substitute(limit=limit(publication), size=size),
        description=(
            f"{join_names([f'`{name}`' for name in runs])} on the same input: the three likeliest labels, and the "
            "median time of five calls after a warm-up, from arrays to logits. The times are this machine's, right "
            "now; README.md has the measured ones."
        ),
        fields=_fields(publication, mode),
    )


def requirements(publication: Publication) -> str:
    """Return the app's requirements in pip's format, with the measured versions."""
    runs = [loading(publication), loading(publication, graphs=False)]
    names = [name for run in runs for name in run.packages.replace('"', "").split()]
    if any("onnx" in name for name in names):
        names.append("onnxruntime")
    if not USAGE[publication.data.kind].text:
        names.append("pillow")
    process = publication.result.process
    # A worker may have run in an environment of its own, with another ONNX Runtime.
    own = {name: version for name, version in process.settings.items() if name == "onnxruntime"} if process else {}
    versions = {**publication.result.environment.packages, **own}
    lines = [f"gradio=={GRADIO}"]
    for name in dict.fromkeys(names):
        version = versions.get(name.partition("[")[0], "").partition("+")[0]
        lines.append(f"{name}=={version}" if version else name)
    return "\n".join(lines) + "\n"


def space(publication: Publication) -> dict[str, Any]:
    """Return the metadata that makes the folder a Space; empty without a demo."""
    if not (publication.folder / APP).exists():
        return {}
    return {"title": publication.title, "sdk": "gradio", "sdk_version": GRADIO, "app_file": APP}


def _function(number: int, run: Loading) -> str:
    """Return a function that loads one model and returns a function from inputs to logits."""
    lines = "\n".join(f"    {line}" for line in run.lines)
    return f"def load_{number}():\n{lines}\n    return lambda inputs: {run.logits}\n\n"


def _fields(publication: Publication, mode: str) -> str:
    """Return an expression for the input fields."""
    if mode:
        return f'[gradio.Image(label="your image", type="pil", image_mode="{mode}", height=240)]'
    fields = ", ".join(
        f"gradio.Textbox(label={name!r}, lines=4, max_length=LONGEST)" for name in publication.data.inputs or ("text",)
    )
    return f"[{fields}]"


def _image_format(checkpoint: Path) -> tuple[str, tuple[int, int]]:
    """Return the mode and the (width, height) of the images that the model was measured on."""
    from safetensors.numpy import load_file

    channels, height, width = load_file(checkpoint / EXAMPLE)["pixel_values"].shape[1:]
    return ("L" if channels == 1 else "RGB"), (width, height)
