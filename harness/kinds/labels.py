"""What kinds share: outputs by name, words for answers that are no label, and one label a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Arrays
from harness.errors import HarnessError
from harness.kind import Asked, Example, own_label

NO_LABEL = "(a label of no row)"
NO_ANSWER = "(no answer)"
"""Of a word beyond `max_length`."""


def label_name(names: Sequence[str], index: int) -> str:
    """The label's name; a model used as it is may answer one that the task does not have, below 0."""
    return names[index] if index >= 0 else NO_LABEL


def output(outputs: Arrays, name: str) -> NDArray[Any]:
    """The output called `name`; HarnessError, with those there are, if there is none."""
    if name not in outputs:
        raise HarnessError(f"the backend answered {', '.join(outputs) or 'nothing'}; this kind reads `{name}`")
    return outputs[name]


def logits_alone(batch: Arrays, outputs: Arrays) -> Arrays:
    """`logits` without what some models answer beside them, an encoder's states for instance."""
    return {"logits": outputs["logits"]} if "logits" in outputs else outputs


def likeliest_label(asked: Asked, outputs: Sequence[Arrays]) -> list[int]:
    """Index of the largest of `logits`, shape (1, labels) a row; a tie goes to the first."""
    logits = np.concatenate([output(row, "logits") for row in outputs])
    return logits.argmax(axis=-1).tolist()  # type: ignore[no-any-return]


def taught_label(asked: Asked) -> list[list[Example]]:
    """A row's one example is to be answered with its label."""
    return [[{"labels": label}] for label in own_label(asked)]
