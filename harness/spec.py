"""What an author declares: frozen, keyword-only values that cost nothing to import.

Nothing here touches torch, transformers or the disk, so that collecting thousands of cases is free.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harness.errors import HarnessError
from harness.metrics import METRICS
from harness.sources import Native, Package, Row, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Arrays = dict[str, "NDArray[Any]"]
Device = Literal["cpu", "cuda"]
DEVICES: tuple[Device, ...] = ("cpu", "cuda")
REFERENCE = "pytorch"
"""Name of the backend that every other one is compared with."""
CONTROL = "control"
"""Name of the reference's second worker."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def _check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise HarnessError(
            f"{what} name {name!r}: names become file names and pytest ids, so use letters, digits, '-' and '_' only"
        )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is fine-tuned."""

    epochs: int = 1
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
    trainer: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """Anything else of `transformers.TrainingArguments`; only with `loop="trainer"`."""

    def __post_init__(self) -> None:
        if self.loop not in ("trainer", "native"):
            raise HarnessError(f"Recipe(loop={self.loop!r}): there are 'trainer' and 'native'")
        if self.precision not in ("fp32", "bf16"):
            raise HarnessError(f"Recipe(precision={self.precision!r}): there are 'fp32' and 'bf16'")
        if self.trainer and self.loop == "native":
            raise HarnessError(
                f"Recipe(trainer={dict(self.trainer)}): these are TrainingArguments; use them with loop='trainer'"
            )
        counts = (self.epochs, self.batch_size, 1 if self.rows is None else self.rows)
        if min(counts) < 1 or not 0 < self.learning_rate < math.inf or not 0 <= self.warmup <= 1:
            raise HarnessError(
                f"{self}: epochs, batch_size, rows and learning_rate must be positive, warmup within 0..1"
            )


@dataclass(frozen=True, kw_only=True)
class Model:
    """A pretrained checkpoint or a native module, and how it is fine-tuned."""

    name: str
    source: Source
    recipe: Recipe = Recipe()
    max_length: int = 128
    """Longest text in tokens; what is longer is cut. Ignored by kinds without text."""

    def __post_init__(self) -> None:
        _check_name("model", self.name)
        if self.max_length < 1:
            raise HarnessError(f"model {self.name}: max_length={self.max_length} leaves nothing of a text")
        if isinstance(self.source, Native) and self.recipe.loop != "native":
            raise HarnessError(f"model {self.name}: a native module trains with Recipe(loop='native')")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How rows of a sort of task become tensors, and tensors predictions. Functions are module-level."""

    name: str
    """Also Optimum's name of the export task."""
    auto_class: str
    """Transformers' Auto class that puts the head on a checkpoint."""
    metrics: tuple[str, ...]
    processor: Callable[[Source, Path | None, Sequence[Row], tuple[str, ...]], Any]
    """(source, folder of the pretrained checkpoint, training rows, input columns) → has `save_pretrained`."""
    load_processor: Callable[[Path], Any]
    encode: Callable[[Any, Sequence[Row], tuple[str, ...], int], list[dict[str, Any]]]
    """(processor, rows, input columns, max_length) → one mapping of arrays a row, unpadded."""
    collate: Callable[[Any, list[dict[str, Any]]], Arrays]
    """(processor, encoded rows) → batch arrays, padded to the longest row of the batch."""
    predict: Callable[[Arrays], NDArray[np.int64]]
    """A batch's outputs → one label index a row."""
    native_arguments: Callable[[Any, int], dict[str, int]]
    """(processor, number of labels) → what a native module's constructor is given."""
    axes: tuple[str, ...]
    """Names of the leading axes of every input that may change from call to call."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a model is fine-tuned to do: data, inputs, label, metric, and how many rows are set apart."""

    name: str
    kind: Kind
    dataset: Package
    inputs: tuple[str, ...]
    label: str
    metric: str
    test: int
    validation: int
    calibration: int
    split_seed: int = 0

    def __post_init__(self) -> None:
        _check_name("task", self.name)
        if not isinstance(self.kind, Kind):
            raise HarnessError(
                f"task {self.name}: kind {self.kind!r} is none; there are text_classification, "
                "image_classification, or a harness.Kind of your own"
            )
        if isinstance(self.inputs, str) or not self.inputs:
            raise HarnessError(f"task {self.name}: inputs={self.inputs!r} must be a tuple of column names: ('text',)")
        if min(self.test, self.validation, self.calibration) < 1:
            raise HarnessError(f"task {self.name}: test, validation and calibration need at least a row each")
        if "label" in self.inputs:
            raise HarnessError(f"task {self.name}: an input cannot be called 'label'; rename the column in read()")
        if self.metric not in self.kind.metrics:
            raise HarnessError(
                f"task {self.name}: no metric {self.metric!r} for {self.kind.name}; there are "
                f"{', '.join(self.kind.metrics)}"
            )
        if not set(self.kind.metrics) <= set(METRICS):
            raise HarnessError(f"kind {self.kind.name}: unknown metrics {set(self.kind.metrics) - set(METRICS)}")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a suite promises of a model."""

    floor: float
    """Smallest score on the test rows, for every backend."""
    max_loss: float
    """Largest score a backend may lose against the reference on the same rows."""
    min_speedup: float | None = None
    """Smallest speed-up against the reference at batch 1; None asks for none."""

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1 or not 0 <= self.max_loss < 1:
            raise HarnessError(f"{self}: scores run from 0 to 1; 0.94 is 94 %, and a loss of 0.01 one point")
        if self.min_speedup is not None and not 0 < self.min_speedup < math.inf:
            raise HarnessError(f"{self}: a speed-up is a ratio; 1.5 is half as fast again as the reference")


class Target(NamedTuple):
    """Where and how a worker runs its backend."""

    device: Device
    threads: int
    spinning: bool = False
    """Whether idle threads wait in a loop, as runtimes do by default; asleep, they disturb nobody else's timing."""


class Session(NamedTuple):
    """A loaded backend."""

    run: Callable[[Arrays], Arrays]
    """Host arrays in, host arrays out, the device's work complete."""
    device: str
    """Read back from the runtime after loading, never copied from the request: `cpu` or `cuda`."""
    settings: dict[str, str]
    """What the runtime says of itself: versions, providers, thread counts."""
    compile: Callable[[Arrays], None] | None = None
    """Prepares for a batch's shapes ahead of the first answer (torch.compile, engine builders); a phase of its own."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A runtime and numeric form. Functions are module-level and import third parties inside themselves."""

    name: str
    load: Callable[[Path, Target], Session]
    build: Callable[[Path, Path, Kind], dict[str, str]] | None = None
    """(source folder, empty output folder, kind) → settings to record; raises Unsupported. None runs the source."""
    source: Backend | None = None
    """Built from this backend's artifact; None builds from the checkpoint."""
    lossy: bool = False
    """False: its answers must equal those of `source`, or of the reference, element by element."""
    devices: tuple[Device, ...] = DEVICES
    unavailable: Callable[[Device], str | None] | None = None
    """Why it cannot run on a device of this machine, if so; asked before anything expensive, imports no runtime."""

    def __post_init__(self) -> None:
        _check_name("backend", self.name)
        if not self.devices or not set(self.devices) <= set(DEVICES):
            raise HarnessError(f"backend {self.name}: devices={self.devices!r}; there are {', '.join(DEVICES)}")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Task x model x backend x device: the identity of a result."""

    task: Task
    model: Model
    backend: Backend
    device: Device
    gate: Gate | None = None
    """What the suite promises, where it is known at collection: `cases()` takes it from a mapping of models."""

    def __str__(self) -> str:
        return f"{self.task.name}/{self.model.name}.{self.backend.name}.{self.device}"


def cases(
    task: Task, models: Mapping[Model, Gate] | Iterable[Model], backends: Sequence[Backend] | None = None
) -> list[Case]:
    """Every case of a suite, CUDA ones included; `backends` defaults to `harness.DEFAULT_BACKENDS`.

    With a mapping, every case knows its gate before anything runs: one that no answers could meet is refused, and
    rounds go on until its smallest speed-up is decided too.
    """
    from harness.backends import DEFAULT_BACKENDS, PYTORCH

    chosen = DEFAULT_BACKENDS if backends is None else tuple(backends)
    for backend in chosen:
        if backend.name in (REFERENCE, CONTROL) and backend is not PYTORCH:
            raise HarnessError(f"backend {backend.name!r}: the reference and its control own that name; take another")
    gates: list[tuple[Model, Gate | None]]
    gates = list(models.items()) if isinstance(models, Mapping) else [(model, None) for model in models]
    found = list(_cases(task, gates, chosen))
    if len({str(case) for case in found}) < len(found):
        raise HarnessError(f"task {task.name}: two cases share a name; models and backends need distinct names")
    return found


def _cases(task: Task, gates: Iterable[tuple[Model, Gate | None]], backends: Sequence[Backend]) -> Iterator[Case]:
    for model, gate in gates:
        for device in DEVICES:
            for backend in backends:
                if device in backend.devices:
                    yield Case(task=task, model=model, backend=backend, device=device, gate=gate)
