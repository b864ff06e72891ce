"""Backends that go wrong, each in its own way. All but the way is borrowed from the one that is right."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from own import NUMPY

from harness.contracts.backend import Backend, Session, Target
from harness.contracts.kind import Arrays, Kind

FEW = 300
"""More calls than it takes to answer and probe every test row, fewer than it takes to measure."""


def is_empty_text(arrays: Arrays) -> bool:
    return arrays["input_ids"].shape == (1, 1)


def load_killed(artifact: Path, target: Target) -> Session:
    def run(arrays: Arrays) -> Arrays:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    return NUMPY.load(artifact, target)._replace(run=run)


def load_killed_later(artifact: Path, target: Target) -> Session:
    session = NUMPY.load(artifact, target)
    calls = []

    def run(arrays: Arrays) -> Arrays:
        calls.append(1)
        if len(calls) > FEW:
            os.kill(os.getpid(), signal.SIGTERM)
        return session.run(arrays)

    return session._replace(run=run)


def load_hanging(artifact: Path, target: Target) -> Session:
    def run(arrays: Arrays) -> Arrays:
        time.sleep(3600)
        return {}

    return NUMPY.load(artifact, target)._replace(run=run)


def load_raising(artifact: Path, target: Target) -> Session:
    def run(arrays: Arrays) -> Arrays:
        raise ValueError("no kernel for a Tuesday")

    return NUMPY.load(artifact, target)._replace(run=run)


def load_elsewhere(artifact: Path, target: Target) -> Session:
    return NUMPY.load(artifact, target)._replace(device="cuda")


def load_shifted(artifact: Path, target: Target) -> Session:
    session = NUMPY.load(artifact, target)

    def run(arrays: Arrays) -> Arrays:
        logits = session.run(arrays)["logits"]
        return {"logits": logits + np.float32(0.25) if is_empty_text(arrays) else logits}

    return session._replace(run=run)


def load_undefined(artifact: Path, target: Target) -> Session:
    session = NUMPY.load(artifact, target)

    def run(arrays: Arrays) -> Arrays:
        logits = session.run(arrays)["logits"]
        return {"logits": logits * np.float32("nan") if is_empty_text(arrays) else logits}

    return session._replace(run=run)


def load_biased(artifact: Path, target: Target) -> Session:
    session = NUMPY.load(artifact, target)

    def run(arrays: Arrays) -> Arrays:
        return {"logits": session.run(arrays)["logits"] + np.float32([100, 0, 0])}

    return session._replace(run=run)


def build_nothing(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    raise RuntimeError("no operator for a full moon")


KILLED = Backend(name="killed", load=load_killed, devices=("cpu",))
KILLED_LATER = Backend(name="killed-later", load=load_killed_later, devices=("cpu",))
HANGING = Backend(name="hanging", load=load_hanging, devices=("cpu",))
RAISING = Backend(name="raising", load=load_raising, devices=("cpu",))
ELSEWHERE = Backend(name="elsewhere", load=load_elsewhere, devices=("cpu",))
UNDEFINED = Backend(name="undefined", load=load_undefined, devices=("cpu",))
UNBUILT = Backend(name="unbuilt", build=build_nothing, load=NUMPY.load, devices=("cpu",))
BIASED = Backend(name="biased", source=NUMPY, load=load_biased, lossy=True, devices=("cpu",))
SHIFTED = Backend(name="shifted", load=load_shifted, devices=("cpu",))
SHIFTED_INT8 = Backend(name="shifted-int8", source=SHIFTED, load=load_shifted, lossy=True, devices=("cpu",))
SHIFTED_INT4 = Backend(name="shifted-int4", source=SHIFTED, load=load_shifted, lossy=True, devices=("cpu",))
