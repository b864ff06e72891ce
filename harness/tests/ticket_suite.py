"""The README's suite about tickets, with its rows and its model.

torch is imported here and not in a function: `pytester` would forget it after the test, and it cannot load twice.
"""

from pathlib import Path

import pandas as pd
import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification
from users import readme_example

from harness.kinds.common import word_tokenizer

TEAMS = ("billing", "delivery", "repairs")
ROWS = 1200


def tickets() -> pd.DataFrame:
    team = [TEAMS[number % 3] for number in range(ROWS)]
    return pd.DataFrame({"text": [f"{one} please help me with {n}" for n, one in enumerate(team)], "team": team})


def save_model(folder: Path, labels: tuple[str, ...]) -> None:
    """Save a tiny DistilBERT that has learnt which word names the team; its head is in the order of `labels`."""
    torch.manual_seed(0)
    rows = tickets().head(300)
    tokenizer = word_tokenizer(rows["text"], 1000)
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=32, n_layers=1, n_heads=2, hidden_dim=64, max_position_embeddings=64,
        id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)},
    )  # fmt: skip
    model = DistilBertForSequenceClassification(config)
    batch = tokenizer(rows["text"].tolist(), padding=True, return_tensors="pt")
    order = labels if set(labels) == set(TEAMS) else TEAMS
    targets = torch.tensor([order.index(team) for team in rows["team"]])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        model(**batch, labels=targets).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def suite() -> str:
    return readme_example('"""Tickets')


def save_suite(folder: Path, labels: tuple[str, ...], text: str = "") -> None:
    """Save the README's suite, or `text` in its place, with its rows and a model whose head has these labels."""
    (folder / "test_tickets.py").write_text(text or suite())
    tickets().to_csv(folder / "tickets.csv", index=False)
    save_model(folder / "my-model", labels)
