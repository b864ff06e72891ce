"""Toy backends that seem fast because they do not do the work. Workers find them by this file's path."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np

from harness.contracts import Arrays, Session, Target

WORK_S, CHEAT_S = 0.01, 0.002
"""What a call takes, and what it takes to cheat."""


def answer(arrays: Arrays) -> Arrays:
    """What is right."""
    return {"logits": np.concatenate([arrays["x"], -arrays["x"]], axis=1)}


def honest(artifact: Path, target: Target) -> Session:
    """Works for as long as it has to."""

    def run(arrays: Arrays) -> Arrays:
        time.sleep(WORK_S)
        return answer(arrays)

    return _session(run)


def early(artifact: Path, target: Target) -> Session:
    """Returns before it has finished, as a call that is only queued does; the answer arrives a little later."""

    def run(arrays: Arrays) -> Arrays:
        time.sleep(CHEAT_S)
        found = {name: np.zeros_like(values) for name, values in answer(arrays).items()}

        def finish() -> None:
            time.sleep(WORK_S)
            found["logits"][...] = answer(arrays)["logits"]

        Thread(target=finish, daemon=True).start()
        return found

    return _session(run)


def cached(artifact: Path, target: Target) -> Session:
    """Remembers what it answered."""
    known: dict[bytes, Arrays] = {}

    def run(arrays: Arrays) -> Arrays:
        key = arrays["x"].tobytes()
        time.sleep(CHEAT_S if key in known else WORK_S)
        known.setdefault(key, answer(arrays))
        return known[key]

    return _session(run)


def stale(artifact: Path, target: Target) -> Session:
    """Answers with what it answered first, whatever it is asked."""
    first: list[Arrays] = []

    def run(arrays: Arrays) -> Arrays:
        time.sleep(CHEAT_S if first else WORK_S)
        if not first:
            first.append(answer(arrays))
        return first[0]

    return _session(run)


def _session(run: Callable[[Arrays], Arrays]) -> Session:
    return Session(run=run, device="cpu", settings={})
