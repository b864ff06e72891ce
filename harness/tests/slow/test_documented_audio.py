"""The suite in the documents about sound, on a tiny model, from recordings to verdicts, and the lines of its card."""

from pathlib import Path

import numpy as np
import pytest
import torch
from documented import documented_suite, published_answers, run_suites
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from conftest import Once, Run, Toy
from harness.commands import cli

pytest_plugins = "pytester"
soundfile = pytest.importorskip("soundfile")

PITCHES = {"beep": 1800.0, "hum": 120.0, "whistle": 600.0}
ROWS = 120
RATE = 16_000


def sound(rng: np.random.Generator, pitch: float, rate: int) -> np.ndarray:
    """A tone with noise, of a length of its own."""
    time = np.arange(int(rate * rng.uniform(0.2, 0.4))) / rate
    return 0.4 * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * time) + 0.02 * rng.standard_normal(len(time))


def write(folder: Path) -> None:
    """Write recordings of two rates and formats, and a model without a head that has learnt nothing."""
    rng = np.random.default_rng(0)
    for label, pitch in PITCHES.items():
        (folder / "sounds" / label).mkdir(parents=True)
        for number in range(ROWS):
            rate, ending = (8_000, "wav") if number % 4 == 0 else (RATE, "flac")
            soundfile.write(folder / "sounds" / label / f"{number}.{ending}", sound(rng, pitch, rate), rate)
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, conv_dim=(32, 32, 32),
        conv_kernel=(16, 8, 4), conv_stride=(8, 8, 4), num_feat_extract_layers=3, feat_extract_norm="layer",
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, mask_time_prob=0.0, classifier_proj_size=32,
        hidden_dropout=0.0, final_dropout=0.0, layerdrop=0.0,
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(folder / "my-wav2vec2")
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=RATE, return_attention_mask=True)
    extractor.save_pretrained(folder / "my-wav2vec2")


@pytest.fixture
def ran(once: Once) -> tuple[Toy, Run]:
    # Weights that were never trained need larger steps.
    changes = {"epochs=3": "epochs=6, learning_rate=3e-3", "max_drop=0.03": "max_drop=0.05"}
    return run_suites(once, "audio", write, {"test_toy.py": documented_suite("Alarms", changes)})


def test_documented_suite_reaches_verdicts(ran):
    toy, run = ran
    assert 0 == run.status, run.text
    results = {result.backend: result for result in toy.results.values()}
    assert {"pytorch", "onnxruntime", "onnxruntime-int8", "onnxruntime-o2"} <= {*results}
    assert {"ok", "unsupported"} >= {result.status for result in results.values()}
    assert {"ok"} == {results[name].status for name in ("pytorch", "onnxruntime", "onnxruntime-int8")}
    assert 0.9 < results["pytorch"].answers.score
    assert results["pytorch"].answers.score == results["onnxruntime"].answers.score
    assert "takes no attention_mask" in results["onnxruntime"].artifact.info["not_built_by"]
    assert "90 of 360 recordings of train have 8,000 Hz and are resampled to 16,000" in run.text


def test_published_lines_answer_alike(ran):
    toy, _ = ran
    lines = "import numpy\ntime = numpy.arange(4800) / 16000\n" + "".join(
        f"print(repr(answer(numpy.sin(6.2832 * {pitch} * time).astype('float32') * 0.4)))\n"
        for pitch in PITCHES.values()
    )
    assert ([*PITCHES], [*PITCHES]) == published_answers(toy, "alarms/mine", lines)


def test_new_writes_a_suite_for_recordings(tmp_path, monkeypatch, capsys):
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert 0 == cli.main(["new", "--model", "my-wav2vec2", "--data", "sounds"]), capsys.readouterr().err
    suite = (tmp_path / "test_sounds.py").read_text()
    assert 'kind="audio-classification"' in suite
    assert 'inputs=("audio",)' in suite
    assert "rate=16000" in suite
