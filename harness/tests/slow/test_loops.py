"""Two loops that mean the same lead to the same scores."""

from pathlib import Path

import pytest
from test_train import train


def test_both_loops_reach_the_same_score_within_noise(tmp_path: Path) -> None:
    best = {
        loop: max(train(tmp_path / loop, loop=loop, seed=1, batch_size=16)["validation"])
        for loop in ("trainer", "native")
    }
    assert 0.8 < best["native"]
    # On 400 validation rows two seeds of one loop differ by as much.
    assert pytest.approx(best["trainer"], abs=0.04) == best["native"]
