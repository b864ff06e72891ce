"""A published model's demo: a small Gradio app that asks what was published and PyTorch the same."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from harness.checkpoint import EXAMPLE
from harness.contracts.backend import REFERENCE
from harness.errors import HarnessError
from harness.publish.snippets import (
    KINDS,
    OWN_NAMES,
    USAGE,
    Loading,
    Subject,
    is_told,
    limit,
    loading,
    names,
    processor,
)
from harness.results.schema import Result
from harness.stats.intervals import listed

APP = "app.py"

REQUIREMENTS = "requirements.txt"

GRADIO = "6.17.3"
"""The last that admits a huggingface_hub below 1, which Transformers 4.57 insists on."""

OWN_LABELS = "[name for _, name in sorted(AutoConfig.from_pretrained(path).id2label.items())]"


class Input(NamedTuple):
    """Lines of Python for what a kind is asked."""

    prepare: str
    """Defines `prepared(…, tensors)`."""
    before: str = ""
    imports: tuple[str, ...] = ()


TEXT = Input(
    before="LONGEST = 20_000  # characters: the model reads the first tokens alone, which are not so long\n",
    prepare="""\
def prepared(*texts, tensors):
    if not all(text and text.strip() for text in texts):
        raise gradio.Error("Write something first.", print_exception=False)
    texts = [text[:LONGEST] for text in texts]
    return processor(*texts, truncation=True$limit, return_tensors=tensors)""",
)

IMAGE = Input(
    imports=("import numpy",),
    prepare="""\
def prepared(image, tensors):
    if image is None:
        raise gradio.Error("Choose an image first.", print_exception=False)
    if not getattr(processor, "do_resize", False):
        image = image.resize($size)
    pixels = numpy.asarray(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return processor(pixels, input_data_format="channels_last", return_tensors=tensors)""",
)

INPUTS = {"text-classification": TEXT, "image-classification": IMAGE}
"""By the kind's name: those that there is a demo of."""


def check(result: Result, graphs: bool) -> None:
    """HarnessError if no demo would show the case as it was measured; `graphs` if it is published with some."""
    assert result.data is not None
    if result.data.kind not in INPUTS:
        raise HarnessError(
            f"--demo: there is none for {result.data.kind}, only for {listed(list(INPUTS))}; leave it out"
        )
    settings = result.process.settings if result.process else {}
    if result.device != "cpu" or not is_told(result.backend, settings, graphs):
        raise HarnessError(
            f"--demo shows ONNX Runtime and pytorch, on a CPU: {result.name} was measured as something else, so that "
            "its times and answers would not be those; leave it out, or publish another case"
        )


def app(subject: Subject, checkpoint: Path) -> str:
    """The app's text: Python that stands alone beside the published files."""
    result, kind = subject.result, subject.data.kind
    usage, auto_class, asked = USAGE[kind], KINDS[kind].auto_class, INPUTS[kind]
    runs = {result.backend: loading(subject.folder, auto_class)}
    if result.backend != REFERENCE:
        runs[REFERENCE] = loading(subject.folder, auto_class, graphs=False)
    own = names(subject) == OWN_NAMES
    imported = [*asked.imports, *(line for run in runs.values() for line in run.imports)]
    imported.append(f"from transformers import {', '.join(sorted({processor(subject), *(['AutoConfig'] * own)}))}")
    title = f"{result.model} for {result.task}"
    mode, size = _form(checkpoint) if kind == "image-classification" else ("", ())
    return _asset(
        title=title,
        chosen=" beside ".join(runs),
        imports="\n".join(sorted(dict.fromkeys(imported), key=lambda line: (line.startswith("from"), line))),
        processor=processor(subject),
        loading=usage.loading,
        labels=OWN_LABELS if own else names(subject),
        before=asked.before,
        functions="\n".join(_function(number, run) for number, run in enumerate(runs.values())),
        runs="\n".join(f'    "{name}": (load_{n}(), "{run.tensors}"),' for n, (name, run) in enumerate(runs.items())),
        prepare=Template(asked.prepare).substitute(limit=limit(subject), size=size),
        told=_told(subject, runs),
        given=_given(subject, mode),
    )


def requirements(subject: Subject) -> str:
    """What the app needs, as pip reads it, in the versions that were measured."""
    kind = KINDS[subject.data.kind]
    runs = [loading(subject.folder, kind.auto_class), loading(subject.folder, kind.auto_class, graphs=False)]
    wanted = [name for run in runs for name in run.packages.replace('"', "").split()]
    if any("onnx" in name for name in wanted):
        wanted.append("onnxruntime")
    if not USAGE[kind.name].text:
        wanted.append("pillow")
    process = subject.result.process
    # A worker's runtime may be of an environment of its own.
    own = {name: version for name, version in process.settings.items() if name == "onnxruntime"} if process else {}
    known = {**subject.result.environment.packages, **own}
    lines = [f"gradio=={GRADIO}"]
    for name in dict.fromkeys(wanted):
        version = known.get(name.partition("[")[0], "").partition("+")[0]
        lines.append(f"{name}=={version}" if version else name)
    return "\n".join(lines) + "\n"


def space(subject: Subject) -> dict[str, Any]:
    """What a Space reads in the card's metadata; nothing where there is no demo."""
    if not (subject.folder / APP).exists():
        return {}
    title = f"{subject.result.model} for {subject.result.task}"
    return {"title": title, "sdk": "gradio", "sdk_version": GRADIO, "app_file": APP}


def _asset(**known: Any) -> str:
    text = (resources.files("harness.report") / "assets" / "app.py.txt").read_text(encoding="utf-8")
    return Template(text).substitute(known)


def _function(number: int, run: Loading) -> str:
    """Loads one, and returns what answers a batch with its logits."""
    lines = "\n".join(f"    {line}" for line in run.lines)
    return f"def load_{number}():\n{lines}\n    return lambda inputs: {run.logits}\n\n"


def _told(subject: Subject, runs: dict[str, Loading]) -> str:
    beside = f"`{subject.result.backend}` beside `{REFERENCE}`" if len(runs) > 1 else f"`{REFERENCE}`"
    return (
        f"{beside}, on the same input: the three likeliest labels, and the median time of five calls after a first "
        "one, from arrays to logits. These are this machine's times, of this moment; README.md tells what was measured."
    )


def _given(subject: Subject, mode: str) -> str:
    """Expression for the fields that are asked for."""
    if mode:
        return f'[gradio.Image(label="your image", type="pil", image_mode="{mode}", height=240)]'
    fields = ", ".join(
        f"gradio.Textbox(label={name!r}, lines=4, max_length=LONGEST)" for name in subject.data.inputs or ("text",)
    )
    return f"[{fields}]"


def _form(checkpoint: Path) -> tuple[str, tuple[int, int]]:
    """Mode of the images that the model was measured on, and its input's (width, height)."""
    from safetensors.numpy import load_file

    channels, height, width = load_file(checkpoint / EXAMPLE)["pixel_values"].shape[1:]
    return ("L" if channels == 1 else "RGB"), (width, height)
