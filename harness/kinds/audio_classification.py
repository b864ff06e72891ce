"""Audio classification: one label a recording.

Recordings are files that libsndfile reads, or arrays of samples from -1 to 1, of one channel. Batches hold what the
model's feature extractor makes of them: `input_values` of shape (batch, samples) for waveforms, padded with zeros, or
of fixed size for spectrograms.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts.kind import Arrays, Example
from harness.contracts.sources import Row, Scratch, Source
from harness.contracts.vetting import offline
from harness.errors import HarnessError
from harness.kinds.classification import text_classification

SHORTEST_S = 0.25
"""Seconds that a row keeps when it is cut to probe an export: waveform models answer nothing shorter than some ms."""


class Recording(NamedTuple):
    """One channel of sound."""

    samples: Any
    rate: int
    """Samples a second; 0 for an array, which does not say."""
    remarks: tuple[str, ...] = ()
    """The change made to the file, to follow "3 of 7 recordings"."""


def open_file(file: Path) -> None:
    """Raise an error for a file that libsndfile does not know."""
    import soundfile

    soundfile.info(file)


def load_recording(value: Mapping[str, Any]) -> Recording:
    """Return the recording in `value`'s `bytes`, or else at its `path`; ValueError if it holds no usable sound."""
    import soundfile

    data = value.get("bytes")
    source = value["path"] if data is None else io.BytesIO(data)
    samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    channels = samples.shape[1]
    remarks = (f"have {channels} channels, of which the mean is taken",) if channels > 1 else ()
    return Recording(recording_array(samples.mean(axis=1)), rate, remarks)


def recording_array(value: Any) -> NDArray[np.float32]:
    """Return samples as an array of float32; ValueError if they are no recording of one channel."""
    samples = np.asarray(value)
    if samples.size == 0:
        raise ValueError("it has no samples: its length is zero")
    if samples.ndim != 1:
        raise ValueError(f"it has the shape {samples.shape}; expected samples of one channel: average channels first")
    if samples.dtype.kind != "f":
        raise ValueError(f"it holds {samples.dtype}; expected floats from -1 to 1: divide 16-bit samples by 32768")
    if not np.isfinite(samples).all():
        raise ValueError("it holds NaN or infinity")
    return samples.astype(np.float32)


def resample(samples: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """Return the samples at another rate, by a polyphase filter."""
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    divisor = math.gcd(rate, wanted)
    return resample_poly(samples, wanted // divisor, rate // divisor).astype(np.float32)


def load_extractor(folder: Path) -> Any:
    """Return the feature extractor in `folder`; HarnessError if there is none for sound."""
    from transformers import AutoFeatureExtractor

    try:
        with offline():
            processor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
        rate = processor.sampling_rate
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise HarnessError(
            f"{folder}: no usable preprocessor_config.json of a feature extractor for sound; write it with "
            f"save_pretrained of the one that the model was trained with: {error}"
        ) from error
    if not isinstance(rate, int) or rate < 1:
        raise HarnessError(f"{folder / 'preprocessor_config.json'}: sampling_rate is {rate!r}; give samples a second")
    return processor


def _new_processor(source: Source, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    """Return the feature extractor that a Scratch declares."""
    import transformers

    assert isinstance(source, Scratch)
    settings = dict(source.processor)
    name = str(settings.pop("feature_extractor_type", ""))
    if not name.endswith("FeatureExtractor") or not hasattr(transformers, name):
        raise HarnessError(
            f"Scratch(processor=…): transformers {transformers.__version__} has no feature_extractor_type {name!r}; "
            "expected the name of a class, for example 'ASTFeatureExtractor'"
        )
    return getattr(transformers, name)(**settings)


def encode(processor: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    """Return what the feature extractor makes of each recording."""
    examples = []
    for row in rows:
        samples = recording_array(row[inputs[0]])
        features = processor(samples, sampling_rate=processor.sampling_rate, return_tensors="np")
        examples.append([{name: np.asarray(values[0]) for name, values in features.items()}])
    return examples


def collate(processor: Any, examples: list[Example]) -> Arrays:
    """Return batch arrays, padded with zeros at the end."""
    batch = {}
    for name in examples[0]:
        arrays = [np.asarray(example[name]) for example in examples]
        longest = max(map(len, arrays))
        padded = [np.pad(array, [(0, longest - len(array)), *[(0, 0)] * (array.ndim - 1)]) for array in arrays]
        stacked = np.stack(padded)
        batch[name] = stacked.astype(np.float32 if stacked.dtype.kind == "f" else np.int64)
    return batch


def shorten(processor: Any, example: Example, length: int) -> Example:
    """Return the example cut to that many samples, but to no less than SHORTEST_S; spectrograms have one length."""
    least = int(processor.sampling_rate * SHORTEST_S)
    return {name: values[: max(length, least)] for name, values in example.items()}


audio_classification = replace(
    text_classification,
    name="audio-classification",
    auto_class="AutoModelForAudioClassification",
    most_inputs=1,
    media="audio",
    load_processor=load_extractor,
    new_processor=_new_processor,
    encode=encode,
    collate=collate,
    shorten=shorten,
    native_arguments=None,
)
