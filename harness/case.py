"""Cases: a suite's tasks and models on every backend and device. Collecting thousands of them is free, as in `spec`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.contracts import CONTROL, DEVICES, REFERENCE, Backend, Device
from harness.errors import HarnessError
from harness.origins.sources import Hub
from harness.spec import Gate, Model, Task


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
