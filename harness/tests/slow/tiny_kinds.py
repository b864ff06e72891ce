"""Tiny models and rows of BBC News for the kinds that no embedded weights exist for; they pretend to no quality."""

import json
import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BartConfig, BartForConditionalGeneration, BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from conftest import REPOSITORY
from harness.data import sources

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = 12
"""Words in an article."""
ROWS = 1600
VOCABULARY = 1500


def news() -> list[dict[str, str]]:
    """The first words of articles, and their desks, in an order drawn once."""
    sys.path.insert(0, str(REPOSITORY / "suites"))
    try:
        from bbc import articles, bbc_news
    finally:
        sys.path.pop(0)
    found = [
        {"text": " ".join(one["text"].split("\n", 1)[1].split()[:WORDS]), "desk": one["desk"]}
        for one in articles(sources.locate(bbc_news(iter)))
    ]
    random.Random(0).shuffle(found)
    return [row for row in found if sum(len(word) > 5 for word in row["text"].split()) > 2][:ROWS]


def write(folder: Path) -> None:
    """Rows of every kind as JSON lines, and the two models, in `folder`."""
    rows = news()
    for name, made in {
        "sentences": [{"text": row["text"]} for row in rows],
        "questions": [_question(row["text"]) for row in rows],
        "desks": [{"texts": {"long": row["text"], "short": _summary(row)}} for row in rows],
    }.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    texts = [row["text"] for row in rows] + [_summary(row) for row in rows]
    torch.manual_seed(0)
    size = {"vocab_size": VOCABULARY, "max_position_embeddings": 64}
    encoder = BertForMaskedLM(
        BertConfig(**size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    )
    writer = BartForConditionalGeneration(
        BartConfig(
            **size, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, pad_token_id=0, bos_token_id=2,
            eos_token_id=3, decoder_start_token_id=3, forced_eos_token_id=3,
        )
    )  # fmt: skip
    writer.generation_config.update(max_length=8, num_beams=2)
    for model, name in ((encoder, "encoder"), (writer, "writer")):
        model.save_pretrained(folder / name)
        # Exports of BERT ask for it.
        types = ["token_type_ids"] if name == "encoder" else []
        _tokenizer(texts, ["input_ids", *types, "attention_mask"]).save_pretrained(folder / name)


def _summary(row: dict[str, str]) -> str:
    """Five words, since BLEU counts four in a row."""
    return f"these are news of {row['desk']}"


def _question(text: str) -> dict[str, object]:
    """Which is the longest word? Its answer as SQuAD has it."""
    word = max(text.split(), key=len)
    return {
        "question": "which word is the longest ?",
        "context": text,
        "answers": {"text": [word], "answer_start": [text.index(word)]},
    }


def _tokenizer(texts: list[str], names: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", eos_token="[SEP]", model_input_names=names,
    )  # fmt: skip
