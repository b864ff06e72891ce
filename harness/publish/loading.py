"""Python lines that load a published model: by ONNX Runtime, Optimum, Transformers, PyTorch or Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from harness import checkpoint
from harness.backends.onnx_graphs import ENCODER, FILE
from harness.errors import HarnessError
from harness.kinds import KINDS
from harness.publish.publication import GRAPHS, Publication

TRANSFORMERS = '"transformers>=5"'
"""Earlier ones do not know the tokenizers that this one saves."""
EARLIER = {"AutoModelForImageTextToText": "AutoModelForVision2Seq"}
"""Auto class → its name in Transformers 4."""


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
    is_earlier: bool = False
    """They need Transformers 4, in which some classes have other names."""
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
    name = f"ORT{EARLIER.get(auto_class, auto_class).removeprefix('Auto')}"
    return Loading(
        imports=[f"from optimum.onnxruntime import {name}"],
        lines=[f'model = {name}.from_pretrained(path, subfolder="{GRAPHS}", use_merged=False)'],
        packages='"optimum-onnx[onnxruntime]"',
        is_earlier=True,
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
