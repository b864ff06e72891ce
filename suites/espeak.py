"""Shared by the suites of speech: what eSpeak NG, from the package espeakng-loader, says on the spot."""

import ctypes
import io
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import espeakng_loader

SPEED, PITCH, RETRIEVAL, UTF8 = 1, 3, 1, 1
"""Numbers of espeak-ng's parameters, of an output without sound card, and of an encoding (speak_lib.h)."""


class Utterance(NamedTuple):
    """A text, and how it is said."""

    text: str
    voice: str
    """Accent and voice, as in en-us+f1."""
    speed: int
    """Words a minute."""
    pitch: int
    """On eSpeak's own scale from 0 to 100."""


def spoken(voices: Path, utterances: Iterable[Utterance]) -> Iterator[bytes]:
    """Yield a WAV file for each utterance."""
    speech = espeakng_loader.load_library()
    heard = bytearray()

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def hear(samples: Any, count: int, events: Any) -> int:
        heard.extend(ctypes.string_at(samples, 2 * count) if samples else b"")
        return 0

    rate = speech.espeak_Initialize(RETRIEVAL, 0, str(voices).encode(), 0)
    speech.espeak_SetSynthCallback(hear)
    for one in utterances:
        heard.clear()
        speech.espeak_SetVoiceByName(one.voice.encode())
        speech.espeak_SetParameter(SPEED, one.speed, 0)
        speech.espeak_SetParameter(PITCH, one.pitch, 0)
        text = one.text.encode()
        speech.espeak_Synth(text, len(text) + 1, 0, 0, 0, UTF8, None, None)
        speech.espeak_Synchronize()
        with wave.open(file := io.BytesIO(), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(rate)
            sound.writeframes(bytes(heard))
        yield file.getvalue()
    speech.espeak_Terminate()
