"""How answers are had from a published model, in a few lines of Python for its reader.

In the lines, `processor` is what turns an input into arrays, `{tensors}` the sort of these, `{logits}` the model's
answer to `inputs`, `{labels}` the names of labels by index, and `{cut}` how texts are cut.


ALSO: How a published model is loaded, in a few lines of Python for its reader: by Optimum, ONNX Runtime or PyTorch.
ALSO: How a published model is loaded and asked: Python for its reader, which the tests run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness import checkpoint, kinds
from harness.backends.onnx_export import ENCODER, FILE
from harness.contracts.backend import REFERENCE
from harness.errors import HarnessError
from harness.publish.licences import Licence
from harness.results.schema import Data, Result


class Usage(NamedTuple):
    """Lines of Python."""

    answer: str
    """Defines `answer(…)`."""
    text: bool = True
    """Whether the input is text, which a tokenizer reads."""
    loading: str = ""
    """Further arguments with which the tokenizer is loaded."""


ONE_LABEL = """\
def answer(*texts):  # one text, or the two of a pair
    inputs = processor(*texts{cut}, return_tensors="{tensors}")
    return {labels}[{logits}.argmax(-1).item()]
"""

IMAGE = """\
def answer(image):  # an array of shape (height, width, channels), uint8
    inputs = processor(image, input_data_format="channels_last", return_tensors="{tensors}")
    return {labels}[{logits}.argmax(-1).item()]
"""

WORDS = """\
def answer(words):  # a list of them; of each its label, by its first token
    inputs = processor(words, is_split_into_words=True{cut}, return_tensors="{tensors}")
    likeliest = {logits}[0].argmax(-1).tolist()
    owners = inputs.word_ids()
    places = (owners.index(word) if word in owners else None for word in range(len(words)))
    return [None if place is None else {labels}[likeliest[place]] for place in places]
"""

MASK = """\
def answer(text):  # in which one word is processor.mask_token; the five likeliest for it
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
def answer(text):  # its vector: the mean over its tokens, of length 1
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
"""By the kind's name."""

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


KINDS = {kind.name: kind for kind in (getattr(kinds, name) for name in kinds.__all__)}

OWN_NAMES = "model.config.id2label"

CARD = "README.md"

EVIDENCE = "shipbench"
"""Sub-folder with the results that the card is made of."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a card is of."""

    result: Result
    group: list[Result]
    """Its comparison."""
    folder: Path
    """With the model's files."""
    called: str
    """What the folder is called where it will lie."""
    repo: str | None
    """`owner/name` on the Hub, if it goes there."""
    model_licence: Licence
    data_licence: Licence

    @property
    def data(self) -> Data:
        """The task's rows; a measured case has them."""
        assert self.result.data is not None
        return self.result.data


def code(subject: Subject) -> str:
    """How the model is loaded and asked."""
    kind, usage = KINDS.get(subject.data.kind), USAGE.get(subject.data.kind)
    found = loading(subject.folder, kind.auto_class if kind else None)
    imports, path = _path(subject, found)
    lines = [*found.imports, *imports]
    if usage is None:
        return "\n".join([*lines, "", path, *found.lines])
    before, known = processor(subject), names(subject)
    lines += [f"from transformers import {before}", "", path]
    lines += [f"processor = {before}.from_pretrained(path{usage.loading})", *found.lines]
    if known != OWN_NAMES and "{labels}" in usage.answer:
        lines.append(f"labels = {known}")
        known = "labels"
    answer = usage.answer.format(
        tensors=found.tensors, logits=found.logits, labels=known, cut=f", truncation=True{limit(subject)}"
    )
    return "\n".join([*lines, "", "", answer.rstrip()])


def packages(subject: Subject) -> str:
    """What these lines need, as pip is told it."""
    kind = KINDS.get(subject.data.kind)
    needed = loading(subject.folder, kind.auto_class if kind else None).packages
    usage = USAGE.get(subject.data.kind)
    return needed if usage is None or usage.text else f"{needed} pillow"


def _path(subject: Subject, found: Loading) -> tuple[list[str], str]:
    """What is imported to know where the folder is, and the line that says it."""
    if subject.repo is None:
        return [], f"path = {subject.called!r}  # where this folder is"
    if found.by_path:
        return ["from huggingface_hub import snapshot_download"], f"path = snapshot_download({subject.repo!r})"
    return [], f"path = {subject.repo!r}"


def is_transformers(subject: Subject) -> bool:
    """Whether Transformers knows the model's architecture; a native one brings its own."""
    return (subject.folder / "config.json").exists()


def knows_length(subject: Subject) -> bool:
    """Whether it is on record at how many tokens texts were cut."""
    return "max_length" in subject.result.recipe


def limit(subject: Subject) -> str:
    """Argument with which texts are cut as they were, and never longer than the model has positions for."""
    if not knows_length(subject):
        return ""
    known = json.loads((subject.folder / "config.json").read_text()) if is_transformers(subject) else {}
    positions = known.get("max_position_embeddings")
    lengths = [int(subject.result.recipe["max_length"]), *([positions] if isinstance(positions, int) else [])]
    return f", max_length={min(lengths)}"


def processor(subject: Subject) -> str:
    """Class that loads what comes before the model."""
    if USAGE[subject.data.kind].text:
        return "AutoTokenizer"
    # By name, since AutoImageProcessor insists on torchvision's variants where they exist.
    file = subject.folder / "preprocessor_config.json"
    name = json.loads(file.read_text()).get("image_processor_type")
    if not str(name).isidentifier():
        raise HarnessError(f"{file}: {name!r} is no class that could be imported")
    return str(name)


def names(subject: Subject) -> str:
    """Expression for the names of labels by index: the model's own, where the task calls them the same."""
    labels, made = subject.data.labels, subject.result.checkpoint
    order = (made.info if made else {}).get("order") or list(range(len(labels)))
    own_order = [labels[index] if 0 <= index < len(labels) else None for index in order]
    known = json.loads((subject.folder / "config.json").read_text()) if is_transformers(subject) else {}
    own = [name for _, name in sorted((int(at), name) for at, name in known.get("id2label", {}).items())]
    # A label cannot end the block of code that it stands in.
    return OWN_NAMES if not labels or own == own_order else repr(own_order).replace("`", r"\x60")
