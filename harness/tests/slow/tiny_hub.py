"""The repositories that the Hub suites read, by their true names, in their true layout and schema, holding toys."""

import io
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from hubserver import Server
from PIL import Image as Picture
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

WORDS = ("good", "bad", "meal", "place", "again", "never", "came", "went", "fine", "awful")
STARS = ("1 star", "2 star", "3 stars", "4 stars", "5 stars")
SORTS = (
    "Company", "EducationalInstitution", "Artist", "Athlete", "OfficeHolder", "MeanOfTransportation", "Building",
    "NaturalPlace", "Village", "Animal", "Plant", "Album", "Film", "WrittenWork",
)  # fmt: skip
SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
NOBODY = "0" * 40
"""Commit of the repository of which no commit is known."""


def fill(server: Server) -> None:
    """Every repository, each at the commit that its suite pins."""
    for name, commit, files in (
        ("AI-Lab-Makerere/beans", NOBODY, beans()),
        ("nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c", mrpc()),
        ("Yelp/yelp_review_full", "c1f9ee939b7d05667af864ee1cb066393154bf85", yelp()),
        ("fancyzhx/dbpedia_14", "9abd46cf7fc8b4c64290f26993c540b92aa145ac", dbpedia()),
    ):
        server.put("dataset", name, commit, files)
    for name, commit, files in (
        ("google/vit-base-patch16-224-in21k", "b4569560a39a0f1af58e3ddaf17facf20ab919b0", vit()),
        ("distilbert/distilroberta-base", "fb53ab8802853c8e4fbdbcd0529f21fc6f459b2b", roberta()),
        ("google-bert/bert-base-cased", "cd5ef92a9fb2f889e972770a36d4ed042daf221e", bert()),
        ("nlptown/bert-base-multilingual-uncased-sentiment", "f4067398d9230016de89fc62c43e4ba42c349c72", nlptown()),
    ):
        server.put("model", name, commit, files)


# Datasets


def beans() -> dict[str, bytes]:
    names = ["angular_leaf_spot", "bean_rust", "healthy"]
    features = Features({"image_file_path": Value("string"), "image": Image(), "labels": ClassLabel(names=names)})

    def rows(count: int, seed: int) -> dict[str, list[Any]]:
        dice = np.random.default_rng(seed)
        labels = [number % 3 for number in range(count)]
        pictures = [_picture(label, dice) for label in labels]
        return {"image_file_path": [f"{n}.jpg" for n in range(count)], "image": pictures, "labels": labels}

    parts = {"train": rows(1034, 0), "validation": rows(133, 1), "test": rows(128, 2)}
    return _dataset("default", "data", features, parts)


def _picture(label: int, dice: np.random.Generator) -> Any:
    pixels = dice.integers(0, 80, (20, 20, 3), dtype=np.uint8)
    pixels[:, :, label] += 150
    return Picture.fromarray(pixels)


def mrpc() -> dict[str, bytes]:
    names = ["not_equivalent", "equivalent"]
    features = Features(
        {
            "sentence1": Value("string"),
            "sentence2": Value("string"),
            "label": ClassLabel(names=names),
            "idx": Value("int32"),
        }
    )

    def rows(count: int, seed: int) -> dict[str, list[Any]]:
        dice = np.random.default_rng(seed)
        first, second = _texts(count, dice), _texts(count, dice)
        labels = [number % 2 for number in range(count)]
        return {
            "sentence1": first,
            "sentence2": [f"{first[n]} indeed" if label else second[n] for n, label in enumerate(labels)],
            "label": labels,
            "idx": list(range(count)),
        }

    parts = {"train": rows(900, 0), "validation": rows(408, 1), "test": rows(600, 2)}
    return _dataset("mrpc", "mrpc", features, parts)


def yelp() -> dict[str, bytes]:
    features = Features({"label": ClassLabel(names=list(STARS)), "text": Value("string")})
    return _dataset(
        "yelp_review_full", "yelp_review_full", features, {"train": _starred(2000, 0), "test": _starred(1200, 1)}
    )


def _starred(count: int, seed: int) -> dict[str, list[Any]]:
    labels = [number % 5 for number in range(count)]
    texts = _texts(count, np.random.default_rng(seed))
    return {"label": labels, "text": [f"{label} {text}" for label, text in zip(labels, texts, strict=True)]}


def dbpedia() -> dict[str, bytes]:
    features = Features({"label": ClassLabel(names=list(SORTS)), "title": Value("string"), "content": Value("string")})

    def rows(count: int, seed: int) -> dict[str, list[Any]]:
        labels = [number % 14 for number in range(count)]
        texts = _texts(count, np.random.default_rng(seed))
        return {
            "label": labels,
            "title": [f"{seed} {number}" for number in range(count)],
            "content": [f"a {SORTS[label]} {text}" for label, text in zip(labels, texts, strict=True)],
        }

    return _dataset("dbpedia_14", "dbpedia_14", features, {"train": rows(101_000, 0), "test": rows(5_600, 1)})


def _texts(count: int, dice: np.random.Generator) -> list[str]:
    """Sentences of which hardly two are alike."""
    return [" ".join(dice.choice(WORDS, 12)) + f" {number}" for number in range(count)]


def _dataset(
    config: str, folder: str, features: Features, parts: Mapping[str, dict[str, list[Any]]]
) -> dict[str, bytes]:
    """Parquet as the Hub's own conversion writes it, and the card that names it."""
    card = ["---", "configs:", f"- config_name: {config}", "  data_files:"]
    files = {}
    for split, rows in parts.items():
        out = io.BytesIO()
        Dataset.from_dict(rows, features=features).to_parquet(out)
        files[f"{folder}/{split}-00000-of-00001.parquet"] = out.getvalue()
        card += [f"  - split: {split}", f"    path: {folder}/{split}-*"]
    return {"README.md": "\n".join([*card, "---", ""]).encode(), ".gitattributes": b"", **files}


# Models


def vit() -> dict[str, bytes]:
    torch.manual_seed(0)
    model = ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=16))
    return _saved(model, ViTImageProcessor(size={"height": 32, "width": 32}))


def roberta() -> dict[str, bytes]:
    torch.manual_seed(0)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(WORDS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        cls_token="<s>", sep_token="</s>", mask_token="<mask>", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    config = RobertaConfig(**SMALL, vocab_size=len(words), max_position_embeddings=514, type_vocab_size=1)
    return _saved(RobertaForMaskedLM(config), words)


def bert() -> dict[str, bytes]:
    torch.manual_seed(0)
    words = _wordpieces(lower=False)
    return _saved(BertForMaskedLM(BertConfig(**SMALL, vocab_size=len(words))), words)


def nlptown() -> dict[str, bytes]:
    """A model of stars that reads the first word of a review."""
    torch.manual_seed(0)
    words = _wordpieces(lower=True)
    names = {0: "1 star", 1: "2 stars", 2: "3 stars", 3: "4 stars", 4: "5 stars"}
    config = BertConfig(**SMALL, vocab_size=len(words), id2label=names, label2id={v: k for k, v in names.items()})
    model = BertForSequenceClassification(config)
    rows = _starred(400, 2)
    batch = words(rows["text"], padding=True, return_tensors="pt")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        model(**batch, labels=torch.tensor(rows["label"])).loss.backward()
        optimizer.step()
    return _saved(model, words)


def _wordpieces(lower: bool) -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*WORDS, *map(str, range(100))], trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def _saved(*parts: Any) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            part.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in _files(Path(folder))}


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file())
