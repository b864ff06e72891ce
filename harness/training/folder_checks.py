"""Checks of a pretrained model's files and of its configuration, before its weights are read."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import checkpoint
from harness.contracts.sources import adapter_base
from harness.contracts.vetting import offline
from harness.data.layout import POINTER
from harness.kinds import KINDS, chat_completion, image_to_text, text_generation, zero_shot_classification
from harness.kinds.image_to_text import MODEL_TYPE
from harness.kinds.text_generation import has_template
from harness.kinds.zero_shot import entailment_places
from harness.training import untrained
from harness.training.pretrained import Check, Fit

if TYPE_CHECKING:
    from harness.contracts.kind import Kind

READ = (".json", ".txt", ".model", ".safetensors", ".bin")
"""Suffixes of files that Transformers reads."""
CONFIGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json")
INDICES = (f"{checkpoint.WEIGHTS}.index.json", "pytorch_model.bin.index.json")
FOREIGN = (".safetensors", ".bin", ".h5", ".msgpack", ".onnx", ".gguf", ".ckpt", ".pt", ".pth")
"""Suffixes of weights in any format."""


def _pointers(fit: Fit) -> Iterator[str]:
    files = (path for path in sorted(fit.pretrained.iterdir()) if path.is_file() and path.suffix in READ)
    for path in files:
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                yield f"{path} is a Git LFS pointer, not the file itself: run git lfs pull in its repository"


def _weights(fit: Fit) -> Iterator[str]:
    """Check that the files which Transformers reads are there and whole."""
    folder, pickled = fit.pretrained, untrained.is_pickled(fit.pretrained)
    single, index = folder / ("pytorch_model.bin" if pickled else checkpoint.WEIGHTS), folder / INDICES[pickled]
    names = [single.name]
    if not single.is_file() and index.is_file():
        names = sorted(set(checkpoint.read_json(index).get("weight_map", {}).values()))
    elif not single.is_file():
        others = sorted(path.name for path in folder.iterdir() if path.suffix in FOREIGN)
        beside = f"; it has {', '.join(others)}, which it does not read" if others else ""
        yield (
            f"{folder} has no weights: Transformers reads {checkpoint.WEIGHTS} or pytorch_model.bin{beside}: "
            "save the model with save_pretrained"
        )
        return
    for name in names:
        if not (folder / name).is_file():
            yield f"{index} names {name}, which is not there; copy every file of the weights"
        elif problem := _damage(folder / name, pickled=pickled):
            yield f"{folder / name} ({(folder / name).stat().st_size:,} bytes) {problem}: copy or save it again"


def _damage(file: Path, *, pickled: bool) -> str:
    from safetensors import SafetensorError, safe_open

    with file.open("rb") as opened:
        start = opened.read(len(POINTER))
    if start == POINTER:
        return ""  # a problem of its own
    if not start:
        return "is empty"
    if pickled:
        return (
            "is cut short or no PyTorch file" if start[:2] == b"PK" and not zipfile.is_zipfile(file) else _foreign(file)
        )
    try:
        with safe_open(file, framework="numpy") as opened_weights:
            formats = {opened_weights.get_slice(name).get_dtype() for name in opened_weights.keys()}  # noqa: SIM118
            if not any("F" in form for form in formats):
                return (
                    f"holds no floating numbers ({', '.join(sorted(formats)) or 'nothing'}), so not a model's weights"
                )
    except (SafetensorError, OSError) as error:
        return f"is cut short or no safetensors file ({error})"
    return ""


def _foreign(file: Path) -> str:
    """Return what a pickle holds if it is no mapping from names to tensors."""
    import torch

    try:
        state = torch.load(file, map_location="meta", weights_only=True)
    except pickle.UnpicklingError:
        return "holds Python objects, a whole module for instance, instead of its state_dict(), and is not unpickled"
    names = state if isinstance(state, dict) else {type(state).__name__: None}
    if any(isinstance(value, torch.Tensor) for value in names.values()):
        return ""
    return f"holds no tensors by name but {', '.join(map(str, [*names][:5]))}, as a training script writes them"


def _foreign_parts(fit: Fit) -> Iterator[str]:
    """Check for parts of a model that are not read: adapters, quantized weights."""
    if (adapter := fit.pretrained / "adapter_config.json").is_file():
        yield (
            f"{adapter} declares a PEFT adapter of {adapter_base(fit.pretrained)}, which is not applied: merge it into "
            "that model with merge_and_unload() and save the whole, or move it to a folder of its own"
        )
    for name in CONFIGS:
        file = fit.pretrained / name
        declared = checkpoint.read_json(file) if file.is_file() else {}
        if quantized := declared.get("quantization_config"):
            method = quantized.get("quant_method", "unknown") if isinstance(quantized, dict) else quantized
            yield (
                f"{file}: quantization_config says that the weights are quantized ({method}); the reference needs "
                "them in float: measure the model from which they were made"
            )


READ_BY = {
    kind.problem_type: kind.name for kind in KINDS.values() if kind.problem_type and kind.auto_class != "AutoModel"
}
"""Value of problem_type whose answer is not the label with the largest logit → kind that reads it."""
ACTIVATIONS = ("activation_fn", "sbert_ce_default_activation_function")
"""Settings in config.json of a function that Sentence Transformers applies to the output of a cross-encoder."""
ANSWERS = {
    "one": "one label",
    "each": "one label a word",
    "many": "several labels",
    "number": "one number",
    "boxes": "boxes",
    "mask": "a label a pixel",
}
TRAIN = "Model(recipe=Recipe(epochs=3))"


def _model_type(fit: Fit) -> Iterator[str]:
    from transformers import CONFIG_MAPPING, __version__

    name = str(fit.declared.get("model_type"))
    if name not in CONFIG_MAPPING:
        close = get_close_matches(name, CONFIG_MAPPING, n=1)
        yield (
            f"{fit.pretrained / 'config.json'}: model_type {name!r} is unknown to transformers {__version__}"
            f"{f'; did you mean {close[0]!r}?' if close else ''} (the file was written by "
            f"{fit.declared.get('transformers_version', 'an unknown version')})"
        )


def _rotary(fit: Fit) -> Iterator[str]:
    """Check that the installed Transformers has the sorts of rotary positions that config.json declares."""
    from transformers import __version__
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    for name in ("rope_parameters", "rope_scaling"):  # the latter until Transformers 5
        declared = fit.declared.get(name) or {}
        layers = declared.values() if all(isinstance(value, dict) for value in declared.values()) else [declared]
        for settings in layers:
            sort = settings.get("rope_type", settings.get("type", "default"))
            if sort not in (*ROPE_INIT_FUNCTIONS, "default", "mrope"):
                place = fit.pretrained / "config.json"
                yield f"{place}: {name} has the rope_type {sort!r}, unknown to transformers {__version__}"


def _head(fit: Fit) -> Iterator[str]:
    """Check that the architecture has, or may be given, the head of the task's kind."""
    kind, file = fit.task.kind, fit.pretrained / "config.json"
    if kind.name not in KINDS:
        return
    # Any architecture has a body, which is all that an AutoModel loads.
    fitting = {name: _classes(fit.config, one) for name, one in KINDS.items() if one.auto_class != "AutoModel"}
    architecture = next(iter(fit.declared.get("architectures") or ()), "")
    own = [name for name, classes in fitting.items() if architecture in classes]
    if not _classes(fit.config, kind):
        names = " and ".join(name for name, classes in fitting.items() if classes)
        yield f"{file}: a {fit.config.model_type} has no head for {kind.name}; it fits {names or 'no kind'}"
    elif fit.model.is_used_as_is and own and kind.name not in own and kind.auto_class != "AutoModel":
        yield (
            f"{file}: it is a {architecture}, finished for {' and '.join(own)}, not for {kind.name}; change the task's "
            f"kind, or train another head with {TRAIN}"
        )


def _direction(fit: Fit) -> Iterator[str]:
    """Check that a model which is to continue prompts reads a text from left to right, without an encoder."""
    if not fit.task.kind.is_causal:
        return
    name, file = fit.config.model_type, fit.pretrained / "config.json"
    if fit.config.is_encoder_decoder:
        yield f"{file}: a {name} answers a text with another text; choose the kind translation or summarization"
    elif _classes(fit.config, KINDS["fill-mask"]) and not getattr(fit.config, "is_decoder", False):
        yield (
            f"{file}: a {name} is an encoder: it reads whole texts and continues none; give a causal language model, "
            f"as GPT-2 or Llama are, for {fit.task.kind.name}"
        )


def _pixels(fit: Fit) -> Iterator[str]:
    """Check that a model which is to put pictures in words reads their pixels alone, and can be taught texts."""
    kind, name, file = fit.task.kind, fit.config.model_type, fit.pretrained / "config.json"
    if kind.name != image_to_text.name or not _classes(fit.config, kind):
        return
    if name != MODEL_TYPE:
        yield (
            f"{file}: a {name} reads more than pixels, a prompt or patches of its own, which {kind.name} does not "
            f"make; give a {MODEL_TYPE}, as TrOCR is"
        )
    elif not fit.model.is_used_as_is and getattr(fit.config, "decoder_start_token_id", None) is None:
        yield (
            f"{file}: has no decoder_start_token_id, the token before each text that a recipe teaches; set it to the "
            "one that the decoder was trained with, its tokenizer's bos_token_id or cls_token_id"
        )


def _context(fit: Fit) -> Iterator[str]:
    """Check that the longest prompt and what is written after it fit into what the model reads."""
    most, new_tokens = getattr(fit.config, "max_position_embeddings", None), fit.model.new_tokens
    if fit.task.kind.continues and most and new_tokens and fit.model.max_length + new_tokens > most:
        mend = f"set max_length={most - new_tokens} or less" if most > new_tokens else f"set new_tokens below {most}"
        yield (
            f"max_length={fit.model.max_length} and new_tokens={new_tokens} together exceed the {most} tokens that "
            f"{fit.pretrained} reads; {mend}"
        )


@offline()
def heads(pretrained: Path) -> tuple[list[str], Any, list[str]]:
    """Return a checkpoint's labels, its configuration, and the kinds for which it has a head; its card may choose."""
    from transformers import AutoConfig

    labels, config = checkpoint.read_labels(pretrained), AutoConfig.from_pretrained(pretrained, trust_remote_code=False)
    architecture, card = next(iter(config.architectures or ()), ""), pretrained / "README.md"
    kinds = [one for one in KINDS.values() if one.auto_class != "AutoModel" and architecture in _classes(config, one)]
    # Transformers counts those that fill gaps with generated text as masked language models, too.
    names = [one.name for one in kinds if not config.is_encoder_decoder or one.name != "fill-mask"]
    if not entailment_places(labels):
        names = [name for name in names if name != zero_shot_classification.name]
    # One architecture has heads for labels, for several labels, and for a number.
    problem_type = config.problem_type or ("regression" if config.num_labels == 1 else None)
    sort = problem_type if problem_type in READ_BY else None
    names = [name for name in names if KINDS[name].problem_type == sort] or names
    if chat_completion.name in names:
        names = [(chat_completion if has_template(pretrained) else text_generation).name]
    tags = re.findall(rb"^pipeline_tag: *([\w-]+)", card.read_bytes(), re.MULTILINE) if card.is_file() else []
    return labels, config, [name for name in names if name.encode() in tags] or names


def _classes(config: Any, kind: Kind) -> list[str]:
    """Return the classes that a kind makes of the configuration."""
    import transformers

    classes = getattr(transformers, kind.auto_class)._model_mapping.get(type(config), ())
    return [cls.__name__ for cls in (classes if isinstance(classes, tuple) else (classes,))]


def _labels_of_head(fit: Fit) -> Iterator[str]:
    """Check that the head answers as the kind reads it, and that names and order of its labels are declared."""
    if not fit.model.is_used_as_is or not (fit.task.kind.has_head_of_labels or fit.task.kind.problem_type):
        return
    yield from _problem_type(fit)
    if fit.task.kind.label == "number":
        return
    file, problem_type = fit.pretrained / "config.json", fit.declared.get("problem_type")
    if fit.config.num_labels == 1 and fit.task.kind.label not in ("many", "boxes") and problem_type not in READ_BY:
        yield (
            f"{file}: its head has one logit (num_labels is 1), which cannot choose between "
            f"{', '.join(fit.split.labels[:5]) or 'labels'}: train a head with {TRAIN}"
        )
    names, numbers = fit.config.id2label, fit.declared.get("label2id") or {}
    if sorted(names) != list(range(len(names))):
        yield f"{file}: id2label has the numbers {', '.join(map(str, names))}; they must run from 0 without a gap"
    for number, name in names.items():
        if name in numbers and str(numbers[name]) != str(number):
            yield f"{file}: id2label calls {number} {name!r}, and label2id calls that {numbers[name]}: correct one"
    repeated = {name for name in names.values() if list(names.values()).count(name) > 1}
    if repeated and not fit.model.labels:
        yield f"{file}: id2label has {', '.join(sorted(repeated))} more than once; name them with Model(labels=(…))"


def _problem_type(fit: Fit) -> Iterator[str]:
    """Check that the head was trained for the kind's sort of answer, as far as config.json declares it."""
    kind, file, declared = fit.task.kind, fit.pretrained / "config.json", fit.declared.get("problem_type")
    if declared in READ_BY and declared != kind.problem_type:
        yield (
            f"{file}: problem_type {declared!r}, whose answer is not {ANSWERS[kind.label]}; choose the kind "
            f"{READ_BY[declared]}, or train a head for {kind.name} with {TRAIN}"
        )
    elif kind.label == "many" and declared != kind.problem_type:
        yield (
            f"{file}: problem_type {declared!r} does not say that each label has a probability of its own, as "
            f"{kind.name} reads it; set it to {kind.problem_type!r} if it was trained so, or train one with {TRAIN}"
        )
    elif kind.label == "number" and (fit.config.num_labels != 1 or declared not in (None, kind.problem_type)):
        labels = "" if declared is None else f" for problem_type {declared!r}"
        yield (
            f"{file}: its head answers {fit.config.num_labels} numbers a row{labels} (num_labels), and {kind.name} "
            f"reads one: choose another kind, or train a head with {TRAIN}"
        )
    settings = fit.declared | (fit.declared.get("sentence_transformers") or {})
    function = next((str(settings[name]) for name in ACTIVATIONS if settings.get(name)), "Identity")
    if kind.label == "number" and not function.endswith("Identity"):
        yield (
            f"{file}: Sentence Transformers applies {function} to its output, and {kind.name} reads the output as it "
            f"is: train a head with {TRAIN}"
        )


FILES: tuple[Check, ...] = (_pointers, _weights, _foreign_parts)
CONFIGURATION: tuple[Check, ...] = (_model_type, _rotary, _head, _direction, _pixels, _context, _labels_of_head)
