"""Checks that a model, its processor and its rows fit each other, before anything expensive starts.

Each check yields problems, sentences that say what to do. What changes no answer but must be known is a note. A later
stage needs what an earlier one has found in order: files, configuration, weights and processor, rows.
"""

from __future__ import annotations

import pickle
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import checkpoint
from harness.contracts.kind import EncodedRows, omit
from harness.contracts.sources import adapter_base
from harness.contracts.vetting import offline
from harness.data import audio, images, reading, splits
from harness.data.layout import POINTER
from harness.errors import HarnessError, brief_error
from harness.kinds import KINDS, chat_completion, text_generation
from harness.kinds.feature_extraction import SETTINGS, settings_of
from harness.kinds.text_generation import has_template
from harness.training import lora
from harness.training.train import label_order
from harness.util.console import current
from harness.util.forward import ignored_names

if TYPE_CHECKING:
    from harness.contracts.kind import Arrays, Kind
    from harness.spec import Model, Task

READ = (".json", ".txt", ".model", ".safetensors", ".bin")
"""Suffixes of files that Transformers reads."""
CONFIGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json")
INDICES = (f"{checkpoint.WEIGHTS}.index.json", "pytorch_model.bin.index.json")
HALF = ("F16", "BF16", "F64", "F8_E4M3", "F8_E5M2")
"""Number formats, as safetensors names them, that are converted to the reference's."""
READ_BY = {kind.problem_type: kind.name for kind in KINDS.values() if kind.problem_type}
"""Value of problem_type whose answer is not the label with the largest logit → kind that reads it."""
ACTIVATIONS = ("activation_fn", "sbert_ce_default_activation_function")
"""Settings in config.json of a function that Sentence Transformers applies to the output of a cross-encoder."""
ANSWERS = {"one": "one label", "each": "one label a word", "many": "several labels", "number": "one number"}
POSITIONS = re.compile(r"(^|\.)(position_embeddings?|embed_positions|wpe)$")
TRAIN = "Model(recipe=Recipe(epochs=3))"
FOREIGN = (".safetensors", ".bin", ".h5", ".msgpack", ".onnx", ".gguf", ".ckpt", ".pt", ".pth")
"""Suffixes of weights in any format."""
BATCH = 1000
"""Rows that are encoded at a time."""


@dataclass(frozen=True)
class Fit:
    """A pretrained model for a task; its parts are read when a check first needs them."""

    task: Task
    model: Model
    folder: Path
    """The suite's."""
    pretrained: Path

    @cached_property
    def declared(self) -> dict[str, Any]:
        """Contents of config.json."""
        return checkpoint.read_json(self.pretrained / "config.json")  # type: ignore[no-any-return]

    @cached_property
    @offline()
    def config(self) -> Any:
        """The config.json as Transformers reads it."""
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.pretrained, trust_remote_code=False)

    @cached_property
    def processor(self) -> Any:
        """The tokenizer or image processor."""
        return self.task.kind.load_processor(self.pretrained)

    @cached_property
    def loaded(self) -> tuple[Any, dict[str, Any]]:
        """The model, and how its weights fitted."""
        import transformers

        model, info = checkpoint.read_model(getattr(transformers, self.task.kind.auto_class), self.pretrained)
        if self.task.kind.tokens is not None:
            checkpoint.state_length(model, self.processor, self.model.new_tokens)
        return model, info

    @cached_property
    def split(self) -> splits.Split:
        """The rows."""
        return splits.load(self.task, self.folder)

    @cached_property
    def scan(self) -> Scan | None:
        """The rows as tokens; None for rows that are no text."""
        return Scan(self) if hasattr(self.processor, "all_special_ids") else None

    def answer(self, rows: list[Any]) -> Arrays:
        """Return what the kind keeps of the model's answers to rows in one batch; two tokens of a generated text."""
        kind, model = self.task.kind, copy(self.loaded[0])
        if checkpoint.generates(model):
            model.generate = partial(model.generate, max_new_tokens=2, min_new_tokens=0, min_length=0)
        examples = kind.encode(self.processor, rows, self.task.inputs, self.model.max_length)
        batch = kind.collate(self.processor, [example for entries in examples for example in entries])
        given = omit(batch, kind.reduce_inputs)
        ignored_names(str(self.pretrained), model, list(given))
        outputs = checkpoint.make_run(model, "cpu")(given)
        return kind.reduce(batch, outputs) if kind.reduce else outputs

    @cached_property
    def trial(self) -> list[Any]:
        """The shortest and the longest of the first test rows."""
        rows = [self.split.test[number] for number in range(min(len(self.split.test), 20))]
        examples = self.task.kind.encode(self.processor, rows, self.task.inputs, self.model.max_length)
        lengths = [len(entries[0].get("input_ids", ())) for entries in examples]
        return [rows[lengths.index(min(lengths))], rows[lengths.index(max(lengths))]]


Check = Callable[[Fit], Iterator[str]]


@cache
def check(task: Task, model: Model, folder: Path) -> tuple[str, ...]:
    """Return notes on a pretrained model for a suite in `folder`; HarnessError with every problem of a stage."""
    pretrained = reading.pretrained(model.source, folder)
    if pretrained is None:
        return ()
    fit = Fit(task, model, folder, pretrained)
    for stage in (FILE_CHECKS, CONFIG_CHECKS, PART_CHECKS, ROW_CHECKS, RUN_CHECKS):
        problems: dict[str, None] = {}
        for one in stage:
            try:
                problems |= dict.fromkeys(one(fit))
            except HarnessError as error:
                problems[str(error)] = None
            except Exception as error:  # Transformers raises errors of many kinds
                problems[f"{pretrained}: {brief_error(error)}"] = None
        if problems:
            raise HarnessError("\n".join(line if line.startswith("model ") else f"model {model.name}: {line}"
                                         for problem in problems for line in problem.splitlines()))  # fmt: skip
    return tuple(note for one in NOTES for note in one(fit))


# Files


def _pointers(fit: Fit) -> Iterator[str]:
    files = (path for path in sorted(fit.pretrained.iterdir()) if path.is_file() and path.suffix in READ)
    for path in files:
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                yield f"{path} is a Git LFS pointer, not the file itself: run git lfs pull in its repository"


def _weights(fit: Fit) -> Iterator[str]:
    """Check that the files which Transformers reads are there and whole."""
    folder, pickled = fit.pretrained, checkpoint.is_pickled(fit.pretrained)
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


# Configuration


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


def _rotary_settings(fit: Fit) -> Iterator[str]:
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
    if not fit.task.kind.continues:
        return
    name, file = fit.config.model_type, fit.pretrained / "config.json"
    if fit.config.is_encoder_decoder:
        yield f"{file}: a {name} answers a text with another text; choose the kind translation or summarization"
    elif _classes(fit.config, KINDS["fill-mask"]) and not getattr(fit.config, "is_decoder", False):
        yield (
            f"{file}: a {name} is an encoder: it reads whole texts and continues none; give a causal language model, "
            f"as GPT-2 or Llama are, for {fit.task.kind.name}"
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
    if not fit.model.is_used_as_is or not (fit.task.kind.names_labels or fit.task.kind.problem_type):
        return
    yield from _problem_type(fit)
    if fit.task.kind.label == "number":
        return
    file, problem_type = fit.pretrained / "config.json", fit.declared.get("problem_type")
    if fit.config.num_labels == 1 and fit.task.kind.label != "many" and problem_type not in READ_BY:
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


# Weights and processor


def _misfits(fit: Fit) -> Iterator[str]:
    """Check that no weight would be drawn at random, that none is left over, and that all are numbers."""
    model, loaded = fit.loaded
    problems = checkpoint.misfits(fit.task.kind, fit.pretrained, model, loaded, as_is=fit.model.is_used_as_is)
    yield from problems
    if fit.model.is_used_as_is and fit.task.kind.names_labels and not problems:
        label_order(fit.model, fit.pretrained, fit.split.labels)
    if broken := [name for name, weight in model.named_parameters() if not weight.isfinite().all()]:
        yield f"{fit.pretrained}: {broken[0]} holds NaN or infinity, as do {len(broken)} weights; train it again"


def _targets(fit: Fit) -> Iterator[str]:
    """Check that the model has the layers to which an adapter is to be added."""
    if fit.model.recipe.lora is not None:
        yield from lora.misfits(fit.loaded[0], fit.model.recipe.lora)


def _padding(fit: Fit) -> Iterator[str]:
    """Check the token that fills batches up, which no row holds."""
    model, pad = fit.loaded[0], getattr(fit.processor, "pad_token_id", None)
    rows, own = _vocabulary(model), getattr(model.config, "pad_token_id", None)
    if pad is None:
        return
    if rows and pad >= rows:
        yield (
            f"{fit.pretrained}: the tokenizer pads with token {pad}, and the model has embeddings for 0 to {rows - 1}; "
            "pad with one of its own tokens, or save it after model.resize_token_embeddings(len(tokenizer))"
        )
    reads_last = type(model).__name__.endswith("ForSequenceClassification") and hasattr(model, "score")
    if pad != own and (reads_last or model.config.is_encoder_decoder or _offset(model)):
        yield (
            f"{fit.pretrained}: the tokenizer pads with token {pad} and config.json has pad_token_id={own}, by which "
            f"the model tells padding from text; set it to {pad}, or save the tokenizer that it was trained with"
        )


def _vocabulary(model: Any) -> int:
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):
        return 0


def _position_tables(model: Any) -> list[Any]:
    """Return the tables of positions for a text that the model is given."""
    from torch.nn import Embedding

    parts = [(name, part) for name, part in model.named_modules() if isinstance(part, Embedding)]
    skipped = "decoder." if model.config.is_encoder_decoder else "\0"
    return [table for name, table in parts if POSITIONS.search(name) and skipped not in name]


def _offset(model: Any) -> int:
    """Return how many positions a RoBERTa leaves out: it counts from the padding token's number."""
    # Subclasses of Embedding count from 0, or from an `offset` of their own.
    tables = [table for table in _position_tables(model) if type(table).__name__ == "Embedding"]
    return max((table.padding_idx + 1 for table in tables if table.padding_idx is not None), default=0)


def positions(model: Any) -> int | None:
    """Return how many tokens the model has positions for; None without a limit, as with relative or rotary ones."""
    sizes = [table.num_embeddings - int(getattr(table, "offset", 0)) for table in _position_tables(model)]
    return min(sizes) - _offset(model) if sizes else None


# Rows


@dataclass
class Tally:
    """A count of rows with a property, the first of them, and the largest value."""

    rows: int = 0
    first: str = ""
    value: int = 0

    def add(self, place: str, value: int = 0) -> None:
        """Count a row."""
        self.rows, self.first, self.value = self.rows + 1, self.first or place, max(self.value, value)

    def __str__(self) -> str:
        return f"{self.rows:,} rows, first {self.first}" if self.rows > 1 else self.first


class Scan:
    """Every row that will be used, encoded once."""

    def __init__(self, fit: Fit) -> None:
        """Encode the rows of a fit and count those with a property."""
        self.fit, self.rows, self.tallies = fit, 0, defaultdict[str, Tally](Tally)
        model, tokenizer = fit.loaded[0], fit.processor
        types = [part for name, part in model.named_modules() if name.endswith("token_type_embeddings")]
        self.vocabulary, self.positions = _vocabulary(model) or sys.maxsize, positions(model) or sys.maxsize
        self.types = getattr(types[0], "num_embeddings", sys.maxsize) if types else sys.maxsize
        self.special = [token for token in tokenizer.all_special_tokens if token != tokenizer.mask_token]
        self._special_ids = {*tokenizer.all_special_ids} - {tokenizer.mask_token_id}
        self._pattern = re.compile("|".join(map(re.escape, self.special)) or "$^")
        parts = ("test", "validation", "calibration") if fit.model.is_used_as_is else splits.PARTS
        tables = {part: getattr(fit.split, part) for part in parts}
        with current().bar(f"reading the texts of {fit.task.name}", sum(map(len, tables.values()))) as stage:
            for part, rows in tables.items():
                for start in range(0, len(rows), BATCH):
                    self._encode(part, start, rows[start : start + BATCH])
                    stage.update(min(BATCH, len(rows) - start))

    def _encode(self, part: str, start: int, columns: dict[str, list[Any]]) -> None:
        fit, kind, length = self.fit, self.fit.task.kind, self.fit.model.max_length
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        examples = kind.encode(fit.processor, rows, fit.task.inputs, length)
        if not self.rows and not fit.model.is_used_as_is:
            kind.targets(EncodedRows(fit.processor, rows, fit.task.inputs, examples, length))
        self.rows += len(rows)
        for name, values in self._properties(columns, examples):
            for number, value in values.items():
                self.tallies[name].add(f"row {start + number} of {part}", value)

    def _properties(
        self, columns: dict[str, list[Any]], examples: list[list[Any]]
    ) -> Iterator[tuple[str, dict[int, int]]]:
        """Yield each property, and the rows that have it with their largest value."""
        entries = [(number, entry, entry["input_ids"]) for number, row in enumerate(examples) for entry in row]
        lengths = [len(ids) for *_, ids in entries]
        measured = (
            ("vocabulary", [max(ids, default=0) for *_, ids in entries], self.vocabulary),
            ("types", [max(entry.get("token_type_ids", ()), default=0) for _, entry, _ in entries], self.types),
            ("positions", lengths, self.positions + 1),
            ("cut", lengths, self.fit.model.max_length),
        )
        for name, values, limit in measured:
            rows = ((number, value) for (number, *_), value in zip(entries, values, strict=True) if value >= limit)
            yield name, dict(sorted(rows))
        yield "empty", {number: 0 for number, _, ids in entries if self._special_ids.issuperset(ids)}
        texts = ((n, text) for name in self.fit.task.inputs for n, text in enumerate(columns[name]))
        search = self._pattern.search
        special = {n for n, text in texts if search(text if isinstance(text, str) else " ".join(text))}
        yield "special", dict.fromkeys(sorted(special), 0)


def _rows(fit: Fit) -> Iterator[str]:
    if (scan := fit.scan) is None:
        rows = [fit.split.test[0]]
        examples = fit.task.kind.encode(fit.processor, rows, fit.task.inputs, fit.model.max_length)
        if not fit.model.is_used_as_is:
            fit.task.kind.targets(EncodedRows(fit.processor, rows, fit.task.inputs, examples))
        if fit.task.kind.media == "image":
            images.check_fit(f"model {fit.model.name}", fit.processor, fit.split, fit.task.inputs[0])
        elif fit.task.kind.media == "audio":
            audio.check_fit(f"model {fit.model.name}", fit.processor, fit.split, fit.task)
        return
    limits = {"vocabulary": ("token", scan.vocabulary), "types": ("token_type_ids of", scan.types)}
    for name, (noun, limit) in limits.items():
        if tally := scan.tallies.get(name):
            yield (
                f"{fit.pretrained}: the tokenizer gives {noun} {tally.value} ({tally}), and the model has embeddings "
                f"for 0 to {limit - 1}: save the tokenizer that it was trained with"
            )
    if tally := scan.tallies.get("positions"):
        yield (
            f"max_length={fit.model.max_length} lets {tally.value} tokens through ({tally}), and {fit.pretrained} has "
            f"positions for {scan.positions}; set max_length={scan.positions}"
        )
    if (tally := scan.tallies.get("empty")) and tally.rows == scan.rows:
        yield (
            f"{fit.pretrained}: every row has a text without a single token that the tokenizer knows ({tally}); the "
            "column is empty, or the tokenizer is another model's"
        )


def _row_notes(fit: Fit) -> Iterator[str]:
    if (scan := fit.scan) is None:
        return
    special = ", ".join(scan.special[:5])
    sentences = {
        "empty": "the tokenizer knows no token of a text",
        "special": f"a text holds one of the tokenizer's special tokens ({special}), which the model reads as such",
        "cut": f"a text is cut to max_length={fit.model.max_length} tokens, or just fills them",
    }
    for name, sentence in sentences.items():
        if tally := scan.tallies.get(name):
            yield f"{sentence}: {tally} (of {scan.rows:,})"
    if len(fit.processor) < 0.9 * scan.vocabulary < sys.maxsize / 2:
        yield (
            f"the tokenizer has {len(fit.processor):,} tokens and the model embeddings for {scan.vocabulary:,}; "
            "they may not belong together"
        )


def _answers(fit: Fit) -> Iterator[str]:
    """Check that the model answers two rows in one batch with what the kind reads."""
    name = type(fit.loaded[0]).__name__
    try:
        fit.answer(fit.trial)
    except Exception as error:  # whatever the model raises
        problem = f"{fit.pretrained}: {name} fails on two rows of the test part: {brief_error(error)}"
        yield f"{problem}; correct config.json, or save the tokenizer that it was trained with"


# Notes


def _weight_notes(fit: Fit) -> Iterator[str]:
    from safetensors import safe_open

    folder, pickled = fit.pretrained, checkpoint.is_pickled(fit.pretrained)
    if pickled:
        yield "its weights come as pickles alone; they were read as tensors, with weights_only"
    elif any(folder.glob("pytorch_model*.bin")):
        yield f"{folder} has its weights twice; those in safetensors were read, not pytorch_model.bin"
    formats = set()
    for file in () if pickled else sorted(folder.glob("model*.safetensors")):
        with safe_open(file, framework="numpy") as weights:
            formats |= {str(weights.get_slice(name).get_dtype()) for name in weights.keys()}  # noqa: SIM118
    declared = str(fit.declared.get("dtype") or fit.declared.get("torch_dtype") or "")
    if stored := sorted(formats & {*HALF}) or ([declared] if pickled and "16" in declared else []):
        yield f"its weights are stored as {' and '.join(stored)}; the reference computes with them in float32"
    unused = [key for key in fit.loaded[1]["unexpected_keys"] if "pooler" not in key]
    if fit.model.is_used_as_is and unused and fit.task.kind.auto_class != "AutoModel":
        yield f"{len(unused)} weights of its file are not used, for example {unused[0]}"


def _setting_notes(fit: Fit) -> Iterator[str]:
    if getattr(fit.processor, "init_kwargs", {}).get(SETTINGS):
        settings = settings_of(fit.processor)
        pairs = zip(fit.task.inputs, settings["prompts"], strict=True)
        prompts = [f", {text!r} before {name}" for name, text in pairs if text]
        yield (
            f"vectors are made as its Sentence Transformers folder declares: pooling {settings['pooling']}, "
            f"{'scaled to length 1' if settings['normalize'] else 'not scaled'}, at most "
            f"{min(settings['max_length'] or sys.maxsize, fit.model.max_length)} "
            f"tokens{''.join(prompts)}"
        )
    specific = fit.declared.get("task_specific_params") or {}
    prefixes = [str(one["prefix"]) for one in specific.values() if isinstance(one, dict) and one.get("prefix")]
    texts = fit.split.test[fit.task.inputs[0]] if prefixes and fit.task.kind.tokens is not None else ()
    without = [text for text in texts if not str(text).startswith(tuple(prefixes))]
    if without:
        yield (
            f"config.json declares prefixes ({', '.join(map(repr, prefixes[:4]))}) and more in task_specific_params, "
            f"which are not applied; {len(without):,} of {len(texts):,} test rows begin with none: write it "
            "into the rows if the model was trained with it"
        )
    if fit.task.kind.tokens is not None and getattr(fit.loaded[0].generation_config, "do_sample", False):
        yield "its generation settings say do_sample=true; answers are generated without sampling"


def _padding_notes(fit: Fit) -> Iterator[str]:
    if fit.task.kind.label not in ("one", "many", "number") or fit.scan is None or not fit.model.is_used_as_is:
        return
    alone = np.concatenate([fit.answer([row])["logits"] for row in fit.trial])
    moved = np.abs(alone - fit.answer(fit.trial)["logits"]).max()
    if moved > 1e-3 * np.abs(alone).max():
        change = f"its answer to a row changes by up to {moved:.2g} with the padding beside it in a batch"
        yield f"{change}: the tokenizer pads on another side than in training, or gives no attention_mask"


FILE_CHECKS: tuple[Check, ...] = (_pointers, _weights, _foreign_parts)
CONFIG_CHECKS: tuple[Check, ...] = (_model_type, _rotary_settings, _head, _direction, _context, _labels_of_head)
PART_CHECKS: tuple[Check, ...] = (_misfits, _targets, _padding)
ROW_CHECKS: tuple[Check, ...] = (_rows,)
RUN_CHECKS: tuple[Check, ...] = (_answers,)
NOTES: tuple[Check, ...] = (_weight_notes, _setting_notes, _row_notes, _padding_notes)
