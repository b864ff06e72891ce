"""What kinds with one label a row share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError

NO_LABEL = "(a label of no row)"


def label_name(names: Sequence[str], index: int) -> str:
    """The label's name; a model used as it is may answer one that the task does not have, below 0."""
    return names[index] if index >= 0 else NO_LABEL


def likeliest_label(outputs: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Index of the largest of `logits`, shape (rows, labels); a tie goes to the first."""
    if "logits" not in outputs:
        raise HarnessError(f"the backend answered {', '.join(outputs) or 'nothing'}; a classifier answers `logits`")
    found: NDArray[np.int64] = outputs["logits"].argmax(axis=-1)
    return found
