"""The repositories that the Hub suites read, by their true names, in their true layout and schema, holding toys."""

import io
import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from hubserver import Server
from PIL import Image as Picture
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    MarianConfig,
    MarianMTModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaTokenizerFast,
)

WORDS = ("good", "bad", "meal", "place", "again", "never", "came", "went", "fine", "awful")
STARS = ("1 star", "2 star", "3 stars", "4 stars", "5 stars")
SORTS = (
    "Company", "EducationalInstitution", "Artist", "Athlete", "OfficeHolder", "MeanOfTransportation", "Building",
    "NaturalPlace", "Village", "Animal", "Plant", "Album", "Film", "WrittenWork",
)  # fmt: skip
IMAGENETTE = {
    "tench": "tench, Tinca tinca",
    "English springer": "English springer, English springer spaniel",
    "cassette player": "cassette player",
    "chain saw": "chain saw, chainsaw",
    "church": "church, church building",
    "French horn": "French horn, horn",
    "garbage truck": "garbage truck, dustcart",
    "gas pump": "gas pump, gasoline pump, petrol pump, island dispenser",
    "golf ball": "golf ball",
    "parachute": "parachute, chute",
}
"""The set's labels, and what ImageNet calls them."""
SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip


def fill(server: Server) -> None:
    """Every repository, each at the commit that its suite pins."""
    for name, commit, files in (
        ("AI-Lab-Makerere/beans", "27aa014ce09b193e1a6f58112d4a66e0eddb69c5", beans()),
        ("nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c", mrpc()),
        ("Yelp/yelp_review_full", "c1f9ee939b7d05667af864ee1cb066393154bf85", yelp()),
        ("fancyzhx/dbpedia_14", "9abd46cf7fc8b4c64290f26993c540b92aa145ac", dbpedia()),
        ("frgfm/imagenette", "823b9fdada70ebfa6486d411b6d9f2cb96cb9117", imagenette()),
        ("Helsinki-NLP/opus-100", "cf21cf4f88c8bb6bcad8cc4fc62a977e24639c6c", opus()),
    ):
        server.put("dataset", name, commit, files)
    for name, commit, files in (
        ("google/vit-base-patch16-224-in21k", "b4569560a39a0f1af58e3ddaf17facf20ab919b0", vit()),
        ("distilbert/distilroberta-base", "fb53ab8802853c8e4fbdbcd0529f21fc6f459b2b", roberta()),
        ("google-bert/bert-base-cased", "cd5ef92a9fb2f889e972770a36d4ed042daf221e", bert()),
        ("nlptown/bert-base-multilingual-uncased-sentiment", "f4067398d9230016de89fc62c43e4ba42c349c72", nlptown()),
        ("google/vit-base-patch16-224", "3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3", imagenet()),
        ("FacebookAI/xlm-roberta-base", "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089", xlm_roberta()),
        ("Helsinki-NLP/opus-mt-es-en", "c96e2c5399ebfae4fc43d9669556b9afa74bb69d", marian()),
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


def imagenette() -> dict[str, bytes]:
    features = Features({"image": Image(), "label": ClassLabel(names=list(IMAGENETTE))})

    def rows(count: int, seed: int) -> dict[str, list[Any]]:
        dice = np.random.default_rng(seed)
        labels = [number % 10 for number in range(count)]
        return {"image": [_picture(label % 3, dice) for label in labels], "label": labels}

    return _converted(features, {"train": rows(500, 0), "validation": rows(1100, 1)}, "320px", "full_size")


def opus() -> dict[str, bytes]:
    features = Features({"translation": {"en": Value("string"), "es": Value("string")}})

    def rows(count: int, seed: int) -> dict[str, list[Any]]:
        english = _texts(count, np.random.default_rng(seed))
        return {"translation": [{"en": text, "es": _spanish(f"{text} {seed}")} for text in english]}

    return _converted(features, {"train": rows(500, 0), "validation": rows(250, 1), "test": rows(1100, 2)}, "en-es")


def _spanish(text: str) -> str:
    return " ".join(f"{word}o" for word in text.split())


def _texts(count: int, dice: np.random.Generator) -> list[str]:
    """Sentences of which hardly two are alike."""
    return [" ".join(dice.choice(WORDS, 12)) + f" {number}" for number in range(count)]


def _converted(features: Features, parts: Mapping[str, dict[str, list[Any]]], *configs: str) -> dict[str, bytes]:
    """Parquet on the branch of the Hub's own conversion: a folder a configuration, a folder a split, no card."""
    files = {}
    for config in configs:
        for split, rows in parts.items():
            out = io.BytesIO()
            Dataset.from_dict(rows, features=features).to_parquet(out)
            files[f"{config}/{split}/0000.parquet"] = out.getvalue()
    return {".gitattributes": b"", **files}


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


def imagenet() -> dict[str, bytes]:
    """A model of a thousand labels, ten of which the pictures have."""
    torch.manual_seed(0)
    names = dict(enumerate([*IMAGENETTE.values(), *(f"something else, {number}" for number in range(990))]))
    labels = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    model = ViTForImageClassification(ViTConfig(**SMALL, **labels, image_size=32, patch_size=16))
    return _saved(model, ViTImageProcessor(size={"height": 32, "width": 32}))


def xlm_roberta() -> dict[str, bytes]:
    torch.manual_seed(0)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([*_texts(500, np.random.default_rng(0)), *SORTS], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    words = XLMRobertaTokenizerFast(tokenizer_object=tokenizer)
    config = XLMRobertaConfig(**SMALL, vocab_size=len(words), max_position_embeddings=514, type_vocab_size=1)
    return _saved(XLMRobertaForMaskedLM(config), words)


def marian() -> dict[str, bytes]:
    """Weights as a pickle alone, as translation models of that age have them."""
    torch.manual_seed(0)
    texts = _texts(500, np.random.default_rng(0))
    files = {"source.spm": _sentencepieces([_spanish(text) for text in texts]), "target.spm": _sentencepieces(texts)}
    pieces = {"</s>": 0, "<unk>": 1}
    for content in files.values():
        known = sentencepiece.SentencePieceProcessor(model_proto=content)
        for number in range(known.get_piece_size()):
            pieces.setdefault(known.id_to_piece(number), len(pieces))
    pieces["<pad>"] = len(pieces)
    files["vocab.json"] = json.dumps(pieces).encode()
    files["tokenizer_config.json"] = json.dumps(
        {"source_lang": "es", "target_lang": "en", "tokenizer_class": "MarianTokenizer", "model_max_length": 512}
    ).encode()
    config = MarianConfig(
        vocab_size=len(pieces), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=512,
        pad_token_id=pieces["<pad>"], eos_token_id=0, decoder_start_token_id=pieces["<pad>"], forced_eos_token_id=0,
    )  # fmt: skip
    model = MarianMTModel(config)
    model.generation_config.update(max_length=12, num_beams=2, bad_words_ids=[[pieces["<pad>"]]])
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        (Path(folder) / "model.safetensors").unlink()
        torch.save(model.state_dict(), Path(folder) / "pytorch_model.bin")
        return files | {path.name: path.read_bytes() for path in _files(Path(folder))}


def _sentencepieces(texts: list[str]) -> bytes:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=out, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    return out.getvalue()


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
