"""Backends that go wrong where it hurts most, and some that live elsewhere: where there is no pytest to import."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
from own import NUMPY

from harness.backends import PYTORCH
from harness.contracts.backend import Backend, Python, Session, Target
from harness.contracts.kind import Arrays, Kind
from harness.errors import Unsupported

ELSEWHERE = Python(interpreter="INTERPRETER")
LONG = 20


def build(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    shutil.copyfile(source / "model.safetensors", out / "model.safetensors")
    return {
        "built_by": sys.executable,
        "kind": kind.name,
        "like": kind.tolerance.description,
        "reads": kind.encode.__name__,
    }


def build_failing(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    raise ArithmeticError("no such operator over there")


def build_unsupported(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    raise Unsupported("no such head over there")


def build_leaving(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    os._exit(3)


class Speechless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def build_exiting(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    sys.exit("a command, not a library")


def build_speechless(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    raise Speechless


def build_listing(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    return ["int8"]


def build_roaming(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    shutil.copyfile(source / "model.safetensors", out / "model.safetensors")
    os.chdir("/")
    os.environ.clear()
    os.close(1)
    return {}


def build_astray(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    (source / "model.safetensors").write_bytes(b"mine now")
    return {}


def load_elsewhere(artifact: Path, target: Target) -> Session:
    return NUMPY.load(artifact, target)._replace(settings={"run_by": sys.executable})


def load_astray(artifact: Path, target: Target) -> Session:
    session = NUMPY.load(artifact, target)
    (artifact / "model.safetensors").write_bytes(b"mine now")
    return session


def load_failing(artifact: Path, target: Target) -> Session:
    raise LookupError("no weights for a Wednesday")


def load_nothing(artifact: Path, target: Target) -> Session:
    """It forgets to return what it has loaded."""


def changed(run):
    """Loads the right one, whose answers then pass through `run`."""

    def load(artifact: Path, target: Target) -> Session:
        right = NUMPY.load(artifact, target).run
        return NUMPY.load(artifact, target)._replace(run=lambda arrays: run(arrays, right(arrays)["logits"]))

    load.__name__ = load.__qualname__ = f"load_{run.__name__}"
    return load


def only_short(arrays: Arrays, logits) -> Arrays:
    if arrays["input_ids"].shape[1] > LONG:
        raise OverflowError("too long for me")
    return {"logits": logits}


def fewer_rows(arrays: Arrays, logits) -> Arrays:
    return {"logits": logits[:-1]}


def other_shape(arrays: Arrays, logits) -> Arrays:
    return {"logits": np.concatenate([logits, logits], axis=1)}


def words(arrays: Arrays, logits) -> Arrays:
    return {"logits": logits.astype(str)}


def scalar(arrays: Arrays, logits) -> Arrays:
    return {"logits": np.array(logits.sum())}


def numbered(arrays: Arrays, logits) -> Arrays:
    return {0: logits}


def raving(arrays: Arrays, logits) -> Arrays:
    raise ValueError("\x1b[2J\udcff" + "word " * 100_000)


KEPT = []


def hoarding(arrays: Arrays, logits) -> Arrays:
    KEPT.append(np.full(200_000, logits.sum()))
    return {"logits": logits}


load_hoarding = changed(hoarding)
load_only_short, load_fewer_rows, load_other_shape = changed(only_short), changed(fewer_rows), changed(other_shape)
load_words, load_scalar = changed(words), changed(scalar)
load_numbered, load_raving = changed(numbered), changed(raving)

CPU = {"devices": ("cpu",)}
BACKENDS = [
    PYTORCH,
    # Those that go astray come first: what follows must find everything as it was.
    Backend(name="astray-in-build", build=build_astray, load=NUMPY.load, **CPU),
    Backend(name="astray-in-load", load=load_astray, **CPU),
    *(
        Backend(name=build.__name__.replace("_", "-"), build=build, load=NUMPY.load, **CPU)
        for build in (build_leaving, build_exiting, build_speechless, build_listing, build_roaming)
    ),
    Backend(name="elsewhere", build=build, builds_in=ELSEWHERE, load=load_elsewhere, runs_in=ELSEWHERE, **CPU),
    Backend(name="built-elsewhere", build=build, builds_in=ELSEWHERE, load=load_elsewhere, **CPU),
    Backend(name="failing-elsewhere", build=build_failing, builds_in=ELSEWHERE, load=NUMPY.load, **CPU),
    Backend(name="unsupported-elsewhere", build=build_unsupported, builds_in=ELSEWHERE, load=NUMPY.load, **CPU),
    Backend(name="leaving-elsewhere", build=build_leaving, builds_in=ELSEWHERE, load=NUMPY.load, **CPU),
    Backend(name="needs-torch", load=PYTORCH.load, runs_in=ELSEWHERE, **CPU),
    Backend(name="unbuildable", load=NUMPY.load, runs_in=Python(requirements=("no-such-distribution-at-all",)), **CPU),
    Backend(name="load", load=load_failing, **CPU),
    *(
        Backend(name=load.__name__.replace("_", "-"), load=load, **CPU)
        for load in (
            *(load_only_short, load_fewer_rows, load_other_shape, load_words, load_scalar, load_hoarding),
            *(load_nothing, load_numbered, load_raving),
        )
    ),
    NUMPY,
]
