"""Tables: columns of numbers, and one label or one number a row; for native modules alone.

Batches hold `features` of shape (batch, columns), float32, the numbers as they stand in the data. The module gets each
column's mean and scale over the training rows, and standardises by them itself: every backend reads raw numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.kind import Arrays, Example, column
from harness.contracts.sources import Native, Row, Source
from harness.errors import HarnessError
from harness.kinds.classification import text_classification
from harness.kinds.regression import text_regression

FILE = "table.json"


@dataclass(frozen=True)
class Columns:
    """The processor of tables: each column's mean and standard deviation over the training rows, 1 for a constant."""

    means: dict[str, float]
    scales: dict[str, float]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write them to FILE."""
        (Path(folder) / FILE).write_text(json.dumps({"means": self.means, "scales": self.scales}))


def _load_columns(folder: Path) -> Columns:
    try:
        return Columns(**json.loads((folder / FILE).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise HarnessError(
            f"{folder} has no usable {FILE}: {error}; tables are for native modules: use Native('file.py:Class')"
        ) from error


def _new_columns(source: Source, rows: Sequence[Row], inputs: tuple[str, ...]) -> Columns:
    if not isinstance(source, Native):
        raise HarnessError(f"{source}: tables are for native modules; use Native('file.py:Class')")
    values = {name: np.array(list(map(_number, column(rows, name)))) for name in inputs}
    means = {name: float(numbers.mean()) for name, numbers in values.items()}
    return Columns(means, {name: float(numbers.std()) or 1.0 for name, numbers in values.items()})


def _number(text: Any) -> float:
    """Return a cell's number; ValueError for what is none, is not finite, or does not fit into float32."""
    value = math.nan if "_" in str(text) else float(text)
    if not abs(value) <= float(np.finfo(np.float32).max):
        raise ValueError(f"{text!r} is no number of float32")
    return value


def _problem(row: Row, inputs: tuple[str, ...]) -> str:
    for name in inputs:
        try:
            _number(row[name])
        except (ValueError, TypeError):
            return (
                f"its {name} is {str(row[name])[:80]!r}, and tables hold numbers, written with a point, none missing; "
                "write what is missing or a category as numbers of your own"
            )
    return ""


def _encode(columns: Columns, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    return [[{"features": [_number(row[name]) for name in inputs]}] for row in rows]


def _collate(columns: Columns, examples: list[Example]) -> Arrays:
    return {"features": np.array([example["features"] for example in examples], dtype=np.float32)}


def _native_arguments(columns: Columns, num_labels: int) -> dict[str, Any]:
    """Return the constructor arguments of a module: `num_labels`, and each column's mean and scale, in order."""
    return {"means": [*columns.means.values()], "scales": [*columns.scales.values()], "num_labels": num_labels}


tabular_classification = replace(
    text_classification,
    name="tabular-classification",
    auto_class="AutoModel",
    most_inputs=None,
    load_processor=_load_columns,
    new_processor=_new_columns,
    encode=_encode,
    collate=_collate,
    problem=_problem,
    native_arguments=_native_arguments,
    axes=("batch",),
)

tabular_regression = replace(
    tabular_classification,
    name="tabular-regression",
    metrics=text_regression.metrics,
    label=text_regression.label,
    predict=text_regression.predict,
)
