"""Speech recognition: what is trained and refused, and how written tokens and frames become text."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    PreTrainedTokenizerFast,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from harness.contracts.kind import EncodedRows
from harness.errors import HarnessError
from harness.kinds import automatic_speech_recognition as written
from harness.kinds import ctc_speech_recognition as spelled

RATE = 16_000
LETTERS = ["<pad>", "<unk>", "|", "a", "l", "o"]
WORDS = ["<|endoftext|>", "<|startoftranscript|>", "<unk>", "one", "two"]


def save_ctc(folder):
    (folder / "vocab.json").write_text(json.dumps({letter: place for place, letter in enumerate(LETTERS)}))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), bos_token=None, eos_token=None).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=RATE).save_pretrained(folder)


def save_writer(folder):
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    end, start = WORDS[:2]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, 1), (end, 0)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=start, eos_token=end, pad_token=end, unk_token="<unk>"
    ).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=4, chunk_length=1).save_pretrained(folder)


def rows_of(processor, *texts):
    rows = [{"audio": np.zeros(800, np.float32), "label": text} for text in texts]
    return EncodedRows(processor, rows, ("audio",), [[]] * len(rows), 16)


def frames(*tokens):
    return {"logits": np.eye(len(LETTERS), dtype=np.float32)[None, list(tokens)]}


def test_repeated_frames_are_one_letter_unless_a_blank_parts_them(tmp_path):
    save_ctc(tmp_path)
    rows = rows_of(spelled.load_processor(tmp_path), "", "")
    outputs = [frames(3, 3, 4, 0, 4, 4), frames(0, 5, 2, 2, 0, 3, 0)]
    assert ["all", "o a"] == spelled.predict(rows, outputs)


def test_tokenizer_that_keeps_repetitions_is_refused_for_ctc(tmp_path):
    save_writer(tmp_path)
    with pytest.raises(HarnessError, match="does not take repeated tokens as one"):
        spelled.load_processor(tmp_path)


def test_ctc_is_trained_on_letters(tmp_path):
    save_ctc(tmp_path)
    assert [[{"labels": [3, 4, 4, 2, 5]}]] == spelled.targets(rows_of(spelled.load_processor(tmp_path), "all o"))


def test_letters_that_a_ctc_model_lacks_are_refused(tmp_path):
    save_ctc(tmp_path)
    with pytest.raises(HarnessError, match=r"does not have all letters of 'allow': write texts in its own: .* a l o"):
        spelled.targets(rows_of(spelled.load_processor(tmp_path), "allow"))


def test_writer_is_trained_without_the_token_it_starts_from(tmp_path):
    save_writer(tmp_path)
    assert [[{"labels": [3, 4, 0]}]] == written.targets(rows_of(written.load_processor(tmp_path), "one two"))


def test_written_tokens_become_text(tmp_path):
    save_writer(tmp_path)
    rows = rows_of(written.load_processor(tmp_path), "")
    assert ["two one"] == written.predict(rows, [{"sequences": np.array([[1, 4, 3, 0, 0]])}])


def test_recording_longer_than_the_model_hears_is_refused(tmp_path):
    save_writer(tmp_path)
    processor = written.load_processor(tmp_path)
    assert (1, 4, 100) == written.collate(processor, encoded(processor, 0.5))["input_features"].shape
    with pytest.raises(HarnessError, match=r"a recording has 1.5 s, and the model hears 1 s; part it"):
        encoded(processor, 1.5)


def encoded(processor, seconds):
    rows = [{"audio": np.zeros(int(RATE * seconds), np.float32)}]
    return [example for (example,) in written.encode(processor, rows, ("audio",), 16)]


def test_processor_is_saved_and_read_whole(tmp_path):
    (tmp_path / "own").mkdir()
    save_ctc(tmp_path)
    spelled.load_processor(tmp_path).save_pretrained(tmp_path / "own")
    again = spelled.load_processor(tmp_path / "own")
    assert RATE == again.sampling_rate
    assert 0 == again.pad_token_id
    assert "lo" == again.decode([4, 5])
