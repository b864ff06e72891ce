"""What a backend must provide: a frozen value that names module-level functions.

Third parties are imported inside those functions, so that to name a backend costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harness.errors import HarnessError
from harness.pythons.interpreter import Python
from harness.tuning.tuned import NOTHING, OWN, Option, Options, check_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.artifacts.aside import Aside
    from harness.kind import Kind

Arrays = dict[str, "NDArray[Any]"]
Device = Literal["cpu", "cuda"]
DEVICES: tuple[Device, ...] = ("cpu", "cuda")
REFERENCE = "pytorch"
"""Name of the backend that every other one is compared with."""
CONTROL = "control"
"""Name of the reference's second worker."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Of tasks, models and backends."""


def check_name(what: str, name: str) -> None:
    """HarnessError for a name that could not be a file's."""
    if not NAME.fullmatch(name):
        raise HarnessError(
            f"{what} name {name!r}: names become file names and pytest ids, so use letters, digits, '-' and '_' only"
        )


class Target(NamedTuple):
    """Where and how a worker runs its backend."""

    device: Device
    threads: int
    spinning: bool = False
    """Whether idle threads wait in a loop, as runtimes do by default; asleep, they disturb nobody else's timing."""
    options: Options = NOTHING
    """What was chosen for the backend, by name; threads and spinning are those above."""


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
    keep: Callable[[Arrays], Arrays] | None = None
    """What is kept of an answer, made of it after the window; None keeps all. The harness's own, not a backend's."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A runtime and numeric form. Functions are module-level and import third parties inside themselves."""

    name: str
    load: Callable[[Path, Target], Session]
    """(artifact, target) → session, in the worker; raises Unsupported for a model that it cannot run."""
    build: Callable[[Path, Path, Kind], dict[str, str]] | None = None
    """(source folder, empty output folder, kind) → settings to record; raises Unsupported. None runs the source."""
    calibrate: Callable[[Path, Path, Kind, Aside], dict[str, str]] | None = None
    """Builds likewise, and is given the rows set aside for that; instead of `build`."""
    source: Backend | None = None
    """Built from this backend's artifact; None builds from the checkpoint."""
    lossy: bool = False
    """False: its answers must equal those of `source`, or of the reference, element by element."""
    batches_of: int | None = None
    """Rows of a batch are sorted by length and answered so many at a time; None answers a batch as it comes."""
    devices: tuple[Device, ...] = DEVICES
    unavailable: Callable[[Device], str | None] | None = None
    """Why it cannot run on a device of this machine, if so; asked before anything expensive, imports no runtime."""
    builds_in: Python | None = None
    """Where `build` runs; None is the environment of pytest."""
    runs_in: Python | None = None
    """Where workers run; likewise. An artifact may well run elsewhere than it was built."""
    packages: tuple[str, ...] = ()
    """Distributions that decide what it answers, where no result names them yet: of another release, it is built anew,
    and stored runs are not comparable. Of another environment everything installed counts without being named."""
    choices: Mapping[str, tuple[Option, ...]] = field(default_factory=dict, compare=False)
    """Options that `load` finds in `target.options`, and their values, the default's first; beside threads and
    spinning, which every backend is told."""
    options: Options = field(default_factory=dict, hash=False)
    """What is chosen of them, the same in every worker; recorded with the runtime's settings."""

    def __post_init__(self) -> None:
        check_name("backend", self.name)
        if not self.devices or not set(self.devices) <= set(DEVICES):
            raise HarnessError(f"backend {self.name}: devices={self.devices!r}; there are {', '.join(DEVICES)}")
        if self.batches_of is not None and self.batches_of < 1:
            raise HarnessError(f"backend {self.name}: batches_of={self.batches_of} answers no row at a time")
        if isinstance(self.packages, str):
            raise HarnessError(f"backend {self.name}: packages={self.packages!r}; it is a tuple of names")
        if self.build and self.calibrate:
            raise HarnessError(f"backend {self.name}: build= or calibrate=, not both; each writes the whole artifact")
        if self.builds_in and self.build is None:
            raise HarnessError(f"backend {self.name}: builds_in= names an environment, and there is no build= to run")
        check_options(self.name, self.options, self.choices)
        object.__setattr__(self, "choices", MappingProxyType(dict(self.choices)))
        object.__setattr__(self, "options", MappingProxyType(dict(sorted(self.options.items()))))

    def aimed(self, target: Target) -> Target:
        """The target of this backend's workers: what it has chosen itself goes before what all are given."""
        return target._replace(**{n: v for n, v in self.options.items() if n in OWN}, options=self.options)  # type: ignore[arg-type]
