"""Digits spoken by eSpeak NG on the spot: which digit does the voice say?"""

import ctypes
import io
import wave
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from harness import Gate, Model, Package, Recipe, Scratch, Task, cases

REASON = 'needs eSpeak NG and soundfile: pip install -e ".[full]"'
espeakng_loader = pytest.importorskip("espeakng_loader", reason=REASON)
pytest.importorskip("soundfile", reason=REASON)
pytestmark = pytest.mark.full

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-us", "en-gb-scotland", "en-gb-x-rp", "en-029")
VOICES = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f4")
"""Those that say a word alike in every process; the others add noise."""
MANNERS = ((140, 40), (180, 60))
"""Words a minute, and the pitch on eSpeak's own scale from 0 to 100."""
SPEED, PITCH, RETRIEVAL, UTF8 = 1, 3, 1, 1
"""Numbers of espeak-ng's parameters, of an output without sound card, and of an encoding (speak_lib.h)."""


def spoken(voices: Path) -> Iterator[dict[str, Any]]:
    """Yield one row a voice, manner and digit: a WAV file as bytes, and the word."""
    speech = espeakng_loader.load_library()
    heard = bytearray()

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def hear(samples: Any, count: int, events: Any) -> int:
        heard.extend(ctypes.string_at(samples, 2 * count) if samples else b"")
        return 0

    rate = speech.espeak_Initialize(RETRIEVAL, 0, str(voices).encode(), 0)
    speech.espeak_SetSynthCallback(hear)
    for accent, voice, (speed, pitch), word in product(ACCENTS, VOICES, MANNERS, WORDS):
        heard.clear()
        speech.espeak_SetVoiceByName(f"{accent}+{voice}".encode())
        speech.espeak_SetParameter(SPEED, speed, 0)
        speech.espeak_SetParameter(PITCH, pitch, 0)
        text = word.encode()
        speech.espeak_Synth(text, len(text) + 1, 0, 0, 0, UTF8, None, None)
        speech.espeak_Synchronize()
        with wave.open(file := io.BytesIO(), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(rate)
            sound.writeframes(bytes(heard))
        yield {"audio": file.getvalue(), "digit": word}
    speech.espeak_Terminate()


TASK = Task(
    name="spoken-digits",
    kind="audio-classification",
    dataset=Package(
        "espeakng-loader",
        "espeakng_loader/espeak-ng-data",
        sha256="72d0f78f4165cb03c72c2f63e829ee7d44304a7763876dd8ae9293bb11342dfc",
        read=spoken,
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
