"""Python snippets for users of a published model: the lines that load and query it. The tests run them."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from harness import checkpoint
from harness.backends.onnx_export import ENCODER, FILE
from harness.errors import HarnessError
from harness.kinds import KINDS
from harness.kinds.feature_extraction import SETTINGS
from harness.kinds.sentence_folder import PLAIN
from harness.results.schema import Data, Result

GRAPHS = "onnx"
"""Sub-folder of a published folder that holds its graphs."""

CARD = "README.md"

EVIDENCE = "shipbench"
"""Sub-folder with the results behind the card."""

OWN_LABELS = "model.config.id2label"

ASSETS = resources.files("harness.publish") / "assets"


class Usage(NamedTuple):
    """Lines that ask a kind's model; `assets/kinds.toml` explains them."""

    answer: str
    text: bool = True
    loading: str = ""
    preprocess: str = ""
    field: str = ""


USAGE = {name: Usage(**lines) for name, lines in tomllib.loads((ASSETS / "kinds.toml").read_text("utf-8")).items()}
"""By the kind's name; a suite's own kind has none."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A measured case, and the folder that it is published as."""

    result: Result
    comparison: list[Result]
    folder: Path
    """Holds the model's files."""
    folder_name: str
    """Name of the folder at its destination."""
    repo: str | None
    """`owner/name` on the Hub, for an upload."""
    inputs: frozenset[str]
    """Names of the model's inputs; a native module need not take the tokenizer's mask."""

    @property
    def data(self) -> Data:
        """The task's rows; a measured case has them."""
        assert self.result.data is not None
        return self.result.data

    @property
    def title(self) -> str:
        """The names of model and task."""
        return f"{self.result.model} for {self.result.task}"

    @property
    def usage(self) -> Usage | None:
        """The lines that ask the model; None for a suite's own kind, and for vectors that are not the plain mean."""
        file = self.folder / "tokenizer_config.json"
        declared = json.loads(file.read_text()).get(SETTINGS, {}) if file.exists() else {}
        is_plain = all(declared.get(key, value) == value for key, value in PLAIN.items() if key != "max_length")
        return USAGE.get(self.data.kind) if is_plain else None

    @property
    def config(self) -> dict[str, Any] | None:
        """Transformers' configuration; None for a native module."""
        file = self.folder / "config.json"
        return dict(json.loads(file.read_text())) if file.exists() else None


class Loading(NamedTuple):
    """Lines that load a model."""

    imports: list[str]
    lines: list[str]
    """Define `model` or `session`; `path` is the published folder."""
    packages: str
    """Requirements, as pip takes them."""
    tensors: str = "pt"
    """Type of its inputs: `pt` or `np`."""
    logits: str = "model(**inputs).logits"
    """Expression for the answer to `inputs`."""
    by_path: bool = False
    """They need a folder; other lines also take a repository's name."""


SESSION = Loading(
    imports=["import onnxruntime"],
    lines=[
        f'session = onnxruntime.InferenceSession(f"{{path}}/{GRAPHS}/{FILE}")',
        "names = [node.name for node in session.get_inputs()]",
    ],
    packages="onnxruntime transformers",
    tensors="np",
    logits="session.run(None, {name: inputs[name] for name in names})[0]",
    by_path=True,
)


def check_graphs(artifact: Path) -> None:
    """Raise HarnessError if no lines can load the artifact."""
    if not (artifact / FILE).exists() and not (artifact / ENCODER).exists():
        content = ", ".join(sorted(path.name for path in artifact.iterdir())[:5])
        raise HarnessError(
            f"{artifact} holds {content}: no ONNX graph, and other artifacts cannot be published; publish pytorch's "
            "case, or one of ONNX Runtime"
        )


def loading(publication: Publication, graphs: bool = True) -> Loading:
    """Return the lines that load the model; without `graphs` those of PyTorch, even if there are graphs."""
    folder, kind = publication.folder, KINDS.get(publication.data.kind)
    native, auto_class = checkpoint.is_native(folder), kind.auto_class if kind else "AutoModel"
    if graphs and (folder / GRAPHS).exists():
        return SESSION if native or kind is None else _optimum(folder / GRAPHS, auto_class)
    if native:
        return _module(folder, publication.inputs)
    return Loading(
        imports=[f"from transformers import {auto_class}"],
        lines=[f"model = {auto_class}.from_pretrained(path).eval()"],
        packages="torch transformers",
    )


def _optimum(graphs: Path, auto_class: str) -> Loading:
    head = auto_class.removeprefix("Auto")
    name = f"ORT{head}" if head != "Model" else "ORTModelForFeatureExtraction"
    file = ", use_merged=False" if (graphs / ENCODER).exists() else f', file_name="{FILE}"'
    return Loading(
        imports=[f"from optimum.onnxruntime import {name}"],
        lines=[f'model = {name}.from_pretrained(path, subfolder="{GRAPHS}"{file})'],
        packages='"optimum-onnx[onnxruntime]"',
    )


def _module(folder: Path, inputs: frozenset[str]) -> Loading:
    native = json.loads((folder / checkpoint.NATIVE).read_text())
    arguments = ", ".join(f"{name}={value!r}" for name, value in native["arguments"].items())
    call = "input_ids=inputs.input_ids" if inputs == {"input_ids"} else "**inputs"
    return Loading(
        imports=["import sys", "from safetensors.torch import load_model"],
        lines=[
            "sys.path.insert(0, path)  # for module.py",
            f"from module import {native['class']}",
            f"model = {native['class']}({arguments}).eval()",
            f'load_model(model, f"{{path}}/{checkpoint.WEIGHTS}")',
        ],
        packages="torch safetensors transformers",
        logits=f"model({call}){native.get('logits', '')}",
        by_path=True,
    )


def code(publication: Publication) -> str:
    """Return the lines that load the model and define `answer`; for a suite's own kind, only those that load it."""
    run, usage = loading(publication), publication.usage
    imports, path = _path(publication, run)
    lines = [*run.imports, *imports]
    if usage is None:
        return "\n".join([*lines, "", path, *run.lines])
    loader, labels = processor(publication), label_names(publication)
    lines += [f"from transformers import {loader}", "", path]
    lines += [f"processor = {loader}.from_pretrained(path{usage.loading})", *run.lines]
    if labels != OWN_LABELS and "$labels" in usage.answer:
        lines.append(f"labels = {labels}")
        labels = "labels"
    cut = truncation(publication)
    answer = Template(usage.answer).substitute(tensors=run.tensors, logits=run.logits, labels=labels, cut=cut)
    return "\n".join([*lines, "", "", answer])


def packages(publication: Publication, graphs: bool = True) -> str:
    """Return the requirements of `loading`, as pip takes them, and of the processor."""
    usage = publication.usage
    return loading(publication, graphs).packages + ("" if usage is None or usage.text else " pillow")


def _path(publication: Publication, run: Loading) -> tuple[list[str], str]:
    """Return the import that locates the folder, and the line that defines `path`."""
    if publication.repo is None:
        return [], f"path = {publication.folder_name!r}  # where this folder is"
    if run.by_path:
        return ["from huggingface_hub import snapshot_download"], f"path = snapshot_download({publication.repo!r})"
    return [], f"path = {publication.repo!r}"


def truncation(publication: Publication) -> str:
    """Return the arguments that cut texts at the measured length, but within the model's positions."""
    lengths = [publication.result.recipe.get("max_length"), (publication.config or {}).get("max_position_embeddings")]
    if lengths[0] is None:
        return ", truncation=True"
    return f", truncation=True, max_length={min(length for length in lengths if isinstance(length, int))}"


def processor(publication: Publication) -> str:
    """Return the name of the class that loads the tokenizer or image processor."""
    if USAGE[publication.data.kind].text:
        return "AutoTokenizer"
    # By name, since AutoImageProcessor insists on torchvision's variants where they exist.
    file = publication.folder / "preprocessor_config.json"
    name = str(json.loads(file.read_text()).get("image_processor_type"))
    if not name.isidentifier():
        raise HarnessError(f"{file}: image_processor_type {name!r} must be the name of a class")
    return name


def label_names(publication: Publication) -> str:
    """Return an expression for the label names by index: the model's own if the task uses the same names."""
    labels, trained = publication.data.labels, publication.result.checkpoint
    order = (trained.info if trained else {}).get("order") or list(range(len(labels)))
    task_labels = [labels[index] if 0 <= index < len(labels) else None for index in order]
    id2label = (publication.config or {}).get("id2label", {})
    model_labels = [name for _, name in sorted((int(index), name) for index, name in id2label.items())]
    # A label cannot end the block of code that it stands in.
    return OWN_LABELS if not labels or model_labels == task_labels else repr(task_labels).replace("`", r"\x60")
