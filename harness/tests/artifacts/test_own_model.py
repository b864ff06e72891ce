"""Somebody's own CSV and checkpoint, from a folder outside the repository: the README's suite, to the letter."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from conftest import REPOSITORY, Once, Run, Toy
from harness.kinds.common import word_tokenizer

pytest_plugins = "pytester"

TEAMS = ("billing", "delivery", "repairs")
ROWS = 600


def tickets() -> pd.DataFrame:
    team = [TEAMS[number % 3] for number in range(ROWS)]
    return pd.DataFrame({"text": [f"{one} please help me with {n}" for n, one in enumerate(team)], "team": team})


def save_model(folder: Path, labels: tuple[str, ...]) -> None:
    """A tiny DistilBERT that has learnt which word names the team; its answers come in the order of `labels`."""
    torch.manual_seed(0)
    rows = tickets()
    tokenizer = word_tokenizer(rows["text"], 1000)
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=32, n_layers=1, n_heads=2, hidden_dim=64, max_position_embeddings=64,
        id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)},
    )  # fmt: skip
    model = DistilBertForSequenceClassification(config)
    batch = tokenizer(rows["text"].tolist(), padding=True, return_tensors="pt")
    known = labels if set(labels) == set(TEAMS) else TEAMS
    targets = torch.tensor([known.index(team) for team in rows["team"]])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        model(**batch, labels=targets).drop.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def block(begin: str) -> str:
    """The README's Python that begins so."""
    (found,) = re.findall(rf"```python\n({begin}.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    return str(found)


def suite() -> str:
    return block('"""Tickets')


def backend() -> str:
    return block('"""ONNX Runtime that has')


@pytest.fixture
def shipped(once: Once) -> tuple[Toy, Run]:
    def make(toy: Toy) -> Run:
        (toy.folder / "test_tickets.py").write_text(suite())
        tickets().to_csv(toy.folder / "tickets.csv", index=False)
        # Not in the order of the alphabet, which is that of the task's labels.
        save_model(toy.folder / "my-model", ("repairs", "billing", "delivery"))
        return toy.run("test_tickets.py", "-p", "no:randomly", "--ship-backends=onnxruntime-int8", "-m", "not cuda")

    return once("tickets", make)


def test_the_suite_is_short() -> None:
    assert 20 >= len(suite().splitlines())


def test_a_model_is_judged_as_it_is(shipped: tuple[Toy, Run]) -> None:
    toy, run = shipped
    assert 0 == run.status, run.text
    found = toy.results["tickets/mine.onnxruntime-int8.cpu"]
    assert found.answers is not None
    assert (300, 1.0) == (found.answers.rows, found.answers.reference_score)
    assert found.checkpoint is not None
    assert [2, 0, 1] == found.checkpoint.info["order"]


def test_results_hold_no_text_of_somebodys_rows(shipped: tuple[Toy, Run]) -> None:
    toy, _ = shipped
    kept = [path for path in (toy.folder / "results").rglob("*") if path.is_file()]
    assert kept
    assert [] == [path for path in kept if b"please help" in path.read_bytes()]


def test_results_tell_another_model_of_the_same_name(shipped: tuple[Toy, Run]) -> None:
    toy, _ = shipped
    recipe = toy.results["tickets/mine.onnxruntime-int8.cpu"].recipe
    assert re.fullmatch("[0-9a-f]{64}", recipe["source_content"])


def test_a_model_that_names_its_answers_otherwise_is_refused_before_anything_is_built(toy: Toy) -> None:
    (toy.folder / "test_tickets.py").write_text(suite())
    tickets().to_csv(toy.folder / "tickets.csv", index=False)
    save_model(toy.folder / "my-model", ("LABEL_0", "LABEL_1", "LABEL_2"))
    run = toy.run("test_tickets.py", "-p", "no:randomly", "-m", "not cuda")
    assert 4 == run.status
    assert "model mine: as it is, it answers LABEL_0, LABEL_1, LABEL_2, and no billing, delivery, repairs" in run.text
    assert not toy.artifacts.exists() or not list(toy.artifacts.glob("tickets*"))


def test_the_backend_is_short() -> None:
    assert 25 >= len(backend().splitlines())


def test_a_backend_of_ones_own_is_built_measured_and_judged_like_any_other(toy: Toy) -> None:
    (toy.folder / "mine.py").write_text(backend())
    own = suite().replace("cases(TASK, MODELS)", "cases(TASK, MODELS, backends=[*DEFAULT_BACKENDS, AHEAD])")
    (toy.folder / "test_tickets.py").write_text(own.replace("import Bench", "import DEFAULT_BACKENDS, Bench"))
    with (toy.folder / "test_tickets.py").open("r+") as file:
        text = file.read().replace("import pytest\n", "import pytest\nfrom mine import AHEAD\n", 1)
        file.seek(0)
        file.write(text)
    tickets().to_csv(toy.folder / "tickets.csv", index=False)
    save_model(toy.folder / "my-model", TEAMS)
    run = toy.run("test_tickets.py", "-p", "no:randomly", "--ship-backends=ahead")
    assert 0 == run.status, run.text
    (found,) = toy.results.values()
    assert ("tickets/mine.ahead.cpu", "ok") == (found.name, found.status)
    assert found.answers is not None
    assert found.artifact is not None
    assert ("onnxruntime", 1.0) == (found.answers.compared_with, found.answers.score)
    assert ["optimised_by"] == list(found.artifact.info)
    assert [1, 16] == [series.workload.batch for series in found.series]
