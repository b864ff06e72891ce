"""Real measurements of toys, and a parent that does not sleep: the self-test's one door to `harness.rounds.measure`."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from harness.contracts import Arrays, Target
from harness.errors import WorkerError
from harness.progress import Progress
from harness.rounds.measure import measure
from harness.rounds.samples import Arm, Load, Settings

TIMEOUT_S = 60.0
BUDGET_S = 600.0
INPUT = {"x": np.ones((1, 4), dtype=np.float32)}


@dataclass
class Rounds:
    """What one measurement of one start left."""

    answers: Counter[str] = field(default_factory=Counter)
    """Blocks that each arm answered, warming up included."""
    failed: dict[str, WorkerError] = field(default_factory=dict)
    ended_by: WorkerError | None = None
    """What became of the reference, if that ended it."""


def rounds_of(arms: Sequence[Arm], rounds: int, target: Target, on_round: Callable[[], None] = lambda: None) -> Rounds:
    """Measure the arms, the first of which is the reference; `on_round` is called whenever a batch is asked for."""
    found = Rounds()

    def arrays(rows: list[int]) -> Arrays:
        on_round()
        return INPUT

    def check(name: str, rows: list[int], outputs: Arrays) -> None:
        found.answers[name] += 1

    load = Load(batch=1, order_seed=0, rows=lambda number: [0], arrays=arrays)
    settings = Settings(target, starts=1, looks=(rounds,), budget_s=BUDGET_S, timeout_s=TIMEOUT_S)
    try:
        found.failed = measure([*arms], [load], settings, check, lambda samples: False, Progress()).failed
    except WorkerError as error:
        found.ended_by = error
    return found


@contextmanager
def polling_parent(pause_s: float | None) -> Iterator[None]:
    """The safety switched off: this process asks again and again, or without a pause, instead of sleeping."""
    over = threading.Event()

    def poll() -> None:
        while not over.is_set():
            if pause_s is not None:
                time.sleep(pause_s)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
