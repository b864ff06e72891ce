"""Tiny models and rows for the reported inputs, made on the spot."""

import csv
import json
import random

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

torch.set_num_threads(1)
FILLER = " ".join(
    [
        "we you they have been about after before could should would there where while still again every other first",
        "second third later today never often maybe please thanks hello dear team since until under over large small",
        "early late green blue grey white black open closed long short high low left right front back",
    ]
).split()
TEAMS = {"billing": "invoice", "delivery": "parcel", "repairs": "broken"}
"""Label → the word in a text that tells it."""
BERT = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": 64,
}  # fmt: skip
BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}


def bert_tokenizer(words):
    """Return a word tokenizer with BERT's special tokens."""
    tokenizer = _word_tokenizer([*BERT_TOKENS, *words], "[UNK]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), BERT_TOKENS, strict=True))
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **names)


def roberta_tokenizer(words):
    """Return a word tokenizer with the special tokens of RoBERTa and BART."""
    tokenizer = _word_tokenizer([*ROBERTA_TOKENS, *words], "<unk>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = dict(zip(("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), ROBERTA_TOKENS, strict=True))
    inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=inputs, bos_token="<s>", eos_token="</s>", **names
    )


def _word_tokenizer(words, unknown):
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def topic_rows(count, topics=None, short=6, long=14):
    """Return distinct (text, label): filler words among which one word tells the label."""
    topics = topics or TEAMS
    rng, labels, rows = random.Random(0), list(topics), []
    for number in range(count):
        label = labels[number % len(labels)]
        words = rng.choices(FILLER, k=rng.randint(short, long))
        words.insert(rng.randrange(len(words)), topics[label])
        rows.append((f"{' '.join(words)} n{number}", label))
    return rows


def label_settings(labels):
    """Return what a config says of its labels."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}


def learn(model, batch, targets, steps=600):
    """Train on everything at once until it is learnt."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(**batch, labels=targets).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if loss.item() < 0.01:
            break
    model.eval()
    assert loss.item() < 0.1, "the model did not learn its task"


def save_classifier(folder, rows, topics=None, make=None, tokenizer=None, drop=()):
    """Teach a model the rows and save it with its tokenizer; `make(vocabulary, settings)` returns it untrained."""
    topics = topics or TEAMS
    labels = list(topics)
    tokenizer = tokenizer or bert_tokenizer([*FILLER, *topics.values()])
    torch.manual_seed(0)
    settings = label_settings(labels)
    model = (make or _bert)(len(tokenizer), settings)
    texts = [text for text, _ in rows]
    batch = dict(tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt"))
    for name in drop:
        batch.pop(name)
    learn(model, batch, torch.tensor([labels.index(label) for _, label in rows]))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _bert(vocabulary, settings):
    return BertForSequenceClassification(BertConfig(vocab_size=vocabulary, **BERT, **settings))


def patches(colours=None, each=240):
    """Return noisy uint8 patches of 16 x 16, `each` of every colour, in that order."""
    colours = list((colours or COLOURS).values())
    base = np.repeat(np.array(colours), each, axis=0)[:, None, None, :]
    noise = np.random.default_rng(0).normal(0, 20, (len(base), 16, 16, base.shape[-1]))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def save_vit(folder, images, labels):
    """Teach a ViT which label goes with each of the images, in equal blocks, and save it with its processor."""
    channels = images.shape[-1]
    config = ViTConfig(
        image_size=16, patch_size=8, num_channels=channels, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **label_settings(labels),
    )  # fmt: skip
    torch.manual_seed(0)
    model = ViTForImageClassification(config)
    pixels = torch.tensor((images.astype(np.float32) / 255 - 0.5) / 0.5).permute(0, 3, 1, 2)
    each = len(images) // len(labels)
    learn(model, {"pixel_values": pixels}, torch.tensor([number // each for number in range(len(images))]))
    model.save_pretrained(folder)
    half = [0.5] * channels
    ViTImageProcessor(size={"height": 16, "width": 16}, image_mean=half, image_std=half).save_pretrained(folder)


def save_images(folder, images, labels, name=lambda label, number: f"{number:04}.png"):
    """Write the images, in equal blocks, into folders named by label."""
    each = len(images) // len(labels)
    for number, pixels in enumerate(images):
        label = labels[number // each]
        path = folder / label / name(label, number % each)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.squeeze()).save(path)


def write_csv(path, columns, rows, encoding="utf-8"):
    """Write a plain CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([columns, *rows])


def write_lines(path, rows):
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def edit_json(path, **changes):
    """Change keys of a JSON file; None removes one."""
    settings = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}), encoding="utf-8")
