"""Digits spoken by eSpeak NG on the spot: which digit does the voice say?"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from harness import Gate, Model, Package, Recipe, Scratch, Task, cases

REASON = 'needs eSpeak NG and soundfile: pip install -e ".[full]"'
for package in ("espeakng_loader", "soundfile"):
    pytest.importorskip(package, reason=REASON)
pytestmark = pytest.mark.full

from espeak import Utterance, spoken  # noqa: E402  # which needs both

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-us", "en-gb-scotland", "en-gb-x-rp", "en-029")
VOICES = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f4")
"""Those that say a word alike in every process; the others add noise."""
MANNERS = ((140, 40), (180, 60))
"""Words a minute, and the pitch on eSpeak's own scale from 0 to 100."""


def digits(voices: Path) -> Iterator[dict[str, Any]]:
    """Yield one row a voice, manner and digit: a WAV file as bytes, and the word."""
    rows = list(product(ACCENTS, VOICES, MANNERS, WORDS))
    utterances = [Utterance(word, f"{accent}+{voice}", *manner) for accent, voice, manner, word in rows]
    for (*_, word), sound in zip(rows, spoken(voices, utterances), strict=True):
        yield {"audio": sound, "digit": word}


TASK = Task(
    name="spoken-digits",
    kind="audio-classification",
    dataset=Package(
        "espeakng-loader",
        "espeakng_loader/espeak-ng-data",
        sha256="72d0f78f4165cb03c72c2f63e829ee7d44304a7763876dd8ae9293bb11342dfc",
        read=digits,
    ),
    inputs=("audio",),
    label="digit",
    metric="accuracy",
    rate=8_000,
    test=360,
    validation=36,
    calibration=36,
)
TINY_AST = Model(
    name="tiny-AST",
    source=Scratch(
        config={
            "model_type": "audio-spectrogram-transformer",
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "num_mel_bins": 32,
            "max_length": 80,
            "patch_size": 8,
            "frequency_stride": 8,
            "time_stride": 8,
        },
        processor={
            "feature_extractor_type": "ASTFeatureExtractor",
            "sampling_rate": 8_000,
            "num_mel_bins": 32,
            "max_length": 80,
        },
    ),
    recipe=Recipe(epochs=30, learning_rate=2e-3, batch_size=32, weight_decay=0.05, keep="last"),
)
MODELS = {TINY_AST: Gate(min_score=0.9, max_drop=0.02)}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_spoken_digits(case, bench):
    bench(case)
