"""Recordings of folders, of columns and of arrays: read whole, at one rate, and refused by file where they are not."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest

from harness import Folder, HarnessError, Local, Model, Task
from harness.contracts.kind import EncodedRows
from harness.contracts.sources import Scratch
from harness.data import audio, reading, splits
from harness.kinds import audio_classification
from harness.measure.adapters import columns_from_rows, rows_from_columns

soundfile = pytest.importorskip("soundfile")

TASK = Task(
    name="sounds", kind="audio-classification", dataset=Folder("own"), inputs=("audio",), label="label",
    metric="accuracy", test=4, validation=2, calibration=2,
)  # fmt: skip
EXTRACTOR = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 8_000}


def tone(pitch=440.0, seconds=0.1, rate=8_000):
    return np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate).astype(np.float32) / 2


def write(file, samples=None, rate=8_000, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, tone(rate=rate) if samples is None else samples, rate, **options)


@pytest.fixture
def own(tmp_path):
    """A folder of twelve recordings a label, as WAV and FLAC."""
    for label, pitch in {"low": 200, "high": 2000}.items():
        for number in range(12):
            write(tmp_path / "own" / label / f"{number}.{'flac' if number % 2 else 'wav'}", tone(pitch + number))
    return tmp_path / "own"


def read(own, **changed):
    tables, _, notes = reading.read(replace(TASK, **changed), own.parent)
    return tables["train"], notes


def refusal(own, **changed):
    with pytest.raises(HarnessError) as caught:
        read(own, **changed)
    return str(caught.value)


def test_folders_name_the_labels_of_recordings(own):
    rows, notes = read(own)
    assert [] == notes
    assert {"low": 12, "high": 12} == {label: rows["label"][:].count(label) for label in ("low", "high")}
    np.testing.assert_allclose(tone(200), rows[rows["label"][:].index("low")]["audio"], atol=1e-4)


def test_other_files_are_left_out_with_a_note(own):
    (own / "low" / "notes.txt").write_text("words\n")
    (own / ".DS_Store").write_bytes(b"x")
    rows, (note,) = read(own)
    assert 24 == len(rows)
    assert "2 of 26 files were left out: 1 hidden or of the operating system (own/.DS_Store), 1 of text" in note


def test_stereo_is_averaged_and_said(own):
    write(own / "low" / "0.wav", np.stack([tone(200), np.zeros(800, np.float32)], axis=1))
    rows, (note,) = read(own)
    assert note == "1 of 24 recordings of train have 2 channels, of which the mean is taken; the first is low/0.wav"
    loud = max(float(np.abs(row["audio"]).max()) for row in rows if row["label"] == "low")
    quiet = min(float(np.abs(row["audio"]).max()) for row in rows if row["label"] == "low")
    assert loud == pytest.approx(2 * quiet, rel=1e-2)


def test_two_rates_are_refused_until_one_is_declared(own):
    write(own / "low" / "0.wav", tone(200, rate=16_000), rate=16_000)
    assert re.search(
        r"recordings of train have 2 sampling rates: 8,000 Hz \(23, .*\), 16,000 Hz \(1, the first low/0.wav\)|"
        r"2 sampling rates: 16,000 Hz \(1, the first low/0.wav\), 8,000 Hz \(23",
        refusal(own),
    )
    rows, (note,) = read(own, rate=8_000)
    assert note.startswith("1 of 24 recordings of train have 16,000 Hz and are resampled to 8,000 (scipy.signal.resa")
    assert {800} == {len(row["audio"]) for row in rows}
    resampled = rows[rows["label"][:].index("low")]["audio"]
    np.testing.assert_allclose(tone(200)[50:-50], resampled[50:-50], atol=5e-3)


@pytest.mark.parametrize(
    ("samples", "problem"),
    [
        (np.zeros(0, np.float32), r"low/0.wav: it has no samples: its length is zero"),
        (np.float32([0, np.nan, 0]), r"low/0.wav: it holds NaN or infinity"),
    ],
)
def test_recordings_without_usable_sound_are_refused(own, samples, problem):
    write(own / "low" / "0.wav", samples, subtype="FLOAT")
    assert re.search(rf"1 of 24 recordings of train cannot be used, the first .*{problem}; repair", refusal(own))


def test_damaged_and_unknown_files_are_refused(own):
    (own / "low" / "0.wav").write_bytes(b"RIFF\0\0")
    (own / "low" / "new.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    text = refusal(own)
    assert re.search(r"2 of 25 recordings of train cannot be used, the first .*libsndfile does not read it", text)


def test_column_of_paths_begins_at_the_table(own):
    lines = [f"{file.relative_to(own.parent)},{file.parent.name}" for file in sorted(own.glob("*/*"))]
    (own.parent / "rows.csv").write_text("\n".join(["file,sort", *lines, ""]))
    changed = {"dataset": Folder("rows.csv"), "inputs": ("file",), "label": "sort"}
    rows, notes = read(own, **changed)
    assert ([], 24, 800) == (notes, len(rows), len(rows[0]["file"]))
    (own.parent / "rows.csv").write_text("\n".join(["file,sort", *lines, "own/low/99.wav,low", ""]))
    assert "own/low/99.wav: there is no such file" in refusal(own, **changed)


def test_metadata_names_recordings(own):
    lines = [f"{file.relative_to(own)},{file.parent.name}" for file in sorted(own.glob("*/*"))]
    (own / "metadata.csv").write_text("\n".join(["file_name,sort", *lines, ""]))
    rows, _ = read(own, label="sort")
    assert 24 == len(rows)


def test_same_sound_counts_once(own):
    (own / "low" / "copy.wav").write_bytes((own / "low" / "0.wav").read_bytes())
    split = splits.load(TASK, own.parent)
    assert 1 == split.duplicates
    assert 8_000 == split.test.features["audio"].sampling_rate


def package(monkeypatch, rows, **changed):
    """Read these rows as a package yields them."""
    from datasets import Dataset

    from harness.data.tables import Table

    table = Table(Dataset.from_list(rows), [])
    monkeypatch.setattr(reading, "read_tables", lambda task, folder: ({"train": table}, []))
    return reading.read(replace(TASK, **changed), None)[0]["train"]


def test_arrays_need_a_declared_rate(monkeypatch):
    rows = [{"audio": tone(200 + n).tolist(), "label": "low"} for n in range(3)]
    with pytest.raises(HarnessError, match=r"are arrays, whose sampling rate nothing says; declare it: Task\(rate="):
        package(monkeypatch, rows)
    assert 800 == len(package(monkeypatch, rows, rate=8_000)[0]["audio"])


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "no samples: its length is zero"),
        ([[0.5, 0.1], [0.2, 0.1]], r"it has the shape \(2, 2\); expected samples of one channel"),
        ([100, -200], "it holds int64; expected floats from -1 to 1"),
    ],
)
def test_arrays_that_are_no_sound_are_refused(value, problem):
    with pytest.raises(ValueError, match=problem):
        audio.recording_array(value)


def test_bytes_are_files(monkeypatch):
    soundfile.write(file := io.BytesIO(), tone(), 8_000, format="WAV")
    rows = package(monkeypatch, [{"audio": file.getvalue(), "label": "low"}])
    np.testing.assert_allclose(tone(), rows[0]["audio"], atol=1e-4)


def test_rate_must_be_the_models(own):
    split = splits.load(TASK, own.parent)
    processor = audio_classification.processor(Scratch(config={}, processor=EXTRACTOR), None, [], ())
    audio.check_fit("model m", processor, split, TASK)
    processor.sampling_rate = 16_000
    with pytest.raises(
        HarnessError, match=r"reads 16,000 Hz .*and the recordings have 8,000; declare Task\(rate=16000"
    ):
        audio.check_fit("model m", processor, split, TASK)


def test_rate_is_for_sound_and_positive():
    with pytest.raises(HarnessError, match="rate=16000 is for kinds of sound"):
        Task(name="t", kind="image-classification", dataset=Folder("x"), inputs=("image",), label="l",
             metric="accuracy", rate=16_000)  # fmt: skip
    for rate in (0, -1, 8e3, True):
        with pytest.raises(HarnessError, match="in whole samples a second"):
            replace(TASK, rate=rate)


def test_raw_rows_of_unequal_length_travel_to_workers():
    rows = [{"audio": tone(seconds=0.1)}, {"audio": tone(seconds=0.2)}]
    again = rows_from_columns(columns_from_rows(rows, ("audio",)))
    assert [800, 1600] == [len(row["audio"]) for row in again]
    np.testing.assert_allclose(rows[1]["audio"], again[1]["audio"])


# The kind


def encoded(*lengths, **settings):
    processor = audio_classification.processor(Scratch(config={}, processor=EXTRACTOR | settings), None, [], ())
    rows = [{"audio": tone(300 + n, seconds)} for n, seconds in enumerate(lengths)]
    examples = audio_classification.encode(processor, rows, ("audio",), 128)
    return processor, rows, [example for (example,) in examples]


def test_batches_are_those_of_the_feature_extractor():
    processor, rows, examples = encoded(0.1, 0.3, return_attention_mask=True)
    batch = audio_classification.collate(processor, examples)
    samples = [row["audio"] for row in rows]
    expected = processor(samples, sampling_rate=8_000, padding=True, return_tensors="np")
    assert batch.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(values, batch[name], atol=1e-6)
    assert np.float32 == batch["input_values"].dtype


def test_rows_without_a_mask_are_scaled_as_if_alone():
    processor, rows, examples = encoded(0.1, 0.3, return_attention_mask=False)
    batch = audio_classification.collate(processor, examples)
    assert ["input_values"] == [*batch]
    alone = processor(rows[0]["audio"], sampling_rate=8_000, return_tensors="np")["input_values"][0]
    np.testing.assert_allclose(alone, batch["input_values"][0, :800], atol=1e-6)
    assert not batch["input_values"][0, 800:].any()


def test_cut_rows_keep_a_quarter_of_a_second():
    processor, _, (example,) = encoded(1.0)
    assert [2_000, 4_000] == [
        len(audio_classification.shorten(processor, example, length)["input_values"]) for length in (8, 4_000)
    ]


def test_spectrograms_have_one_size():
    spectrogram = {"feature_extractor_type": "ASTFeatureExtractor", "num_mel_bins": 16, "max_length": 40}
    processor, _, examples = encoded(0.1, 0.3, **spectrogram)
    assert (2, 40, 16) == audio_classification.collate(processor, examples)["input_values"].shape


@pytest.mark.parametrize("name", ["", "ViTImageProcessor", "NoneSuchFeatureExtractor"])
def test_feature_extractor_that_does_not_exist_is_named(name):
    with pytest.raises(HarnessError, match=f"has no feature_extractor_type '{name}'"):
        encoded(0.1, feature_extractor_type=name)


def test_folder_without_a_feature_extractor_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2"}')
    with pytest.raises(HarnessError, match=r"no usable preprocessor_config.json of a feature extractor for sound"):
        audio_classification.load_processor(tmp_path)


def test_predictions_are_the_largest_logits():
    rows = EncodedRows(None, [], ("audio",), [])
    outputs = [{"logits": np.float32([[0.1, 0.9]])}, {"logits": np.float32([[2.0, 0.9]])}]
    assert [1, 0] == audio_classification.predict(rows, outputs)
    assert Model(name="m", source=Local("m")).is_used_as_is
