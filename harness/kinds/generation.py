"""Translation and summarization: a text is answered with a text that the model generates.

A backend answers with `sequences`, tokens of shape (batch, longest), as `generate` returns them with the checkpoint's
own generation config: greedy or by beams, never sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.kind import Arrays, EncodedRows, Example, Kind, row_labels
from harness.contracts.sources import Row
from harness.errors import HarnessError
from harness.kinds import common

DEFAULT_LENGTH = 20
"""New tokens that `generate` gives a model that names no limit."""


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    if len(inputs) != 1:
        raise HarnessError(f"inputs={inputs}: text is generated from one column of text; give one")
    return common.encode(tokenizer, rows, inputs, max_length)


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    labels = [str(label) for label in row_labels(encoded)]
    tokens = encoded.processor(text_target=labels, truncation=True, max_length=encoded.max_length)["input_ids"]
    return [[{"labels": ids}] for ids in tokens]


def decode_sequences(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    """Return the generated text of each row."""
    sequences = [common.output(row, "sequences")[0].tolist() for row in outputs]
    return [encoded.processor.decode(tokens, skip_special_tokens=True).strip() for tokens in sequences]


def count_tokens(tokenizer: Any, outputs: Arrays) -> int:
    """Count the tokens without padding and without the first, which only starts the decoder."""
    return int(np.count_nonzero(common.output(outputs, "sequences")[:, 1:] != tokenizer.pad_token_id))


def remark(checkpoint: Path, encoded: EncodedRows, outputs: Sequence[Arrays]) -> str:
    """Return how long answers may be and how many reach that."""
    from transformers import GenerationConfig

    config = GenerationConfig.from_pretrained(checkpoint)
    if config.max_new_tokens is not None:
        limit, origin = config.max_new_tokens, "max_new_tokens in its generation_config.json"
    elif config.max_length in (None, DEFAULT_LENGTH):
        limit, origin = DEFAULT_LENGTH, "Transformers' default, as its generation_config.json sets no max_new_tokens"
    else:  # which counts the token that starts the decoder
        limit, origin = config.max_length - 1, "max_length in its generation_config.json"
    reached = sum(count_tokens(encoded.processor, row) >= limit for row in outputs)
    text = f"{reached:,} of {len(outputs):,} answers end at the limit of {limit} tokens ({origin})"
    text += "; raise max_new_tokens there if they should be longer" if reached else ""
    return text + ("; its do_sample is set, but every backend answers without sampling" if config.do_sample else "")


translation = Kind(
    name="translation",
    auto_class="AutoModelForSeq2SeqLM",
    export="text2text-generation-with-past",
    metrics=("bleu", "chrf", "rougeL", "rouge1", "rouge2"),
    label="text",
    most_inputs=1,
    load_processor=common.load_tokenizer,
    encode=_encode,
    collate=common.collate,
    targets=_targets,
    predict=decode_sequences,
    tokens=count_tokens,
    remark=remark,
)

summarization = replace(translation, name="summarization")
