"""What an author declares: frozen, keyword-only values that cost nothing to import.

Nothing here touches torch, transformers or the disk, so that collecting thousands of cases is free.


ALSO: Cases: a suite's tasks and models on every backend and device. Collecting thousands of them is free, as in `spec`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from harness import kinds
from harness.contracts.backend import CONTROL, DEVICES, REFERENCE, Backend, Device, check_name
from harness.contracts.kind import Kind
from harness.contracts.sources import Hub, Native, Rows, Scratch, Source
from harness.errors import HarnessError
from harness.metrics import METRICS

TRACKERS = ("mlflow", "tensorboard", "trackio", "wandb")
"""Trainer's names for them, which are also those of their packages."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is fine-tuned."""

    epochs: int = 1
    """0 uses the model as it is."""
    learning_rate: float = 5e-5
    batch_size: int = 16
    warmup: float = 0.1
    """Fraction of the steps over which the learning rate rises; it falls linearly afterwards."""
    weight_decay: float = 0.0
    seed: int = 0
    rows: int | None = None
    """Train on this many rows of the training split; None takes all."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16` trains under autocast; weights stay fp32."""
    loop: Literal["trainer", "native"] = "trainer"
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights: the first that scores best on validation rows, or the last."""
    trainer: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """Anything else of `transformers.TrainingArguments`; only with `loop="trainer"`."""
    report_to: tuple[str, ...] = field(default=(), compare=False)
    """Trackers that Trainer tells how training goes: mlflow, tensorboard, trackio, wandb; only with `loop="trainer"`.
    It changes no weights, so that a kept checkpoint stays."""

    def __post_init__(self) -> None:
        if self.loop not in ("trainer", "native"):
            raise HarnessError(f"Recipe(loop={self.loop!r}): there are 'trainer' and 'native'")
        if self.precision not in ("fp32", "bf16"):
            raise HarnessError(f"Recipe(precision={self.precision!r}): there are 'fp32' and 'bf16'")
        if self.keep not in ("best", "last"):
            raise HarnessError(f"Recipe(keep={self.keep!r}): there are 'best' and 'last'")
        if self.trainer and self.loop == "native":
            raise HarnessError(
                f"Recipe(trainer={dict(self.trainer)}): these are TrainingArguments; use them with loop='trainer'"
            )
        unknown = [name for name in self.report_to if name not in TRACKERS]
        if isinstance(self.report_to, str) or unknown:
            raise HarnessError(
                f"Recipe(report_to={self.report_to!r}): a tuple of {', '.join(TRACKERS)}, as in ('tensorboard',)"
            )
        if self.report_to and self.loop == "native":
            raise HarnessError(f"Recipe(report_to={self.report_to}): Trainer reports; use it with loop='trainer'")
        counts = (self.epochs + 1, self.batch_size, 1 if self.rows is None else self.rows)
        if min(counts) < 1 or not 0 < self.learning_rate < math.inf or not 0 <= self.warmup <= 1:
            raise HarnessError(
                f"{self}: batch_size, rows and learning_rate must be positive, epochs not negative, warmup within 0..1"
            )


AS_IT_IS = Recipe(epochs=0)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A pretrained checkpoint or a native module, and how it is fine-tuned."""

    name: str
    source: Source
    recipe: Recipe = AS_IT_IS
    max_length: int = 128
    """Longest text in tokens; what is longer is cut, for question answering into windows. Ignored without text."""
    labels: tuple[str, ...] | Mapping[str, str] = field(default=(), hash=False)
    """What the task calls the answers of a model used as it is, where that calls them otherwise: all of them in their
    order, or a mapping from the model's name to the task's."""

    def __post_init__(self) -> None:
        check_name("model", self.name)
        if self.max_length < 1:
            raise HarnessError(f"model {self.name}: max_length={self.max_length} leaves nothing of a text")
        if self.is_as_it_is and isinstance(self.source, Native | Scratch):
            raise HarnessError(f"model {self.name}: its weights are random, so it needs a Recipe with epochs")
        if self.labels and not self.is_as_it_is:
            raise HarnessError(f"model {self.name}: labels={self.labels} are of no use where a new head is trained")
        if isinstance(self.source, Native) and self.recipe.loop != "native":
            raise HarnessError(f"model {self.name}: a native module trains with Recipe(loop='native')")

    @property
    def is_as_it_is(self) -> bool:
        """Whether nothing is trained: the checkpoint's own head answers."""
        return self.recipe.epochs == 0


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a model is fine-tuned to do: data, inputs, label, metric, and how many rows are set apart."""

    name: str
    kind: Kind
    dataset: Rows
    inputs: tuple[str, ...]
    """Columns that the model is given; `a.b` is the field b of the column a."""
    label: str | None = None
    """Column with what is to be answered; None for kinds whose rows hold it themselves."""
    metric: str
    """What gates and verdicts are about."""
    also: tuple[str, ...] = ()
    """Metrics that are told beside it."""
    test: int | None
    """So many rows; None takes all that the data itself sets apart for it."""
    validation: int | None
    calibration: int
    split_seed: int = 0

    def __post_init__(self) -> None:
        check_name("task", self.name)
        if not isinstance(self.kind, Kind):
            raise HarnessError(
                f"task {self.name}: kind {self.kind!r} is none; there are {', '.join(kinds.__all__)}, or a "
                "harness.Kind of your own"
            )
        if (self.label is None) != (self.kind.label == "none"):
            wanted = "has no label: its rows hold their answers" if self.label else "needs label=, a column's name"
            raise HarnessError(f"task {self.name}: {self.kind.name} {wanted}")
        if isinstance(self.inputs, str) or not self.inputs:
            raise HarnessError(f"task {self.name}: inputs={self.inputs!r} must be a tuple of column names: ('text',)")
        if min(size for size in (self.test, self.validation, self.calibration) if size is not None) < 1:
            raise HarnessError(f"task {self.name}: test, validation and calibration need at least a row each")
        if "label" in self.inputs:
            raise HarnessError(f"task {self.name}: an input cannot be called 'label'; rename the column in read()")
        unknown = [name for name in (self.metric, *self.also) if name not in self.kind.metrics]
        if unknown:
            raise HarnessError(
                f"task {self.name}: no metric {unknown[0]!r} for {self.kind.name}; there are "
                f"{', '.join(self.kind.metrics)}"
            )
        if not set(self.kind.metrics) <= set(METRICS):
            raise HarnessError(f"kind {self.kind.name}: unknown metrics {set(self.kind.metrics) - set(METRICS)}")

    @property
    def metrics(self) -> tuple[str, ...]:
        """The task's metric, then those told beside it."""
        return tuple(dict.fromkeys((self.metric, *self.also)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        return self.inputs if self.label is None else (*self.inputs, self.label)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a suite promises of a model."""

    min_score: float
    """Smallest score on the test rows, for every backend."""
    max_drop: float
    """Largest score a backend may lose against the reference on the same rows."""
    min_speedup: float | None = None
    """Smallest speed-up against the reference at batch 1; None asks for none."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1 or not 0 <= self.max_drop < 1:
            raise HarnessError(f"{self}: scores run from 0 to 1; 0.94 is 94 %, and a drop of 0.01 one point")
        if self.min_speedup is not None and not 0 < self.min_speedup < math.inf:
            raise HarnessError(f"{self}: a speed-up is a ratio; 1.5 is half as fast again as the reference")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Task x model x backend x device: the identity of a result."""

    task: Task
    model: Model
    backend: Backend
    device: Device
    gate: Gate | None = None
    """What the suite promises, where it is known at collection: `cases()` takes it from a mapping of models."""
    on_request: bool = False
    """Whether it is measured only where `--ship-backends` names its backend."""

    def __str__(self) -> str:
        return f"{self.task.name}/{self.model.name}.{self.backend.name}.{self.device}"

    @property
    def reads_hub(self) -> bool:
        """Whether its rows or its model come from the Hugging Face Hub."""
        return isinstance(self.task.dataset, Hub) or isinstance(self.model.source, Hub)


def cases(
    task: Task, models: Mapping[Model, Gate] | Iterable[Model], backends: Sequence[Backend] | None = None
) -> list[Case]:
    """Every case of a suite, CUDA ones included; `backends` defaults to `harness.DEFAULT_BACKENDS`, and on request
    `harness.MORE_BACKENDS`.

    With a mapping, every case knows its gate before anything runs: one that no answers could meet is refused, and
    rounds go on until its smallest speed-up is decided too.
    """
    from harness.backends import DEFAULT_BACKENDS, MORE_BACKENDS, PYTORCH

    chosen = (*DEFAULT_BACKENDS, *MORE_BACKENDS) if backends is None else tuple(backends)
    _check_names(chosen, PYTORCH)
    gates: list[tuple[Model, Gate | None]]
    gates = list(models.items()) if isinstance(models, Mapping) else [(model, None) for model in models]
    on_request = () if backends is not None else MORE_BACKENDS
    found = list(_cases(task, gates, chosen, on_request))
    twice = [name for name, count in Counter(map(str, found)).items() if count > 1]
    if twice:
        said = f"two cases share a name ({twice[0]}); models and backends need distinct names"
        raise HarnessError(f"task {task.name}: {said}")
    return found


def _check_names(backends: Iterable[Backend], reference: Backend) -> None:
    """HarnessError where one name means two things, be one of them only what another backend is built from."""
    known: dict[str, Backend] = {}
    for backend in backends:
        one: Backend | None = backend
        while one is not None:
            if one.name in (REFERENCE, CONTROL) and one is not reference:
                raise HarnessError(f"backend {one.name!r}: the reference and its control own that name; take another")
            made = replace(one, source=None, devices=DEVICES, unavailable=None)  # where it may run changes no artifact
            if known.setdefault(one.name, made) != made:
                raise HarnessError(f"backend {one.name!r}: two have that name, and are not the same; take another")
            one = one.source


def _cases(
    task: Task, gates: Iterable[tuple[Model, Gate | None]], backends: Sequence[Backend], on_request: Sequence[Backend]
) -> Iterator[Case]:
    for model, gate in gates:
        for device in DEVICES:
            for backend in backends:
                if device in backend.devices:
                    asked = backend in on_request
                    yield Case(task=task, model=model, backend=backend, device=device, gate=gate, on_request=asked)
