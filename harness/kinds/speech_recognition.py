"""Speech recognition: the text that a recording says, by an encoder-decoder that writes it, or by CTC.

An encoder-decoder answers with `sequences`, tokens of shape (batch, longest), as `generate` returns them with the
checkpoint's own generation config, never sampled. A CTC model answers with `logits` of shape (batch, frames, tokens);
the likeliest token of each frame is taken, repeated ones as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.contracts.kind import Arrays, EncodedRows, Example, row_labels
from harness.contracts.sources import Row
from harness.contracts.tolerance import ELEMENTWISE
from harness.errors import HarnessError
from harness.kinds import common
from harness.kinds.audio_classification import collate, encode, load_extractor, shorten
from harness.kinds.classification import keep_logits
from harness.kinds.common import Paired
from harness.kinds.generation import translation

START = "<|startoftranscript|>"
"""Whisper's token that starts its decoder, which its tokenizer writes too."""


def _load_processor(folder: Path) -> Paired:
    return Paired(load_extractor(folder), common.load_tokenizer(folder))


def _encode(processor: Paired, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    """Encode each recording; HarnessError for one of which the feature extractor would cut the end off."""
    most, rate = getattr(processor.media, "n_samples", None), processor.sampling_rate
    longest = max(len(row[inputs[0]]) for row in rows)
    if most and longest > most:
        raise HarnessError(
            f"a recording has {longest / rate:.1f} s, and the model hears {most / rate:g} s; part it, with its text"
        )
    return encode(processor.media, rows, inputs, max_length)


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    """Return the tokens of each text, without the one by which the model itself starts."""
    tokenizer = encoded.processor.tokenizer
    start = tokenizer.get_vocab().get(START)
    rows = tokenizer(_texts(encoded), truncation=True, max_length=encoded.max_length)["input_ids"]
    return [[{"labels": ids[1:] if ids[0] == start else ids}] for ids in rows]


def _texts(encoded: EncodedRows) -> list[str]:
    return [str(label) for label in row_labels(encoded)]


automatic_speech_recognition = replace(
    translation,
    name="automatic-speech-recognition",
    auto_class="AutoModelForSpeechSeq2Seq",
    export="automatic-speech-recognition-with-past",
    metrics=("wer", "cer"),
    media="audio",
    load_processor=_load_processor,
    encode=_encode,
    collate=collate,
    targets=_targets,
    shorten=shorten,
)


def _load_ctc_processor(folder: Path) -> Paired:
    processor = _load_processor(folder)
    texts = ((token, processor.decode([token])) for token in range(len(processor.tokenizer)))
    token, text = next((token, text) for token, text in texts if text.strip())
    if processor.decode([token, token]) != text:
        raise HarnessError(
            f"{folder}: {type(processor.tokenizer).__name__} does not take repeated tokens as one, as CTC needs; save "
            "the tokenizer that the model was trained with, a Wav2Vec2CTCTokenizer for instance"
        )
    return processor


def _ctc_targets(encoded: EncodedRows) -> list[list[Example]]:
    """Return the tokens of each text; HarnessError for letters that the tokenizer does not have."""
    tokenizer, texts = encoded.processor.tokenizer, _texts(encoded)
    rows = tokenizer(texts)["input_ids"]
    for text, ids in zip(texts, rows, strict=True):
        if tokenizer.unk_token_id in ids:
            known = " ".join(sorted(tokenizer.get_vocab()))[:200]
            raise HarnessError(
                f"the tokenizer does not have all letters of {text[:60]!r}: write texts in its own: {known}"
            )
    return [[{"labels": ids}] for ids in rows]


def _transcribe(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    """Return the text of each row: the likeliest token of every frame, repeated ones as one."""
    paths = [common.output(row, "logits")[0].argmax(axis=-1).tolist() for row in outputs]
    return [encoded.processor.decode(path).strip() for path in paths]


ctc_speech_recognition = replace(
    automatic_speech_recognition,
    name="ctc-speech-recognition",
    auto_class="AutoModelForCTC",
    export="automatic-speech-recognition",
    load_processor=_load_ctc_processor,
    targets=_ctc_targets,
    reduce=keep_logits,
    predict=_transcribe,
    tokens=None,
    remark=None,
    tolerance=ELEMENTWISE,
)
