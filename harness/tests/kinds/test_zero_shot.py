"""Zero-shot classification: a hypothesis for each label, one call a row, and the label that a text entails most."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_kinds import wordpieces
from transformers import BertConfig, BertForSequenceClassification, pipeline

from harness import checkpoint
from harness.contracts.kind import EncodedRows
from harness.contracts.sources import Folder, Local
from harness.data import splits
from harness.data.inputs import Inputs
from harness.errors import HarnessError
from harness.kinds import zero_shot_classification
from harness.kinds.zero_shot import SETTINGS, entailment_places
from harness.spec import Model, Recipe, Task
from harness.training import fit
from harness.training.folder_checks import heads
from harness.training.train import Workspace, fine_tune
from harness.util.console import Progress
from harness.util.store import Store

LABELS = ("london", "tony", "blair")
HEAD = ("entailment", "neutral", "contradiction")
TASK = Task(
    name="names", kind="zero-shot-classification", dataset=Folder("rows.csv"), inputs=("text",), label="name",
    metric="accuracy", also=("f1-macro",), test=6, validation=3, calibration=3,
)  # fmt: skip
MODEL = Model(name="mine", source=Local("model"))
TEXTS = [
    "where does he lives",
    "who is it in",
    "is it he who lives in",
    "it is",
    "does it",
    "he lives",
    "in",
    "where",
    "who does",
    "is he",
    "it lives",
    "he does",
    "who is",
    "where is he",
    "who lives",
    "in it is",
    "does he",
    "it",
]


@pytest.fixture
def suite(tmp_path):
    """A folder with rows and a model of random weights."""
    save(tmp_path, HEAD)
    rows = [f"{text},{LABELS[number % 3]}" for number, text in enumerate(TEXTS)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,name", *rows]))
    fit.check.cache_clear()
    return tmp_path


def save(folder, labels):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=17, **sizes, initializer_range=0.5, id2label=dict(enumerate(labels)))
    config.label2id = {label: number for number, label in enumerate(labels)}
    BertForSequenceClassification(config).save_pretrained(folder / "model")
    wordpieces().save_pretrained(folder / "model")


def prepared(folder, labels=LABELS, names=()):
    tokenizer = zero_shot_classification.load_processor(folder / "model")
    zero_shot_classification.prepare(tokenizer, labels, names)
    return tokenizer


def test_answers_are_those_of_the_pipeline(suite):
    tokenizer, rows = prepared(suite), [{"text": text, "label": 0} for text in TEXTS]
    encoded = EncodedRows(tokenizer, rows, ("text",), zero_shot_classification.encode(tokenizer, rows, ("text",), 32))
    inputs = Inputs(zero_shot_classification, encoded, LABELS)
    assert [3] * len(TEXTS) == inputs.entries(range(len(TEXTS)))
    model = BertForSequenceClassification.from_pretrained(suite / "model").eval()
    run = checkpoint.make_run(model, "cpu")
    answers = [LABELS[place] for place in inputs.predictions([run(inputs.batch([n])) for n in range(len(TEXTS))])]
    ask = pipeline("zero-shot-classification", model=model, tokenizer=wordpieces())
    assert [ask(text, list(LABELS))["labels"][0] for text in TEXTS] == answers
    assert 1 < len({*answers})


def test_checkpoint_keeps_the_hypotheses(suite):
    names = {f"it is {label}": label for label in reversed(LABELS)}
    out = suite / "out"
    out.mkdir()
    workspace = Workspace(folder=suite, store=Store(suite / "store", print), content="", threads=1, progress=Progress())
    split = splits.load(TASK, suite)
    info = fine_tune(TASK, replace(MODEL, labels=names), split, workspace, out)
    assert "order" not in info
    settings = zero_shot_classification.load_processor(out).init_kwargs[SETTINGS]
    assert {"entailment": 0, "hypotheses": [f"it is {label}" for label in split.labels]} == settings
    example = checkpoint.example(out)
    assert 6 == len(example["input_ids"])  # two rows
    encoded = EncodedRows(zero_shot_classification.load_processor(out), [], ("text",), [])
    assert "the hypotheses are 'it is blair'; 'it is london'; 'it is tony'" == zero_shot_classification.remark(
        out, encoded, []
    )


def test_default_hypothesis_is_that_of_the_pipeline(suite):
    texts = prepared(suite).init_kwargs[SETTINGS]["hypotheses"]
    assert ["This example is london.", "This example is tony.", "This example is blair."] == texts


@pytest.mark.parametrize(
    "names",
    [("london", "tony", "blair"), {"a": "london", "b": "tony"}, {"a": "london", "b": "tony", "c": "he"},
     {"a": "london", "b": "tony", "c": "blair", "d": "blair"}],
)  # fmt: skip
def test_hypotheses_must_be_one_for_each_label(suite, names):
    with pytest.raises(
        HarnessError, match=r"must map a hypothesis to each label, .*the labels are london, tony, blair"
    ):
        prepared(suite, names=names)


def test_preflight_takes_a_sound_model(suite):
    notes = fit.check(TASK, MODEL, suite)
    assert not [note for note in notes if "padding" in note]


def test_head_without_entailment_is_refused_before_anything_runs(suite):
    save(suite, ("bad", "fair", "good"))
    with pytest.raises(HarnessError, match=r"its head answers bad, fair, good; .* called entailment in id2label"):
        fit.check(TASK, MODEL, suite)
    assert [] == entailment_places(("not_entailment", "LABEL_1"))
    assert [1] == entailment_places(("not_entailment", "Entailment"))


def test_recipe_is_refused_by_a_better_kind(suite):
    with pytest.raises(HarnessError, match=r"leave recipe= out, or choose text-classification"):
        fit.check(TASK, replace(MODEL, recipe=Recipe(epochs=1)), suite)


def test_new_suggests_the_kind_for_entailment_alone(suite):
    assert ["text-classification", "zero-shot-classification"] == heads(suite / "model")[2]
    (suite / "model" / "README.md").write_text("---\npipeline_tag: zero-shot-classification\n---\n")
    assert ["zero-shot-classification"] == heads(suite / "model")[2]
    file = suite / "model" / "config.json"
    declared = json.loads(file.read_text()) | {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}
    file.write_text(json.dumps(declared))
    (suite / "model" / "README.md").unlink()
    assert ["text-classification"] == heads(suite / "model")[2]


def test_only_entailment_chooses_a_label(suite):
    encoded = EncodedRows(prepared(suite), [], ("text",), [])
    outputs = [{"logits": np.array([[1.0, 9.0, 0.0], [2.0, 0.0, 9.0], [2.0, 0.0, 0.0]])}]
    assert [1] == zero_shot_classification.predict(encoded, outputs)
