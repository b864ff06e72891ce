"""What a backend must provide: a frozen value that names module-level functions.

Third parties are imported inside those functions, so that to name a backend costs nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from harness.contracts.kind import Arrays, Kind, without
from harness.errors import HarnessError

Option = str | int | bool

Options = Mapping[str, Option]

NOTHING: Options = MappingProxyType({})

OWN = ("threads", "spinning")
"""What every backend is told by its target, and so may be tuned in; its `choices` are what it has besides."""


def check_options(name: str, options: Options, choices: Mapping[str, tuple[Option, ...]]) -> None:
    """HarnessError, saying what there is, for an option or value that the backend `name` has not."""
    own = sorted(set(OWN) & set(choices))
    if own:
        raise HarnessError(f"backend {name}: choices={own}: every backend has {' and '.join(OWN)}; declare others only")
    for option, value in options.items():
        if option not in (*OWN, *choices):
            raise HarnessError(
                f"backend {name}: unknown option {option!r}; expected one of {', '.join((*OWN, *choices))}"
            )
        if option == "threads":
            if type(value) is not int or value < 1:
                raise HarnessError(f"backend {name}: threads={value!r}: must be a whole number of at least 1")
            continue
        values = (False, True) if option == "spinning" else choices[option]
        if not any(value == one and type(value) is type(one) for one in values):
            raise HarnessError(f"backend {name}: {option}={value!r}; expected one of {', '.join(map(repr, values))}")


def options_text(options: Options) -> str:
    """Return the options as a reader sees them: `threads=2, spinning=on`."""
    switches = {True: "on", False: "off"}
    return ", ".join(f"{k}={switches[v] if isinstance(v, bool) else v}" for k, v in options.items())


@dataclass(frozen=True, kw_only=True)
class Python:
    """Another environment: one that is there, or one that is built with pip."""

    interpreter: str | None = None
    """Its executable; a relative path starts where pytest does."""
    requirements: tuple[str, ...] = ()
    """What pip is asked for, numpy among it or brought by it. Built once, for this very version of Python."""

    def __post_init__(self) -> None:
        given = self.requirements
        if isinstance(given, str) or not all(isinstance(one, str) and one.strip() for one in given):
            raise HarnessError(f"Python(requirements={given!r}): a tuple of what pip is asked for: ('numpy>=2',)")
        if bool(given) == (self.interpreter is not None):
            raise HarnessError("Python(…): name an interpreter, or the requirements that one is built from")

    @property
    def executable(self) -> str:
        """The interpreter's path, absolute; links are kept, since a virtual environment is known by its own."""
        assert self.interpreter is not None, "built from requirements first, by harness.environments.interpreters"
        return os.path.abspath(self.interpreter)  # noqa: PTH100  # Path.resolve would follow the link


class HeldOut(Protocol):
    """Encoded rows that are neither test rows nor rows the model was trained on."""

    @property
    def kind(self) -> Kind:
        """The kind of task that encoded them."""

    def __len__(self) -> int: ...

    def batch(self, rows: Sequence[int]) -> Arrays:
        """Return the rows with these numbers as one batch."""


class Calibration(Protocol):
    """Held-out rows and the accuracy budget for builds that calibrate."""

    @property
    def calibration(self) -> HeldOut:
        """Rows that show which values a model's layers take."""

    @property
    def validation(self) -> HeldOut:
        """Rows that show what a choice costs."""

    @property
    def max_drop(self) -> float | None:
        """The gate's largest drop; None where the suite declares no gate."""

    def score(self, outputs: Sequence[Arrays]) -> float:
        """Score outputs, one for each validation row; NaN where the metric is undefined on these rows."""


def single_rows(rows: HeldOut) -> list[Arrays]:
    """Return each row as a batch of its own, without the arrays that only `reduce` needs."""
    return [without(rows.batch([row]), rows.kind.aside) for row in range(len(rows))]


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
    imports: tuple[str, ...] = field(default=(), compare=False)
    """Modules that a worker imports before `load`, timed as the import phase (`import_ns`); e.g. ("torch",
    "transformers")."""
    build: Callable[[Path, Path, Kind], dict[str, str]] | None = None
    """(source folder, empty output folder, kind) → settings to record; raises Unsupported. None runs the source."""
    calibrate: Callable[[Path, Path, Kind, Calibration], dict[str, str]] | None = None
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
        if not isinstance(self.imports, tuple) or not all(isinstance(name, str) for name in self.imports):
            raise HarnessError(f"backend {self.name}: imports={self.imports!r}; use a tuple of module names")
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
