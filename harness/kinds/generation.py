"""Translation and summarization: a text is answered with a text that the model generates.

A backend answers with `sequences`, tokens of shape (batch, longest), as `generate` returns them with the checkpoint's
own generation config: greedy or by beams, never sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.contracts.kind import Arrays, EncodedRows, Example, Kind, row_labels
from harness.contracts.sources import Row
from harness.errors import HarnessError
from harness.kinds import common


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    if len(inputs) != 1:
        raise HarnessError(f"inputs={inputs}: text is generated from one column of text")
    return common.encode(tokenizer, rows, inputs, max_length)


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    labels = [str(label) for label in row_labels(encoded)]
    tokens = encoded.processor(text_target=labels, truncation=True, max_length=encoded.max_length)["input_ids"]
    return [[{"labels": ids}] for ids in tokens]


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    sequences = [common.output(row, "sequences")[0].tolist() for row in outputs]
    return [encoded.processor.decode(tokens, skip_special_tokens=True).strip() for tokens in sequences]


def _count_tokens(tokenizer: Any, outputs: Arrays) -> int:
    """Count the tokens without padding and without the first, which only starts the decoder."""
    return int(np.count_nonzero(common.output(outputs, "sequences")[:, 1:] != tokenizer.pad_token_id))


translation = Kind(
    name="translation",
    auto_class="AutoModelForSeq2SeqLM",
    export="text2text-generation-with-past",
    metrics=("bleu", "chrf"),
    label="free",
    most_inputs=1,
    load_processor=common.load_tokenizer,
    encode=_encode,
    collate=common.collate,
    targets=_targets,
    predict=_predict,
    tokens=_count_tokens,
)

summarization = replace(translation, name="summarization")
