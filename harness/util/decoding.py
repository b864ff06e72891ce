"""Text that a decoder writes: as many tokens as its settings state, each the likeliest.

Every backend writes all of them, so that all do the same work. What follows the end of an answer becomes padding.
"""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SETTINGS = "generation_config.json"

FIRST_NS = "first_token_ns"
"""Output with one number a row: `perf_counter_ns` when the first token of the row's answer was chosen. The worker takes
it out of the answer.
"""


class Limits(NamedTuple):
    """Length and end of answers."""

    new_tokens: int
    ends: tuple[int, ...]
    """Tokens that end an answer."""
    pad: int

    def answer(self, tokens: NDArray[Any], first_ns: int) -> dict[str, NDArray[Any]]:
        """Return the answer that consists of `tokens`, shape (batch, new tokens), with padding after each end."""
        ends = np.isin(tokens, self.ends)
        after = np.cumsum(ends, axis=1) - ends > 0
        sequences = np.where(after, self.pad, tokens).astype(np.int64)
        return {"sequences": sequences, FIRST_NS: np.full(len(tokens), first_ns, dtype=np.int64)}


def limits(settings: dict[str, Any]) -> Limits | None:
    """Return what generation settings say of answers; None unless they state a number of new tokens."""
    if (new_tokens := settings.get("max_new_tokens")) is None:
        return None
    ends = settings.get("eos_token_id")
    ends = tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,)
    pad = settings.get("pad_token_id")
    return Limits(int(new_tokens), ends, int((ends or (0,))[0] if pad is None else pad))


def read_limits(folder: Path) -> Limits | None:
    """Return what the generation settings in a folder say of answers; None if they, or the number, are missing."""
    file = folder / SETTINGS
    return limits(json.loads(file.read_text("utf-8"))) if file.is_file() else None


class Watch:
    """A criterion of `generate` that never stops it, and notes when the first token is chosen."""

    def __init__(self) -> None:
        self.first_ns = 0

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Return one False a row."""
        import torch

        if not self.first_ns:
            if input_ids.is_cuda:
                torch.cuda.synchronize()
            self.first_ns = perf_counter_ns()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
