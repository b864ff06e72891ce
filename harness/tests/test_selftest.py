"""Slow checks of what the numbers claim, by simulation and by real workers; `tox -e selftest` runs them."""

import textwrap
from pathlib import Path

import numpy as np
import pytest

from harness.loading import load_symbol
from harness.measure import measure
from harness.progress import Progress
from harness.samples import Arm, Load, Settings
from harness.spec import Backend, Target
from harness.speed import speedup
from harness.stats import median_interval, paired_difference

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("draw", ["normal", "exponential", "standard_cauchy"])
@pytest.mark.parametrize("rounds", [30, 240])
def test_the_median_interval_covers_the_median_95_times_of_100(draw, rounds):
    dice = np.random.default_rng(0)
    truth = np.log(2) if draw == "exponential" else 0.0
    found = [median_interval(getattr(dice, draw)(size=rounds)) for _ in range(10_000)]
    assert 0.945 < np.mean([interval.low <= truth <= interval.high for interval in found])


@pytest.mark.parametrize("rows", [100, 408, 820, 3_000])
@pytest.mark.parametrize("discordance", [0.02, 0.05, 0.08])
def test_a_loss_at_the_margin_is_called_proven_6_times_of_100_at_most(rows, discordance):
    dice, margin = np.random.default_rng(0), 0.01
    lost_share = (discordance + margin) / 2
    draws = dice.multinomial(rows, [lost_share, discordance - lost_share, 1 - discordance], size=10_000)
    pairs, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    proven = [paired_difference(int(lost), int(gained), rows).high < -margin for lost, gained in pairs]
    # The score interval is nominally at 5 and a little liberal at few flips: 5.9 was the most seen (100 rows, 5 %
    # discordant). 0.065 is 0.06 and two standard errors of 10,000 draws.
    assert np.average(proven, weights=counts) <= 0.065


WORK = """
    import numpy as np
    from harness.spec import (Session)

    def load(artifact, target):
        weights = np.random.default_rng(0).normal(size=(int(artifact.name), 300)).astype("float32")
        return Session(run=lambda arrays: {"logits": arrays["x"] @ weights.T @ weights}, device="cpu", settings={})
"""


def test_equal_workers_are_equal_and_unequal_ones_are_told_apart(tmp_path: Path):
    file = tmp_path / "work.py"
    file.write_text(textwrap.dedent(WORK))
    toy = Backend(name="toy", load=load_symbol(str(file), "load"))
    arms = [Arm(name, toy, tmp_path / size) for name, size in (("one", "600"), ("other", "600"), ("half", "300"))]
    x = np.ones((300, 300), dtype=np.float32)
    load = Load(batch=1, order_seed=0, rows=lambda number: [0], arrays=lambda rows: {"x": x})
    how = Settings(Target("cpu", 1), looks=(30, 60), budget_s=60)
    found = measure(arms, [load], how, lambda *told: None, lambda samples: False, Progress())
    one, other, half = (found.samples[0].ns[arm.name] for arm in arms)
    same, faster = speedup(one, other, [], 1), speedup(one, half, other, 1)
    assert 0.9 < same.estimate < 1.1
    assert faster.low > 1.3 > same.high
