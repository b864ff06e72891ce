"""Functions shared by kinds: tokenizers, and padded batches of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import checkpoint
from harness.contracts.kind import Arrays, Example
from harness.contracts.sources import Native, Row, Source
from harness.contracts.vetting import offline
from harness.errors import HarnessError, brief_error


@dataclass(frozen=True)
class Paired:
    """The processor of a model that sees or hears, and the tokenizer of what it reads or writes."""

    media: Any
    """An image processor or a feature extractor, whose settings are those of the pair."""
    tokenizer: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of copies and pickles, before there are fields
            raise AttributeError(name)
        return getattr(self.media, name)

    @property
    def pad_token_id(self) -> int:
        """The token that fills up shorter texts, and in CTC stands for no letter."""
        return self.tokenizer.pad_token_id  # type: ignore[no-any-return]

    def decode(self, tokens: list[int], **settings: Any) -> str:
        """Return tokens as text."""
        return self.tokenizer.decode(tokens, **settings)  # type: ignore[no-any-return]

    def save_pretrained(self, folder: Path | str) -> None:
        """Write both beside a model."""
        self.media.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def output(outputs: Arrays, name: str) -> NDArray[Any]:
    """Return the output called `name`; HarnessError, listing the outputs, without one."""
    if name not in outputs:
        raise HarnessError(f"the backend answered {', '.join(outputs) or 'nothing'}; this kind reads `{name}`")
    return outputs[name]


def new_tokenizer(source: Source, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    """Return a tokenizer over the words of `rows` for a native module; HarnessError for any other source."""
    if not isinstance(source, Native):
        raise HarnessError(f"{source}: a text model from scratch has no tokenizer; use a Package, a Hub or a Local")
    values = (row[name] for row in rows for name in inputs)
    return word_tokenizer((v if isinstance(v, str) else " ".join(v) for v in values), source.vocabulary)


def word_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Return a lower-casing word tokenizer over the `vocabulary` most frequent words of `texts`.

    Every text begins with a token of its own, so that an empty one has a shape and the second of a pair has a start.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]"]
    trainer = trainers.WordLevelTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A [CLS] $B", special_tokens=[("[CLS]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        model_input_names=["input_ids", "attention_mask"],
    )


def load_tokenizer(folder: Path, **settings: Any) -> Any:
    """Return the tokenizer in `folder`; HarnessError unless it can pad a batch."""
    return check_padding(folder, read_tokenizer(folder, **settings))


def read_tokenizer(folder: Path, **settings: Any) -> Any:
    """Return the tokenizer in `folder`, with or without a token to pad with."""
    cls, declared = _tokenizer_class(folder)
    patterns = ("token*", "vocab*", "*.model", "*.spm")
    files = sorted(path for pattern in patterns for path in folder.glob(pattern))
    try:
        with offline():
            tokenizer = cls.from_pretrained(folder, trust_remote_code=False, **declared, **settings)
        # Of a folder without a vocabulary Transformers 5 makes a tokenizer without words.
        if tokenizer.vocab_files_names and not {path.name for path in files} - {"tokenizer_config.json"}:
            raise FileNotFoundError("no vocabulary")
    except Exception as error:  # the Rust library raises it bare
        reason = f"{', '.join(path.name for path in files)}: {brief_error(error)}" if files else "it has no file of one"
        raise HarnessError(f"{folder}: no usable tokenizer; save one beside the model: {reason}") from error
    # Texts are encoded once and padded batch by batch, of which Transformers would warn.
    tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True
    return tokenizer


def check_padding(folder: Path, tokenizer: Any) -> Any:
    """Return the tokenizer; HarnessError unless it has a token to pad with."""
    if tokenizer.pad_token_id is None:
        raise HarnessError(
            f"{folder}: the tokenizer has no padding token, so texts cannot share a batch; set one with "
            "tokenizer.pad_token = tokenizer.eos_token and model.config.pad_token_id = tokenizer.pad_token_id, "
            "and save both"
        )
    return tokenizer


def _tokenizer_class(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return the class that reads the tokenizer, and settings in the place of those that Transformers 5 wrote.

    Transformers 4.57 reads it too, in the overlay in which models generate text.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast, __version__
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    file = folder / "tokenizer_config.json"
    declared = checkpoint.read_json(file) if file.is_file() else {}
    extra, name = declared.get("extra_special_tokens"), declared.get("tokenizer_class")
    renamed = __version__.startswith("4.") and isinstance(extra, list)
    settings: dict[str, Any] = {"extra_special_tokens": {}, "additional_special_tokens": extra} if renamed else {}
    if not name or tokenizer_class_from_name(name) is not None:  # AutoTokenizer would read it as another one's
        return AutoTokenizer, settings
    if name == "TokenizersBackend" and (folder / "tokenizer.json").is_file():
        return PreTrainedTokenizerFast, settings  # its name until Transformers 5: tokenizer.json says everything
    config = folder / "config.json"
    version = (checkpoint.read_json(config) if config.is_file() else {}).get("transformers_version", "another version")
    raise HarnessError(
        f"{file}: no usable tokenizer: tokenizer_class {name!r} is unknown to transformers {__version__}; the model "
        f"was saved with {version}: there, save the tokenizer as a PreTrainedTokenizerFast with its tokenizer.json"
    )


def load_masking_tokenizer(folder: Path, **settings: Any) -> Any:
    """Return the tokenizer in `folder` for kinds that read single tokens: it pads on the right and masks padding."""
    tokenizer = load_tokenizer(folder, padding_side="right", **settings)
    if "attention_mask" not in tokenizer.model_input_names:
        raise HarnessError(f"{folder}: {type(tokenizer).__name__} writes no attention_mask, which this kind needs")
    return tokenizer


def load_aligned_tokenizer(folder: Path, **settings: Any) -> Any:
    """Return a masking tokenizer that also knows where in the text its tokens lie; HarnessError if it does not."""
    tokenizer = load_masking_tokenizer(folder, **settings)
    if not tokenizer.is_fast:
        name = type(tokenizer).__name__
        raise HarnessError(f"{folder}: {name} cannot locate its tokens in the text; save a fast one (tokenizer.json)")
    return tokenizer


def texts(rows: Sequence[Row], name: str) -> list[str]:
    """Return the column `name`; HarnessError if it holds anything but text."""
    column = [row[name] for row in rows]
    for value in column:
        if not isinstance(value, str):
            kind, shown = type(value).__name__, repr(value)[:80]
            raise HarnessError(f"column {name} must hold text, not {kind}, as in {shown}; write it as one text")
    return column


def encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    """Return one example a row: its text, or its two texts as a pair."""
    encoded = tokenizer(*(texts(rows, name) for name in inputs), truncation=True, max_length=max_length)
    return [[{name: values[i] for name, values in encoded.items()}] for i in range(len(rows))]


def collate(tokenizer: Any, examples: list[Example]) -> Arrays:
    """Return `input_ids`, `attention_mask`, … of shape (examples, longest), int64."""
    entries = [{name: row[name] for name in tokenizer.model_input_names if name in row} for row in examples]
    batch = tokenizer.pad(entries)  # lists: with return_tensors, Transformers walks through every number in Python
    return {name: np.array(values, dtype=np.int64) for name, values in batch.items()}


def zero_padding(batch: Arrays, outputs: Arrays, *names: str) -> Arrays:
    """Return the outputs `names`, shape (batch, length, …), with zeros at padding tokens, whose values mean nothing."""
    kept = {name: output(outputs, name).copy() for name in names}
    for values in kept.values():
        values[batch["attention_mask"] == 0] = 0
    return kept


def native_arguments(processor: Any, num_labels: int) -> dict[str, int]:
    """Return the constructor arguments of a native module: `num_labels`, and for text `vocab_size`."""
    vocabulary = {"vocab_size": len(processor)} if hasattr(processor, "vocab_size") else {}
    return {**vocabulary, "num_labels": num_labels}
