"""Songs of three notes and what they say, and two models that have learnt nothing: one of CTC, one that writes."""

import json
from pathlib import Path

import numpy as np
import soundfile
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

PITCHES = {"do": 262.0, "re": 660.0, "mi": 1500.0}
RATE = 16_000
END, START = "<|endoftext|>", "<|startoftranscript|>"


def song(rng: np.random.Generator, words: list[str]) -> np.ndarray:
    parts = []
    for word in words:
        time = np.arange(int(RATE * rng.uniform(0.12, 0.18))) / RATE
        tone = 0.4 * np.sin(2 * np.pi * PITCHES[word] * rng.uniform(0.95, 1.05) * time)
        parts += [tone, np.zeros(int(RATE * rng.uniform(0.04, 0.08)))]
    samples = np.concatenate(parts)
    return samples + 0.01 * rng.standard_normal(len(samples))


def write_songs(folder: Path, rows: int) -> list[str]:
    """Write recordings of up to four notes, and what each says; return the latter."""
    rng, texts = np.random.default_rng(0), []
    folder.mkdir()
    for number in range(rows):
        words = rng.choice([*PITCHES], rng.integers(2, 5)).tolist()
        soundfile.write(folder / f"{number}.wav", song(rng, words), RATE)
        texts.append(" ".join(words))
    lines = [json.dumps({"file_name": f"{number}.wav", "text": text}) for number, text in enumerate(texts)]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return texts


def save_ctc(folder: Path) -> None:
    """Save a model that names a letter for each 16 ms."""
    folder.mkdir()
    letters = ["<pad>", "<unk>", "|", *sorted({*"".join(PITCHES)})]
    (folder / "vocab.json").write_text(json.dumps({letter: place for place, letter in enumerate(letters)}))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), bos_token=None, eos_token=None).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=RATE, return_attention_mask=True).save_pretrained(folder)
    torch.manual_seed(0)
    none = ("hidden_dropout", "final_dropout", "layerdrop", "attention_dropout", "activation_dropout", "mask_time_prob")
    config = Wav2Vec2Config(
        vocab_size=len(letters), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        conv_dim=(32, 32, 32), conv_kernel=(16, 8, 4), conv_stride=(8, 8, 4), num_feat_extract_layers=3,
        feat_extract_norm="layer", num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        ctc_loss_reduction="mean", pad_token_id=0, **dict.fromkeys(none, 0.0),
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)


def save_whisper(folder: Path) -> None:
    """Save a Whisper that hears a second and writes whole words."""
    core = Tokenizer(models.WordLevel({word: at for at, word in enumerate([END, START, "<unk>", *PITCHES])}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 1), (END, 0)]
    )
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=core, **special).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=16, chunk_length=1, sampling_rate=RATE).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = WhisperConfig(
        **sizes, vocab_size=core.get_vocab_size(), num_mel_bins=16, d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64,
        max_source_positions=50, max_target_positions=64, pad_token_id=0, bos_token_id=0, eos_token_id=0,
        decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    silent = core.get_vocab_size()
    model.generation_config.update(
        max_length=8, is_multilingual=False, no_timestamps_token_id=silent, return_timestamps=False
    )
    model.save_pretrained(folder)
