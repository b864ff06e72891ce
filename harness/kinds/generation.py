"""Translation and summarization: a text is answered with a text that the model generates.

A backend answers with `sequences`, tokens of shape (batch, longest), as `generate` gives them with the checkpoint's own
generation config: greedy or by beams, never drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.contracts.kind import Arrays, EncodedRows, Example, Kind, own_label
from harness.contracts.sources import Row
from harness.errors import HarnessError
from harness.kinds import common
from harness.kinds.common import output


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    if len(inputs) != 1:
        raise HarnessError(f"inputs={inputs}: what is generated from is one column of text")
    return common.encode(tokenizer, rows, inputs, max_length)


def _targets(asked: EncodedRows) -> list[list[Example]]:
    labels = [str(label) for label in own_label(asked)]
    encoded = asked.processor(text_target=labels, truncation=True, max_length=asked.max_length)["input_ids"]
    return [[{"labels": ids}] for ids in encoded]


def _predict(asked: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    return [
        asked.processor.decode(output(row, "sequences")[0].tolist(), skip_special_tokens=True).strip()
        for row in outputs
    ]


def _generated(tokenizer: Any, outputs: Arrays) -> int:
    """Tokens after the first, which only starts the decoder, without padding."""
    return int(np.count_nonzero(output(outputs, "sequences")[:, 1:] != tokenizer.pad_token_id))


translation = Kind(
    name="translation",
    auto_class="AutoModelForSeq2SeqLM",
    export="text2text-generation-with-past",
    metrics=("bleu", "chrf"),
    label="free",
    processor=common.pretrained_processor,
    load_processor=common.load_tokenizer,
    encode=_encode,
    collate=common.collate,
    targets=_targets,
    predict=_predict,
    tokens=_generated,
    axes=("batch", "sequence"),
)

summarization = replace(translation, name="summarization")
