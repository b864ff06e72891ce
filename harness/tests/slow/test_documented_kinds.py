"""The suites in the documents that are about texts, on tiny models, from rows to verdicts."""

import random
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from documented import documented_suite, run_suites
from tiny_writers import save_writer
from transformers import BertConfig, BertForSequenceClassification, BertModel

from conftest import REPOSITORY, Once, Run, Toy
from harness.commands import cli
from harness.kinds.common import word_tokenizer
from harness.verdicts.accuracy import score_drop

pytest_plugins = "pytester"

SUITES = ("complaints", "similarity", "replies", "minutes", "quiz", "requests", "churn")
LABELS = {"late": "waited", "rude": "shouted", "urgent": "now"}
FLOAT = ("pytorch", "onnxruntime", "onnxruntime-o2")
ROWS = 1500


def complaints() -> pd.DataFrame:
    rng, rows = random.Random(0), []
    for number in range(ROWS):
        own = [label for label in LABELS if rng.random() < 0.4]
        words = [*(LABELS[label] for label in own), "please", str(number)]
        rows.append({"text": " ".join(rng.sample(words, len(words)))} | {label: int(label in own) for label in LABELS})
    return pd.DataFrame(rows)


def pairs() -> pd.DataFrame:
    """Pairs whose score is how often a word of the first is in the second, but for some noise."""
    rng, rows = random.Random(0), []
    for number in range(ROWS):
        degree = rng.randrange(6)
        words = ["alike"] * degree + ["apart"] * (5 - degree)
        second, noise = " ".join(rng.sample(words, 5)), rng.gauss(0, 0.1)
        rows.append({"first": f"alike {number}", "second": second, "score": round(degree + noise, 2)})
    return pd.DataFrame(rows)


def replies() -> pd.DataFrame:
    words = {"parcel": "we look for it", "invoice": "we send another", "price": "it is the same"}
    rows = [{"ticket": f"{number} {word}:", "reply": words[word]} for number, word in enumerate([*words] * 200)]
    return pd.DataFrame(rows)


def quiz() -> pd.DataFrame:
    """Questions with two to four choices, one of which is a bird; every other label is its place."""
    rng, rows = random.Random(0), []
    for number in range(ROWS):
        choices = rng.sample(["cat", "dog", "cow", "fox", "bee", "ant"], rng.choice((2, 3, 4)))
        place = rng.randrange(len(choices))
        choices[place] = rng.choice(["owl", "hen", "crow", "swan"])
        label = str(place) if number % 2 else choices[place]
        rows.append({"question": f"{number} which has wings", "choices": choices, "answer": label})
    return pd.DataFrame(rows)


def churn() -> pd.DataFrame:
    rng = random.Random(0)
    rows = [(rng.randrange(1, 60), round(rng.uniform(5, 90), 2), rng.randrange(9)) for _ in range(ROWS)]
    left = ["yes" if price / 90 + calls / 9 > months / 60 + 0.5 else "no" for months, price, calls in rows]
    return pd.DataFrame(rows, columns=["months", "price", "calls"]).assign(left=left)


TEAMS = {
    "billing": ("invoice", "price", "refund"),
    "delivery": ("late", "lorry", "parcel"),
    "repairs": ("broken", "screen", "crack"),
}


def requests(rows: int) -> pd.DataFrame:
    rng = random.Random(0)
    teams = [rng.choice([*TEAMS]) for _ in range(rows)]
    words = [[str(number), "please", "help", *rng.sample(TEAMS[team], 2)] for number, team in enumerate(teams)]
    return pd.DataFrame({"text": [" ".join(rng.sample(own, 5)) for own in words], "team": teams})


def save_entailment(folder: Path) -> None:
    """Save a model that has learnt which team a request is about."""
    rng, rows, steps = random.Random(0), requests(64 * 200), 200
    hypotheses = [f"This message is about {team}." for team in TEAMS]
    tokenizer = word_tokenizer([*rows["text"][:200], *hypotheses * 50], 40)
    torch.manual_seed(0)
    labels = dict(enumerate(("contradiction", "neutral", "entailment")))
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=128, pad_token_id=0, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        initializer_range=0.2, id2label=labels, label2id={name: number for number, name in labels.items()},
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(steps):
        part = rows[64 * step : 64 * step + 64]
        asked = [rng.randrange(3) if rng.random() < 0.5 else [*TEAMS].index(team) for team in part["team"]]
        pairs = tokenizer([*part["text"]], [hypotheses[team] for team in asked], padding=True, return_tensors="pt")
        truths = [2 if [*TEAMS][place] == team else 0 for place, team in zip(asked, part["team"], strict=True)]
        model(**pairs, labels=torch.tensor(truths)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for one in (model, tokenizer):
        one.save_pretrained(folder / "my-nli")


def minutes() -> pd.DataFrame:
    rng = random.Random(0)
    parts = ("we met at noon", "nobody was late", "the budget is agreed")
    return pd.DataFrame([{"text": f"{number}: {' and '.join(rng.choices(parts, k=2))}"} for number in range(600)])


def write(folder: Path) -> None:
    """Write rows, and two models that have learnt nothing, one of them without a head."""
    tables = {"complaints": complaints(), "pairs": pairs(), "replies": replies(), "minutes": minutes()}
    tables |= {"requests": requests(ROWS), "churn": churn()}
    shutil.copy(REPOSITORY / "suites" / "models" / "perceptron.py", folder)
    save_writer(folder / "my-llama", positions=512)
    save_entailment(folder)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    quiz().to_json(folder / "quiz.jsonl", orient="records", lines=True)
    asked = quiz().sample(200, random_state=0)
    words = [*asked["question"], *(choice for choices in asked["choices"] for choice in choices)]
    tokenizer = word_tokenizer([*tables["complaints"]["text"], *tables["pairs"]["second"], "alike", *words], 60)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128, pad_token_id=0, hidden_dropout_prob=0.0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder / "my-bert")
    tokenizer.save_pretrained(folder / "my-bert")


@pytest.fixture
def ran(once: Once) -> tuple[Toy, Run]:
    # Weights that were never trained need larger steps.
    changes = {"epochs=3": "epochs=16, learning_rate=5e-3"}
    suites = {f"test_{task}.py": documented_suite(task.capitalize(), changes) for task in SUITES}
    return run_suites(once, "kinds", write, suites)


@pytest.mark.parametrize("task", SUITES)
def test_documented_suite_reaches_verdicts(ran, task):
    toy, run = ran
    assert 0 == run.status, run.text
    results = {result.backend: result for result in toy.results.values() if result.task == task}
    assert {*FLOAT, "onnxruntime-int8"} <= set(results)
    unsupported = {"onnxruntime-o2", "onnxruntime-o2-int8"} if task == "churn" else set()  # of a native module
    assert unsupported == {name for name, result in results.items() if result.status == "unsupported"}
    measured = {name: result for name, result in results.items() if name not in unsupported}
    assert {"ok"} == {result.status for result in measured.values()}
    scores = [measured[backend].answers.score for backend in FLOAT if backend in measured]
    assert max(scores) - min(scores) < 1e-3
    for backend, result in measured.items():
        drop = score_drop(result)
        assert drop.low <= 0 <= drop.high, backend
        assert result.answers.largest_difference < (1e-3 if backend in FLOAT else 1.0)


def test_labels_are_learnt_and_counted_one_by_one(ran):
    toy, _ = ran
    answers = toy.results["complaints/mine.onnxruntime-int8.cpu"].answers
    assert 0.9 < answers.score
    assert {*LABELS} == {label.label for label in answers.labels}
    assert all(label.rows > 100 for label in answers.labels)


def test_tables_name_the_unit_of_drops(ran):
    toy, run = ran
    text = (toy.folder / "results" / "local" / "comparison.md").read_text()
    labels, numbers = text.split("## replies")[0], text.split("## similarity")[1]
    assert "| drop (points) " in labels.replace("  ", "")
    assert "| drop (mae) " in numbers.replace("  ", "")
    assert "points" not in numbers
    table = pd.read_csv(toy.folder / "results" / "local" / "comparison.csv").set_index("task")
    assert {1.5} == {*table.loc["similarity", "max_score"]}
    assert table.loc["complaints", "max_score"].isna().all()
    assert "similarity/mine " in run.text


def test_numbers_are_learnt(ran):
    toy, _ = ran
    answers = toy.results["similarity/mine.pytorch.cpu"].answers
    assert answers.score < 0.6
    assert 0.9 < answers.other_scores["pearson"]
    assert 0.9 < answers.other_scores["spearman"]


def test_written_text_has_figures_of_its_tokens(ran):
    toy, _ = ran
    table = pd.read_csv(toy.folder / "results" / "local" / "comparison.csv").set_index(["task", "backend", "batch"])
    rows = table.loc["replies"].xs(1, level="batch")
    assert rows["first_token_ms"].gt(0).all()
    assert rows["token_ms"].gt(0).all()
    calls = rows["first_token_ms"] + 31 * rows["token_ms"]
    assert (calls / rows["median_ms"]).between(0.7, 1.4).all()
    assert {0.0} == {*rows.loc[list(FLOAT), "parted"]}
    assert 0.9 < toy.results["replies/mine.pytorch.cpu"].answers.score
    assert "every call writes 32 tokens" in "".join(toy.results["replies/mine.pytorch.cpu"].notes)


@pytest.mark.parametrize(("data", "kind"), [("complaints", "multi-label-classification"), ("pairs", "text-regression")])
def test_new_writes_a_suite_for_the_same_rows(tmp_path, monkeypatch, capsys, data, kind):
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    inputs = ["--inputs", "first", "second"] if data == "pairs" else []
    assert 0 == cli.main(["new", "--model", "my-bert", "--data", f"{data}.csv", *inputs]), capsys.readouterr().err
    assert f'kind="{kind}"' in (tmp_path / f"test_{data}.py").read_text()
