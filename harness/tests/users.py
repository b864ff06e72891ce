"""Helpers for tests of what a user has outside this repository: rows, a model, README examples, an environment."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

REPOSITORY = Path(__file__).parents[2]
TEAMS = ("billing", "delivery", "repairs")
ROWS = 600


def tickets() -> pd.DataFrame:
    team = [TEAMS[number % 3] for number in range(ROWS)]
    return pd.DataFrame({"text": [f"{one} please help me with {n}" for n, one in enumerate(team)], "team": team})


def save_model(folder: Path, labels: tuple[str, ...]) -> None:
    """Save a tiny DistilBERT that has learnt which word names the team; its head is in the order of `labels`."""
    import torch
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    from harness.kinds.common import word_tokenizer

    torch.manual_seed(0)
    rows = tickets()
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
    for _ in range(15):
        optimizer.zero_grad()
        model(**batch, labels=targets).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def readme_example(begin: str, readme: str = "README.md") -> str:
    """Return the Python block of a README that begins so."""
    (block,) = re.findall(rf"```python\n({begin}.*?)```", (REPOSITORY / readme).read_text(), re.DOTALL)
    return str(block)


def suite() -> str:
    return readme_example('"""Tickets')


def save_suite(folder: Path, labels: tuple[str, ...], text: str = "") -> None:
    """Save the README's suite, or `text` in its place, with its rows and a model whose head has these labels."""
    (folder / "test_tickets.py").write_text(text or suite())
    tickets().to_csv(folder / "tickets.csv", index=False)
    save_model(folder / "my-model", labels)


def environment(folder: Path, *packages: Path) -> Path:
    """Make a virtual environment with these packages of the present one only; return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    for package in packages:
        for pattern in (package.name, f"{package.name}.libs", f"{package.name}-*.dist-info"):
            for path in package.parent.glob(pattern):
                (site_packages / path.name).symlink_to(path)
    return folder / "bin" / "python"


def functions_of(file: Path) -> dict[str, Any]:
    """Return the names that a file defines."""
    namespace: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)  # noqa: S102
    return namespace
