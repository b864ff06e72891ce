"""What kinds with one label a row share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError


def likeliest_label(outputs: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Index of the largest of `logits`, shape (rows, labels); a tie goes to the first."""
    if "logits" not in outputs:
        raise HarnessError(f"the backend answered {', '.join(outputs) or 'nothing'}; a classifier answers `logits`")
    found: NDArray[np.int64] = outputs["logits"].argmax(axis=-1)
    return found
