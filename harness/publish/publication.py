"""A measured case that is published: its result, its folder, and the lines that ask its model."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from harness.kinds.feature_extraction import SETTINGS
from harness.kinds.sentence_folder import PLAIN
from harness.results.schema import Data, Result

GRAPHS = "onnx"
"""Sub-folder of a published folder that holds its graphs."""
CARD = "README.md"
EVIDENCE = "shipbench"
"""Sub-folder with the results behind the card."""
ASSETS = resources.files("harness.publish") / "assets"


class Usage(NamedTuple):
    """Lines that ask a kind's model; `assets/kinds.toml` explains them."""

    answer: str
    media: str = ""
    loading: str = ""
    preprocess: str = ""
    field: str = ""
    packages: str = ""
    processor: str = ""


USAGE = {name: Usage(**lines) for name, lines in tomllib.loads((ASSETS / "kinds.toml").read_text("utf-8")).items()}
"""By the kind's name; a suite's own kind has none."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A measured case, and the folder that it is published as."""

    result: Result
    comparison: list[Result]
    folder: Path
    """Holds the model's files."""
    folder_name: str
    """Name of the folder at its destination."""
    repo: str | None
    """`owner/name` on the Hub, for an upload."""
    inputs: frozenset[str]
    """Names of the model's inputs; a native module need not take the tokenizer's mask."""

    @property
    def data(self) -> Data:
        """The task's rows; a measured case has them."""
        assert self.result.data is not None
        return self.result.data

    @property
    def title(self) -> str:
        """The names of model and task."""
        return f"{self.result.model} for {self.result.task}"

    @property
    def usage(self) -> Usage | None:
        """The lines that ask the model; None for a suite's own kind, and for vectors that are not the plain mean."""
        file = self.folder / "tokenizer_config.json"
        declared = json.loads(file.read_text()).get(SETTINGS, {}) if file.exists() else {}
        is_plain = all(declared.get(key, value) == value for key, value in PLAIN.items() if key != "max_length")
        return USAGE.get(self.data.kind) if is_plain else None

    @property
    def config(self) -> dict[str, Any] | None:
        """Transformers' configuration; None for a native module."""
        file = self.folder / "config.json"
        return dict(json.loads(file.read_text())) if file.exists() else None
