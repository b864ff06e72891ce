"""The real models of the suites, made and kept as `pytest suites` makes and keeps them, and the gate they pass."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import harness
from harness.accuracy import answers, parity
from harness.accuracy.answers import Scored
from harness.artifacts.workshop import Workshop
from harness.backends import ONNXRUNTIME, PYTORCH
from harness.cache import Entry, Store
from harness.contracts import Backend, Target
from harness.dataset import data
from harness.dataset.inputs import Inputs
from harness.environment import usable_cores
from harness.errors import HarnessError
from harness.loading import load_symbol
from harness.selftest.part import Given
from harness.spec import Gate
from harness.workers.process import Worker

SUITES = Path(harness.__file__).parents[1] / "suites"
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Real:
    """A fine-tuned model of a suite, its float export, and the reference's answers on some of its test rows."""

    shop: Workshop
    gate: Gate
    checkpoint: Entry
    artifact: Entry
    inputs: Inputs
    reference: Scored


@dataclass(frozen=True)
class Gated:
    """What the gates said of one variant of an export."""

    refused: str | None
    """By the gate of every session: the reason, if so."""
    ungated: str | None
    """With parity switched off: the reason, if it failed outright or lost more score than is allowed."""


def prepare(suite: str, model: str, rows: int, given: Given) -> Real:
    """The model that `suite` calls `model`, with evenly spread test rows."""
    file = SUITES / suite
    if not file.exists():
        raise HarnessError(f"{file}: the self-test needs the repository's suites; run it from a checkout")
    task, chosen = load_symbol(str(file), "TASK"), load_symbol(str(file), model)
    shop = Workshop(
        task=task,
        model=chosen,
        folder=SUITES,
        target=Target("cpu", usable_cores()),
        store=Store(given.artifacts, given.progress.say),
        progress=given.progress,
        timeout_s=TIMEOUT_S,
        retrain=False,
    )
    split = data.load(task, SUITES)
    checkpoint = shop.checkpoint(split)
    every = shop.inputs(split, checkpoint)
    kept = np.linspace(0, len(every) - 1, rows).astype(int).tolist()
    examples = [every.asked.examples[row] for row in kept]
    inputs = replace(every, asked=every.asked._replace(rows=split.test.select(kept), examples=examples))
    return Real(
        shop=shop,
        gate=load_symbol(str(file), "MODELS")[chosen],
        checkpoint=checkpoint,
        artifact=shop.artifact(ONNXRUNTIME, checkpoint),
        inputs=inputs,
        reference=_collect(shop, PYTORCH, checkpoint.path, shop.target, inputs),
    )


def without_cut_rows(real: Real) -> Real:
    """The safety switched off: rows are probed at no other length than their own."""
    inputs = replace(real.inputs, kind=replace(real.inputs.kind, axes=("batch",)))
    reference = _collect(real.shop, PYTORCH, real.checkpoint.path, real.shop.target, inputs)
    return replace(real, inputs=inputs, reference=reference)


def gate(real: Real, backend: Backend, artifact: Path, target: Target | None = None) -> Gated:
    """Hold a variant to what every session holds an export to, and to its score alone."""
    try:
        own = _collect(real.shop, backend, artifact, target or real.shop.target, real.inputs)
    except HarnessError as error:
        told = str(error).splitlines()[0]
        return Gated(refused=told, ungated=told)
    lost = (real.reference.score or 0.0) - (own.score or 0.0)
    ungated = f"loses {lost:.4f}" if lost > real.gate.max_loss else None
    try:
        parity.check_forms(own, real.reference, PYTORCH.name, real.inputs.kind.likeness)
        parity.check_parity(own, real.reference, PYTORCH.name, real.inputs)
    except HarnessError as error:
        return Gated(refused=str(error), ungated=ungated)
    return Gated(refused=None, ungated=ungated)


def _collect(shop: Workshop, backend: Backend, artifact: Path, target: Target, inputs: Inputs) -> Scored:
    with (
        tempfile.TemporaryDirectory() as out,
        Worker(backend, artifact, target, shop.timeout_s, kind=inputs.kind) as worker,
    ):
        info: dict[str, Any] = answers.collect(worker, inputs, shop.task.metrics, Path(out), shop.progress)
        return answers.read(Path(out), info)
