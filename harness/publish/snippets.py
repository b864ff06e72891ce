"""Python for the reader of a published model: the lines that load it and ask it. The tests run them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness import checkpoint
from harness.backends.onnx_export import ENCODER, FILE
from harness.errors import HarnessError
from harness.kinds import KINDS
from harness.publish.licences import Licence
from harness.results.schema import Data, Result

GRAPHS = "onnx"
"""Sub-folder of a published folder that holds its graphs."""

CARD = "README.md"

EVIDENCE = "shipbench"
"""Sub-folder with the results behind the card."""

OWN_LABELS = "model.config.id2label"


class Usage(NamedTuple):
    """Lines that ask a kind's model."""

    answer: str
    """Lines that define `answer(…)`. `processor` turns an input into arrays; `{tensors}` is their type, `{logits}` the
    model's answer to `inputs`, `{labels}` the label names by index, `{cut}` the arguments that truncate texts."""
    text: bool = True
    """The input is text, for a tokenizer."""
    loading: str = ""
    """Further arguments that load the tokenizer."""


ONE_LABEL = """\
def answer(*texts):  # one text, or a pair of texts
    inputs = processor(*texts{cut}, return_tensors="{tensors}")
    return {labels}[{logits}.argmax(-1).item()]
"""

IMAGE = """\
def answer(image):  # an array of shape (height, width, channels), uint8
    inputs = processor(image, input_data_format="channels_last", return_tensors="{tensors}")
    return {labels}[{logits}.argmax(-1).item()]
"""

WORDS = """\
def answer(words):  # a list of words; returns the label of each, by its first token
    inputs = processor(words, is_split_into_words=True{cut}, return_tensors="{tensors}")
    likeliest = {logits}[0].argmax(-1).tolist()
    owners = inputs.word_ids()
    places = (owners.index(word) if word in owners else None for word in range(len(words)))
    return [None if place is None else {labels}[likeliest[place]] for place in places]
"""

MASK = """\
def answer(text):  # with processor.mask_token in place of one word; returns the five likeliest words
    inputs = processor(text{cut}, return_tensors="{tensors}")
    place = inputs.input_ids[0].tolist().index(processor.mask_token_id)
    return [processor.decode([token]).strip() for token in {logits}[0, place].topk(5).indices.tolist()]
"""

QUESTION = """\
def answer(question, context):
    from transformers import pipeline

    ask = pipeline("question-answering", model=model, tokenizer=processor)
    return ask(question=question, context=context)["answer"]
"""

EMBEDDING = """\
def answer(text):  # returns the mean vector of its tokens, scaled to length 1
    inputs = processor(text{cut}, return_tensors="{tensors}")
    vector = model(**inputs).last_hidden_state[0].mean(0)
    return (vector / vector.norm()).tolist()
"""

GENERATED = """\
def answer(text):
    inputs = processor(text{cut}, return_tensors="{tensors}")
    return processor.decode(model.generate(**inputs, do_sample=False)[0], skip_special_tokens=True).strip()
"""

USAGE = {
    "text-classification": Usage(ONE_LABEL),
    "image-classification": Usage(IMAGE, text=False),
    "token-classification": Usage(WORDS, loading=", add_prefix_space=True"),
    "question-answering": Usage(QUESTION),
    "fill-mask": Usage(MASK),
    "feature-extraction": Usage(EMBEDDING),
    "translation": Usage(GENERATED),
    "summarization": Usage(GENERATED),
}
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
    model_licence: Licence
    data_licence: Licence

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
        """The lines that ask the model; None for a suite's own kind."""
        return USAGE.get(self.data.kind)

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
    native = checkpoint.is_native(folder)
    if not graphs or not (folder / GRAPHS).exists():
        return _module(folder) if native else _pretrained(kind.auto_class if kind else "AutoModel")
    if native or kind is None:
        return _session()
    head = kind.auto_class.removeprefix("Auto")
    name = f"ORT{head}" if head != "Model" else "ORTModelForFeatureExtraction"
    file = ", use_merged=False" if (folder / GRAPHS / ENCODER).exists() else f', file_name="{FILE}"'
    return Loading(
        imports=[f"from optimum.onnxruntime import {name}"],
        lines=[f'model = {name}.from_pretrained(path, subfolder="{GRAPHS}"{file})'],
        packages='"optimum-onnx[onnxruntime]"',
    )


def _pretrained(auto_class: str) -> Loading:
    return Loading(
        imports=[f"from transformers import {auto_class}"],
        lines=[f"model = {auto_class}.from_pretrained(path).eval()"],
        packages="torch transformers",
    )


def _session() -> Loading:
    return Loading(
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


def _module(folder: Path) -> Loading:
    native = json.loads((folder / checkpoint.NATIVE).read_text())
    arguments = ", ".join(f"{name}={value!r}" for name, value in native["arguments"].items())
    return Loading(
        imports=["import sys", "from safetensors.torch import load_model"],
        lines=[
            "sys.path.insert(0, path)  # for module.py",
            f"from module import {native['class']}",
            f"model = {native['class']}({arguments}).eval()",
            f'load_model(model, f"{{path}}/{checkpoint.WEIGHTS}")',
        ],
        packages="torch safetensors transformers",
        logits="model(**inputs)",
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
    if labels != OWN_LABELS and "{labels}" in usage.answer:
        lines.append(f"labels = {labels}")
        labels = "labels"
    cut = f", truncation=True{limit(publication)}"
    answer = usage.answer.format(tensors=run.tensors, logits=run.logits, labels=labels, cut=cut)
    return "\n".join([*lines, "", "", answer.rstrip()])


def packages(publication: Publication) -> str:
    """Return the requirements of these lines, as pip takes them."""
    usage = publication.usage
    return loading(publication).packages + ("" if usage is None or usage.text else " pillow")


def _path(publication: Publication, run: Loading) -> tuple[list[str], str]:
    """Return the import that locates the folder, and the line that defines `path`."""
    if publication.repo is None:
        return [], f"path = {publication.folder_name!r}  # where this folder is"
    if run.by_path:
        return ["from huggingface_hub import snapshot_download"], f"path = snapshot_download({publication.repo!r})"
    return [], f"path = {publication.repo!r}"


def limit(publication: Publication) -> str:
    """Return the argument that cuts texts at the measured length, but within the model's positions."""
    if "max_length" not in publication.result.recipe:
        return ""
    positions = (publication.config or {}).get("max_position_embeddings")
    lengths = [int(publication.result.recipe["max_length"]), *([positions] if isinstance(positions, int) else [])]
    return f", max_length={min(lengths)}"


def processor(publication: Publication) -> str:
    """Return the name of the class that loads the tokenizer or image processor."""
    if USAGE[publication.data.kind].text:
        return "AutoTokenizer"
    # By name, since AutoImageProcessor insists on torchvision's variants where they exist.
    file = publication.folder / "preprocessor_config.json"
    name = str(json.loads(file.read_text()).get("image_processor_type"))
    if not name.isidentifier():
        raise HarnessError(f"{file}: image_processor_type {name!r} is not the name of a class")
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
