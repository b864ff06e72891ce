"""Inputs that users reported: each writes its files into a folder and returns its suite and what is right about it."""

import random
import shutil
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from toolbox import (
    BERT,
    COLOURS,
    FILLER,
    TEAMS,
    bert_tokenizer,
    edit_json,
    label_settings,
    learn,
    patches,
    roberta_tokenizer,
    save_classifier,
    save_images,
    save_vit,
    topic_rows,
    write_csv,
    write_lines,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Report:
    """A suite of one task and one model, and what must come of it."""

    dataset: str = "rows.csv"
    kind: str = "text-classification"
    inputs: tuple[str, ...] = ("text",)
    label: str | None = "team"
    metric: str = "accuracy"
    task: str = ""
    """Further arguments of Task."""
    source: str = "Local('model')"
    model: str = "max_length=60"
    """Further arguments of Model."""
    backend: str = ""
    """A lossy backend: which logits it falsifies, as a statement on `logits`."""
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    """Patterns that the output must hold, if the right answer is no; nothing must have been measured."""
    score: float | None = None
    """The reference's score, if the right answer is a measurement."""
    printed: tuple[str, ...] = ()
    """Patterns that the output of a measurement must hold."""
    verdicts: dict[str, str] = field(default_factory=dict)
    """Backend → its status and verdict, where they matter."""


REPORTS = {}


def report(build):
    """Register a function from a folder to its report."""
    REPORTS[build.__name__] = build
    return build


def write_teams(folder, rows=None, **settings):
    """Write ordinary rows and an ordinary model that knows them."""
    rows = rows or topic_rows(700)
    write_csv(folder / "rows.csv", ["text", "team"], rows)
    save_classifier(folder / "model", rows, **settings)


@report
def bart_pools_at_its_last_end_token(folder):
    from transformers import BartConfig, BartForSequenceClassification

    def bart(vocabulary, settings):
        config = BartConfig(
            vocab_size=vocabulary, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64, dropout=0.0,
            pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2, **settings,
        )  # fmt: skip
        return BartForSequenceClassification(config)

    # Long enough for probes to cut rows short.
    rows = topic_rows(700, short=12, long=30)
    write_teams(folder, rows, make=bart, tokenizer=roberta_tokenizer([*FILLER, *TEAMS.values()]))
    return Report(score=1.0, verdicts={"onnxruntime": "ok"})


@report
def photos_whose_names_begin_with_train(folder):
    labels = ["bus", "ship", "tram"]
    images = patches(dict(zip(labels, COLOURS.values(), strict=True)), 460)

    def name(label, number):  # 160 of bus, 160 of tram, none of ship
        return f"train-line-{number:03}.png" if label != "ship" and number >= 300 else f"IMG_{number:04}.png"

    save_images(folder / "photos", images, labels, name)
    save_vit(folder / "model", images, labels)
    return Report(dataset="photos", kind="image-classification", inputs=("image",), label="label", model="", score=1.0)


@report
def tsv_with_two_stray_quotes(folder):
    rows = topic_rows(1200)
    lines = [f"{text}\t{label}" for text, label in rows]
    lines[200] = '"' + lines[200]
    lines[800] = lines[800].replace(" ", '" ', 1)
    (folder / "rows.tsv").write_text("\n".join(["text\tteam", *lines]) + "\n")
    save_classifier(folder / "model", rows)
    return Report(dataset="rows.tsv", score=1.0)


def _labels_like_numbers(folder, topics):
    rows = topic_rows(900, topics)
    write_csv(folder / "rows.csv", ["text", "team"], rows)
    save_classifier(folder / "model", rows, topics)
    return Report(score=1.0)


@report
def labels_that_are_releases(folder):
    return _labels_like_numbers(folder, {"3.1": "alpha", "3.10": "beta", "3.9": "gamma"})


@report
def labels_that_are_codes(folder):
    return _labels_like_numbers(folder, {"01": "invoice", "02": "parcel", "03": "broken"})


@report
def three_text_inputs(folder):
    rng = random.Random(1)
    write_teams(folder)
    rows = [(rng.choice(FILLER), rng.choice(FILLER), text, label) for text, label in topic_rows(700)]
    write_csv(folder / "rows.csv", ["title", "body", "notes", "team"], rows)
    return Report(inputs=("title", "body", "notes"), refused=("title", "notes", "two|2"))


@report
def off_by_one_accuracy_of_words(folder):
    topics = {"poor": "awful", "fair": "okay", "good": "nice", "excellent": "superb"}
    rows = topic_rows(1000, topics)
    write_csv(folder / "rows.csv", ["text", "team"], rows)
    save_classifier(folder / "model", rows, topics)
    return Report(metric="off-by-one-accuracy", refused=("order=", "excellent"))


@report
def off_by_one_accuracy_with_an_order(folder):
    off_by_one_accuracy_of_words(folder)
    return Report(
        metric="off-by-one-accuracy",
        task="order=('poor', 'fair', 'good', 'excellent')",
        backend="hit = logits.argmax(axis=1) == 3; logits[hit, 1] = logits[hit, 3] + 1",  # fair instead of excellent
        score=1.0,
        verdicts={"falsified": "worse"},
    )


@report
def entity_tags_without_prefix(folder):
    from transformers import BertConfig, BertForTokenClassification

    names = {"PERSON": ["anna", "bert", "carla", "dan", "erik"], "ORG": ["acme", "globex", "initech", "hooli", "wonka"]}
    tags, rng, rows = ["O", "ORG", "PERSON"], random.Random(0), []
    for number in range(700):
        words = [*rng.choices(FILLER, k=rng.randint(8, 14)), f"n{number}"]
        row = {"words": words, "team": ["O"] * len(words)}
        for place, tag in zip(rng.sample(range(len(words) - 1), 2), names, strict=True):
            row["words"][place], row["team"][place] = rng.choice(names[tag]), tag
        rows.append(row)
    write_lines(folder / "rows.jsonl", rows)
    tokenizer = bert_tokenizer([*FILLER, *names["PERSON"], *names["ORG"]])
    torch.manual_seed(0)
    model = BertForTokenClassification(BertConfig(vocab_size=len(tokenizer), **BERT, **label_settings(tags)))
    encoded = tokenizer([row["words"] for row in rows], is_split_into_words=True, padding=True, return_tensors="pt")
    targets = torch.full(encoded["input_ids"].shape, -100)
    for number, row in enumerate(rows):
        for place, word in enumerate(encoded.word_ids(number)):
            if word is not None:
                targets[number, place] = tags.index(row["team"][word])
    learn(model, dict(encoded), targets)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return Report(
        dataset="rows.jsonl",
        kind="token-classification",
        inputs=("words",),
        metric="entity-f1",
        backend="hit = logits.argmax(axis=-1) == 1; logits[hit, 0] = logits[hit, 1] + 1",  # none of the firms
        score=1.0,
        printed=("bare tags", "never answers 'ORG'"),
        verdicts={"falsified": "worse"},
    )


@report
def texts_that_hold_a_mask_already(folder):
    from transformers import BertConfig, BertForMaskedLM

    rows = [{"text": f"[MASK] {text}"} for text, _ in topic_rows(700)]
    write_lines(folder / "rows.jsonl", rows)
    tokenizer = bert_tokenizer([*FILLER, *TEAMS.values()])
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **BERT)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return Report(
        dataset="rows.jsonl", kind="fill-mask", label=None, metric="top-1", refused=(r"\[MASK\]", "row 0|first")
    )


@report
def tokenizer_saved_by_transformers_5(folder):
    write_teams(folder)
    edit_json(folder / "model/tokenizer_config.json", tokenizer_class="TokenizersBackend", backend="tokenizers")
    edit_json(folder / "model/config.json", transformers_version="5.2.0", dtype="float32", torch_dtype=None)
    return Report(score=1.0, verdicts={"onnxruntime": "ok"})


@report
def tokens_that_forward_does_not_take(folder):
    from transformers import BertTokenizerFast, DistilBertConfig, DistilBertForSequenceClassification

    def distilbert(vocabulary, settings):
        config = DistilBertConfig(
            vocab_size=vocabulary, dim=32, n_layers=1, n_heads=2, hidden_dim=64, max_position_embeddings=64,
            dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, **settings,
        )  # fmt: skip
        return DistilBertForSequenceClassification(config)

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *FILLER, *TEAMS.values()]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    write_teams(folder, make=distilbert, tokenizer=tokenizer, drop=("token_type_ids",))
    return Report(score=1.0, printed=("token_type_ids",), verdicts={"onnxruntime": "ok"}, options=("-v",))


@report
def one_text_with_two_labels(folder):
    labels, rows = list(TEAMS), topic_rows(700)
    save_classifier(folder / "model", rows)
    pairs = [(text, team) for text, label in rows for team in (labels[labels.index(label) - 1], label)]
    write_csv(folder / "rows.csv", ["text", "team"], pairs)
    return Report(refused=("700", "different labels|several labels|two labels"))


@report
def backend_that_never_answers_a_rare_label(folder):
    topics = {"fault": "smoke", "normal": "steady"}
    rows = topic_rows(3000, {"normal": "steady"})
    rows = [
        (t.replace("steady", "smoke"), "fault") if n % 100 == 0 else (t, label) for n, (t, label) in enumerate(rows)
    ]
    write_csv(folder / "rows.csv", ["text", "team"], rows)
    save_classifier(folder / "model", rows[:600] + rows[::100] * 10, topics)
    return Report(
        task="also=('f1-macro',)", backend="logits[:, 1] += 100", score=1.0,
        verdicts={"falsified": "undecided"}, printed=("never answers 'fault'", "few test rows for 'fault'"),
    )  # fmt: skip


@report
def model_type_that_optimum_does_not_export(folder):
    from transformers import ErnieConfig, ErnieForSequenceClassification

    write_teams(folder, make=lambda size, settings: ErnieForSequenceClassification(
        ErnieConfig(vocab_size=size, **BERT, **settings)
    ))  # fmt: skip
    printed = ("exported by OnnxExporter", "because Optimum exports no model of the type ernie")
    return Report(score=1.0, verdicts={"onnxruntime": "ok"}, printed=printed, options=("-v",))


def _photos(folder):
    labels = list(COLOURS)
    images = patches()
    save_images(folder / "photos", images, labels)
    save_vit(folder / "model", images, labels)


PHOTOS = {"dataset": "photos", "kind": "image-classification", "inputs": ("image",), "label": "label", "model": ""}


@report
def image_processor_of_2021(folder):
    _photos(folder)
    processor = folder / "model/preprocessor_config.json"
    edit_json(processor, image_processor_type=None, feature_extractor_type="ViTFeatureExtractor")
    return Report(**PHOTOS, score=1.0, verdicts={"onnxruntime": "ok"})


@report
def image_processor_of_2022(folder):
    _photos(folder)
    edit_json(folder / "model/preprocessor_config.json", image_processor_type="ViTFeatureExtractor")
    return Report(**PHOTOS, score=1.0)


@report
def photos_that_are_cut_short(folder):
    _photos(folder)
    for number in range(0, 240, 10):
        path = folder / f"photos/green/{number:04}.png"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return Report(**PHOTOS, refused=("green/0000.png", "24"))


@report
def rows_in_latin_1(folder):
    write_teams(folder)
    rows = [(f"{text} Grüße", label) for text, label in topic_rows(700)]
    write_csv(folder / "rows.csv", ["text", "team"], rows, encoding="latin-1")
    return Report(refused=("rows.csv", "line 2", "encoding="))


@report
def row_with_too_many_fields(folder):
    write_teams(folder)
    lines = (folder / "rows.csv").read_text().splitlines()
    lines[401] = lines[401].replace(" ", ", ", 2)
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return Report(refused=("rows.csv", "line 402", "4"))


@report
def rows_that_are_a_pointer(folder):
    write_teams(folder)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"
    (folder / "rows.parquet").write_text(pointer)
    return Report(dataset="rows.parquet", refused=("rows.parquet", "git lfs pull"))


NATIVE_MODULE = """
import torch
from torch import Tensor, nn
from torch.nn import functional as F

class Module(nn.Module):
    def __init__(self, vocab_size: int, num_labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 32)
        self.norm = nn.BatchNorm1d(32)
        self.classifier = nn.Linear(32, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.to(torch.float32)[:, :, None]
        mean = (self.embedding(input_ids) * mask).sum(1) / mask.sum(1).clamp(min=1)
        return self.classifier({})
"""
NATIVE = {
    "source": "Native('module.py:Module')",
    "model": "recipe=Recipe(loop='native', epochs=25, learning_rate=5e-2)",
}


@report
def dropout_that_stays_on(folder):
    write_csv(folder / "rows.csv", ["text", "team"], topic_rows(1000))
    (folder / "module.py").write_text(NATIVE_MODULE.replace("{}", "F.dropout(mean, 0.3)"))
    return Report(**NATIVE, refused=("the model mine itself is random", "asked again", "dropout"))


@report
def batch_norm_and_a_last_batch_of_one_row(folder):
    write_csv(folder / "rows.csv", ["text", "team"], topic_rows(500 + 16 * 12 + 1))
    (folder / "module.py").write_text(NATIVE_MODULE.replace("{}", "self.norm(mean)"))
    return Report(**NATIVE, score=1.0, verdicts={"onnxruntime": "ok"})


@report
def images_of_16_bits(folder):
    labels = ["bone", "fat", "muscle"]
    levels = {"bone": (50_000,), "fat": (15_000,), "muscle": (30_000,)}
    base = np.repeat(np.array(list(levels.values())), 240, axis=0)[:, None, None, :]
    noise = np.random.default_rng(0).normal(0, 4000, (720, 16, 16, 1))
    scans = np.clip(base + noise, 300, 65_535).astype(np.uint16)
    for number, scan in enumerate(scans):
        path = folder / "photos" / labels[number // 240] / f"{number % 240:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scan.squeeze()).save(path)
    save_vit(folder / "model", np.repeat((scans >> 8).astype(np.uint8), 3, axis=3), labels)
    return Report(**PHOTOS, score=1.0, printed=("16",))


@report
def results_that_cannot_be_written(folder):
    write_teams(folder)
    return Report(options=("--ship-results", "/dev/null/results"), refused=("/dev/null/results", "--ship-results"))


@report
def max_length_beyond_the_positions(folder):
    from transformers import RobertaConfig, RobertaForSequenceClassification

    def roberta(vocabulary, settings):
        sizes = BERT | {"max_position_embeddings": 66}
        config = RobertaConfig(
            vocab_size=vocabulary,
            **sizes,
            type_vocab_size=1,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            **settings,
        )
        return RobertaForSequenceClassification(config)

    rows = topic_rows(700)
    write_teams(folder, rows, make=roberta, tokenizer=roberta_tokenizer([*FILLER, *TEAMS.values()]))
    long = [(f"{text} {' '.join(FILLER)} {' '.join(FILLER)}", label) for text, label in rows[::100]]
    write_csv(folder / "rows.csv", ["text", "team"], [*rows, *long])
    return Report(model="max_length=128", refused=("max_length", "128", "64"))


@report
def brackets_in_the_path(folder):
    write_teams(folder)
    (folder / "[draft] v1").mkdir()
    shutil.move(folder / "rows.csv", folder / "[draft] v1/rows.csv")
    write_csv(folder / "d/rows.csv", ["text", "team"], [("wrong file", "billing"), ("wrong too", "repairs")] * 300)
    return Report(dataset="[draft] v1", score=1.0)


@report
def label_folder_in_underscores(folder):
    labels = ["__bird__", "cat", "dog"]
    images = patches()
    save_images(folder / "photos", images, labels)
    save_vit(folder / "model", images, labels)
    return Report(**PHOTOS, score=1.0)


@report
def stray_image_beside_the_labels(folder):
    _photos(folder)
    Image.fromarray(patches()[0]).save(folder / "photos/preview.png")
    return Report(**PHOTOS, refused=("preview.png",))


@report
def colour_photos_for_a_model_of_one_channel(folder):
    _photos(folder)
    grey = patches({"dark": (50,), "mid": (125,), "light": (200,)})
    save_vit(folder / "model", grey, list(COLOURS))
    return Report(**PHOTOS, refused=("channel", "1", "3"))


@report
def cache_that_cannot_be_written(folder):
    write_teams(folder)
    return Report(environment={"HF_HOME": "/dev/null/hf"}, refused=("/dev/null/hf", "HF_HOME"))


@report
def weights_as_pickle_beside_a_foreign_file(folder):
    write_teams(folder)
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model/model.safetensors")
    torch.save(weights, folder / "model/pytorch_model.bin")
    (folder / "model/model.safetensors").unlink()
    save_file({"other": torch.zeros(1)}, folder / "model/extra.safetensors", metadata={"format": "pt"})
    return Report(score=1.0, verdicts={"onnxruntime": "ok"})


@report
def head_with_one_logit(folder):
    write_teams(folder)
    from transformers import BertConfig, BertForSequenceClassification

    shutil.rmtree(folder / "model")
    tokenizer = bert_tokenizer(FILLER)
    config = BertConfig(vocab_size=len(tokenizer), **BERT, num_labels=1)
    BertForSequenceClassification(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return Report(refused=("one|1", "num_labels|output|logit"))


@report
def native_module_that_returns_a_tuple(folder):
    write_csv(folder / "rows.csv", ["text", "team"], topic_rows(700))
    (folder / "module.py").write_text(NATIVE_MODULE.replace("self.classifier({})", "(self.classifier(mean),)"))
    return Report(**NATIVE, score=1.0, verdicts={"onnxruntime": "ok"})


@report
def native_module_that_branches_on_values(folder):
    write_csv(folder / "rows.csv", ["text", "team"], topic_rows(700))
    code = NATIVE_MODULE.replace("{}", "mean if mean.sum() > 0 else mean * 1.0")
    (folder / "module.py").write_text(code)
    return Report(**NATIVE, score=1.0, verdicts={"onnxruntime": "unsupported"})
