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
from harness.backends.onnx_graphs import ENCODER, FILE
from harness.errors import HarnessError
from harness.kinds import KINDS
from harness.kinds.feature_extraction import SETTINGS
from harness.kinds.image_classification import processor_class
from harness.kinds.sentence_folder import PLAIN
from harness.results.schema import Data, Result

GRAPHS = "onnx"
"""Sub-folder of a published folder that holds its graphs."""

CARD = "README.md"

EVIDENCE = "shipbench"
"""Sub-folder with the results behind the card."""

MASK = """
    if "attention_mask" in inputs:  # graphs take no int32
        inputs["attention_mask"] = inputs["attention_mask"].astype("int64")"""

PLACES = """
    inputs["position_ids"] = inputs["attention_mask"].cumsum(-1) - 1"""

OWN_LABELS = "AutoConfig.from_pretrained(path).id2label"

ASSETS = resources.files("harness.publish") / "assets"


class Usage(NamedTuple):
    """Lines that ask a kind's model; `assets/kinds.toml` explains them."""

    answer: str
    media: str = ""
    loading: str = ""
    preprocess: str = ""
    field: str = ""
    packages: str = ""
    processor: str = ""


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


TRANSFORMERS = '"transformers>=5"'
"""Earlier ones do not know the tokenizers that this one saves."""


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
    outputs: str = "model(**inputs)"
    """Expression for all outputs, in their order."""
    written: str = "model.generate(**inputs, do_sample=False)[0, inputs.input_ids.shape[1]:]"
    """Expression for the tokens that continue `inputs`."""
    by_path: bool = False
    """They need a folder; other lines also take a repository's name."""


SESSION = Loading(
    imports=["import onnxruntime"],
    lines=[
        f'session = onnxruntime.InferenceSession(f"{{path}}/{GRAPHS}/{FILE}")',
        "names = [node.name for node in session.get_inputs()]",
        "",
        "",
        "def run(inputs):  # token types that the tokenizer does not give are zero",
        '    return session.run(None, {n: inputs[n] if n in inputs else 0 * inputs["input_ids"] for n in names})',
    ],
    packages=f"onnxruntime {TRANSFORMERS}",
    tensors="np",
    logits="run(inputs)[0]",
    outputs="run(inputs)",
    by_path=True,
)


DECODER = SESSION._replace(
    imports=["import numpy", "import onnxruntime", "from transformers import GenerationConfig"],
    lines=[
        SESSION.lines[0],
        "nodes = {node.name: node.shape for node in session.get_inputs()}",
        'empty = {n: numpy.zeros((1, s[1], 0, s[3]), "float32") for n, s in nodes.items() if n.startswith("past")}',
        "settings = GenerationConfig.from_pretrained(path)",
        "",
        "",
        "def write(ids):  # greedily; the cache holds what was read before",
        "    cache, written, total = empty, [], 0",
        "    ends = numpy.atleast_1d(settings.eos_token_id)",
        "    while len(written) < settings.max_new_tokens and (not written or written[-1] not in ends):",
        "        places, total = numpy.arange(total, total + ids.shape[1])[None], total + ids.shape[1]",
        '        given = {"input_ids": ids, "attention_mask": numpy.ones((1, total), "int64"), "position_ids": places}',
        "        logits, *values = session.run(None, {n: given[n] for n in nodes if n in given} | cache)",
        "        cache, ids = dict(zip(empty, values)), logits[:, -1:].argmax(-1)",
        "        written.append(ids.item())",
        "    return written",
    ],
    written='write(inputs["input_ids"])',
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
        if (folder / GRAPHS / ENCODER).exists():
            return _optimum(auto_class)
        return DECODER if kind and kind.continues else SESSION
    if native:
        return _module(folder, publication.inputs)
    return Loading(
        imports=[f"from transformers import {auto_class}"],
        lines=[f"model = {auto_class}.from_pretrained(path).eval()"],
        packages=f"torch {TRANSFORMERS}",
    )


def _optimum(auto_class: str) -> Loading:
    """Return the lines for a model that generates text, whose loop over several graphs is Optimum's."""
    name = f"ORT{auto_class.removeprefix('Auto')}"
    return Loading(
        imports=[f"from optimum.onnxruntime import {name}"],
        lines=[f'model = {name}.from_pretrained(path, subfolder="{GRAPHS}", use_merged=False)'],
        packages='"optimum-onnx[onnxruntime]"',
    )


def _module(folder: Path, inputs: frozenset[str]) -> Loading:
    native = json.loads((folder / checkpoint.NATIVE).read_text())
    arguments = ", ".join(f"{name}={value!r}" for name, value in native["arguments"].items())
    if names := native.get("keras"):
        return _keras_model(native["class"], arguments, names)
    call = "input_ids=inputs.input_ids" if inputs == {"input_ids"} else "**inputs"
    return Loading(
        imports=["import sys", "from safetensors.torch import load_model"],
        lines=[
            "sys.path.insert(0, path)  # for module.py",
            f"from module import {native['class']}",
            f"model = {native['class']}({arguments}).eval()",
            f'load_model(model, f"{{path}}/{checkpoint.WEIGHTS}")',
        ],
        packages=f"torch safetensors {TRANSFORMERS}",
        logits=f"model({call}){native.get('logits', '')}",
        by_path=True,
    )


def _keras_model(name: str, arguments: str, inputs: list[str]) -> Loading:
    given = ", ".join(f'"{own}": inputs["{own}"]' for own in inputs)
    return Loading(
        imports=["import os", "import sys", "from safetensors.torch import load_file"],
        lines=[
            'os.environ["KERAS_BACKEND"] = "torch"',
            "sys.path.insert(0, path)  # for module.py",
            f"from module import {name}",
            f"model = {name}({arguments})",
            f'weights = load_file(f"{{path}}/{checkpoint.WEIGHTS}")',
            "for variable, (_, value) in zip(model.variables, sorted(weights.items())):",
            "    variable.assign(value)",
        ],
        packages=f'torch safetensors "keras>=3.15" {TRANSFORMERS}',
        logits=f"model({{{given}}})" if len(inputs) > 1 else f'model(inputs["{inputs[0]}"])',
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
    is_named = "labels" in usage.answer
    config = ["from transformers import AutoConfig"] if is_named and labels == OWN_LABELS else []
    lines += [*config, f"from transformers import {loader}", "", path]
    lines += [f"processor = {loader}.from_pretrained(path{usage.loading})"]
    lines += [f"labels = {labels}"] if is_named else []
    expressions = {name: getattr(run, name) for name in ("tensors", "logits", "outputs", "written")}
    longest = length(publication) or "processor.model_max_length"
    more = {"mask": MASK, "places": PLACES} if run.tensors == "np" else {"mask": "", "places": ""}
    answer = Template(usage.answer).substitute(expressions, cut=truncation(publication), length=longest, **more)
    return "\n".join([*lines, *run.lines, "", "", answer])


def packages(publication: Publication, graphs: bool = True) -> str:
    """Return the requirements of `loading`, as pip takes them, and of the processor."""
    usage = publication.usage
    needed = loading(publication, graphs).packages
    further = [package for package in (usage.packages if usage else "").split() if package not in needed.split()]
    return " ".join([needed, *further, *(["pillow"] if usage and usage.media == "image" else [])])


def _path(publication: Publication, run: Loading) -> tuple[list[str], str]:
    """Return the import that locates the folder, and the line that defines `path`."""
    if publication.repo is None:
        return [], f"path = {publication.folder_name!r}  # where this folder is"
    if run.by_path:
        return ["from huggingface_hub import snapshot_download"], f"path = snapshot_download({publication.repo!r})"
    return [], f"path = {publication.repo!r}"


def length(publication: Publication) -> int | None:
    """Return the measured length of texts, but within the model's positions."""
    lengths = [publication.result.recipe.get("max_length"), (publication.config or {}).get("max_position_embeddings")]
    return None if lengths[0] is None else min(length for length in lengths if isinstance(length, int))


def truncation(publication: Publication) -> str:
    """Return the arguments that cut texts at the measured length."""
    longest = length(publication)
    return ", truncation=True" if longest is None else f", truncation=True, max_length={longest}"


def processor(publication: Publication) -> str:
    """Return the name of the class that loads the tokenizer, image processor, feature extractor, or two of them."""
    usage = USAGE[publication.data.kind]
    if usage.media != "image":
        return usage.processor or ("AutoFeatureExtractor" if usage.media else "AutoTokenizer")
    # By name, since AutoImageProcessor prefers torchvision's variants, whose pixels differ, where they exist.
    file = publication.folder / "preprocessor_config.json"
    try:
        return str(processor_class(str(json.loads(file.read_text()).get("image_processor_type"))).__name__)
    except ValueError as error:
        raise HarnessError(f"{file}: {error}") from error


def label_names(publication: Publication) -> str:
    """Return an expression for the label names by index: the model's own if the task uses the same names."""
    labels, trained = publication.data.labels, publication.result.checkpoint
    order = (trained.info if trained else {}).get("order") or list(range(len(labels)))
    task_labels = [labels[index] if 0 <= index < len(labels) else None for index in order]
    id2label = (publication.config or {}).get("id2label", {})
    model_labels = [name for _, name in sorted((int(index), name) for index, name in id2label.items())]
    # A label cannot end the block of code that it stands in.
    return OWN_LABELS if not labels or model_labels == task_labels else repr(task_labels).replace("`", r"\x60")
