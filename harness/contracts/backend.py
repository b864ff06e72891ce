"""The contract of a backend: its functions, and what they are given and return."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from harness.contracts.declarations import check_choice, check_name, check_tuple, explain_arguments
from harness.contracts.kind import Arrays, Kind, omit
from harness.errors import HarnessError

Device = Literal["cpu", "cuda"]
DEVICES: tuple[Device, ...] = ("cpu", "cuda")

REFERENCE = "pytorch"
"""Name of the backend that every other one is compared with."""
CONTROL = "control"
"""Name of the reference's second worker."""
ASLEEP = "asleep"
"""Name of the reference's worker whose idle threads sleep, beside workers that wait as their runtimes do by default."""
COMPANIONS = (CONTROL, ASLEEP)
"""Further workers of the reference, which are no backend of a suite."""

Option = str | int | bool
Options = Mapping[str, Option]
COMMON_OPTIONS = ("threads", "spinning")
"""Options of every backend, passed in its target; `Backend.choices` declares further ones."""

PROFILE = "profile"
"""Option of a target that turns on the runtime's profiler, for `shipbench profile` alone: the folder for its files."""


def _check_options(owner: str, options: Options, choices: Mapping[str, tuple[Option, ...]]) -> None:
    """Raise HarnessError for an option or a value that the backend does not have."""
    if common := sorted(set(COMMON_OPTIONS) & set(choices)):
        raise HarnessError(f"{owner}: choices={common}: omit {' and '.join(COMMON_OPTIONS)}; every backend has them")
    for option, value in options.items():
        check_choice(owner, "option", option, (*COMMON_OPTIONS, *choices))
        allowed = [repr(choice) for choice in {"spinning": (False, True), **choices}.get(option, ())]
        if option == "threads" and (type(value) is not int or value < 1):
            raise HarnessError(f"{owner}: threads={value!r}: must be a whole number of at least 1")
        if option != "threads" and repr(value) not in allowed:  # 1 is not True
            raise HarnessError(f"{owner}: {option}={value!r}; expected one of {', '.join(allowed)}")


def format_options(options: Options) -> str:
    """Return the options as a reader sees them: `threads=2, spinning=on`."""
    switches = {True: "on", False: "off"}
    return ", ".join(f"{k}={switches[v] if isinstance(v, bool) else v}" for k, v in options.items())


@explain_arguments
@dataclass(frozen=True, kw_only=True)
class Python:
    """Another Python environment: an existing one, or one that pip builds."""

    interpreter: str | None = None
    """Path of its executable; a relative one starts where pytest runs."""
    requirements: tuple[str, ...] = ()
    """Requirements for pip that include or bring numpy. Built once, with the running version of Python."""
    overlay: bool = False
    """True installs the requirements alone, without their dependencies, in front of pytest's own environment."""
    packages: str | None = None
    """Folder whose packages come before the interpreter's own; set for an overlay that is installed."""

    def __post_init__(self) -> None:
        check_tuple("Python", "requirements", self.requirements, "('numpy>=2',)")
        if bool(self.requirements) == (self.interpreter is not None):
            raise HarnessError("Python: give either interpreter= or requirements=, from which one is built")
        if self.overlay and not self.requirements:
            raise HarnessError("Python: overlay=True needs requirements= to install in front of this environment")

    @property
    def executable(self) -> str:
        """The interpreter's absolute path, links not resolved: they tell virtual environments apart."""
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
        """Rows that show the ranges of a model's activations."""

    @property
    def validation(self) -> HeldOut:
        """Rows on which to score a choice."""

    @property
    def max_drop(self) -> float | None:
        """The gate's largest drop; None where the suite declares no gate."""

    def score(self, outputs: Sequence[Arrays]) -> float:
        """Score outputs, one for each validation row; NaN where the metric is undefined on these rows."""


def single_rows(rows: HeldOut) -> list[Arrays]:
    """Return each row as a batch of its own, without the arrays that only `reduce` needs."""
    return [omit(rows.batch([row]), rows.kind.reduce_inputs) for row in range(len(rows))]


class Target(NamedTuple):
    """Where and how a worker runs its backend."""

    device: Device
    threads: int
    spinning: bool = False
    """True lets idle threads wait as the runtime does by default, most of them busily for a while; False, asleep."""
    options: Options = MappingProxyType({})
    """The backend's options by name, `threads` and `spinning` included if they were chosen."""


class Session(NamedTuple):
    """A loaded backend."""

    run: Callable[[Arrays], Arrays]
    """Host arrays in, host arrays out, the device's work complete."""
    device: str
    """`cpu` or `cuda`, read back from the runtime after loading, never copied from the request."""
    settings: dict[str, str]
    """Versions, providers and thread counts, as the runtime reports them."""
    compile: Callable[[Arrays], None] | None = None
    """Compiles for a batch's shapes before the first answer, as torch.compile and engine builders do; timed apart."""
    keep: Callable[[Arrays], Arrays] | None = None
    """Reduces an answer after the timed window; None keeps all of it. Set by the harness, never by a backend."""
    operators: Callable[[], list[list[tuple[str, float]]]] | None = None
    """The operators of every answer so far, with their seconds; set where `PROFILE` is among the target's options."""


class Route(NamedTuple):
    """One of several ways to build an artifact."""

    build: Callable[[Path, Path, Kind], dict[str, str]]
    """As `Backend.build`; raises Unsupported for a model that the next route is to try."""
    builds_in: Python | None = None
    """Environment in which it runs; None is pytest's own."""
    check: Callable[[Path, Path, Kind], None] | None = None
    """(source folder, artifact, kind) in pytest's environment; raises Unsupported for an artifact to discard."""


@explain_arguments
@dataclass(frozen=True, kw_only=True)
class Backend:
    """A runtime and number format. Functions are module-level and import third parties inside: naming one is free."""

    name: str
    load: Callable[[Path, Target], Session]
    """(artifact, target) → session, in the worker; raises Unsupported for a model that it cannot run."""
    imports: tuple[str, ...] = field(default=(), compare=False)
    """Modules that a worker imports before `load`, timed as the import phase: ("torch", "transformers")."""
    build: Callable[[Path, Path, Kind], dict[str, str]] | None = None
    """(source folder, empty output folder, kind) → settings to record; raises Unsupported. None runs the source."""
    calibrate: Callable[[Path, Path, Kind, Calibration], dict[str, str]] | None = None
    """Like `build`, but also receives held-out rows."""
    routes: Callable[[Path], tuple[Route, ...]] | None = None
    """(source folder) → ways to build, tried in order until one supports the model; a backend has one of the three."""
    source: Backend | None = None
    """Backend from whose artifact this one is built; None builds from the checkpoint."""
    lossy: bool = False
    """False: its answers must equal those of `source`, or of the reference, within the kind's tolerance."""
    batches_of: int | None = None
    """Sort a batch's rows by length and answer this many at a time; None answers a batch as it comes."""
    devices: tuple[Device, ...] = DEVICES
    unavailable: Callable[[Device], str | None] | None = None
    """Device → why the backend cannot run on this machine, or None. Called early; must import no runtime."""
    builds_in: Python | None = None
    """Environment in which `build` runs; None is pytest's own."""
    runs_in: Python | None = None
    """Environment in which workers run; None is pytest's own."""
    generates_in: Python | None = None
    """Environment in which workers run whose model generates text, unless `runs_in` names another."""
    packages: tuple[str, ...] = ()
    """Distributions whose version changes the answers, artifacts and comparability; in `runs_in` all of them count."""
    choices: Mapping[str, tuple[Option, ...]] = field(default_factory=dict, compare=False)
    """Options that `load` reads from `target.options` besides the common ones: name → values, the default first."""
    options: Options = field(default_factory=dict, hash=False)
    """Chosen options, the same in every worker; recorded with the runtime's settings."""

    def __post_init__(self) -> None:
        owner = f"backend {self.name}"
        check_name("backend", self.name)
        for device in self.devices or ("",):
            check_choice(owner, "device", device, DEVICES)
        if self.batches_of is not None and self.batches_of < 1:
            raise HarnessError(f"{owner}: batches_of={self.batches_of} must be positive")
        check_tuple(owner, "imports", self.imports, "('onnxruntime',)")
        check_tuple(owner, "packages", self.packages, "('onnxruntime',)")
        if sum(way is not None for way in (self.build, self.calibrate, self.routes)) > 1:
            raise HarnessError(f"{owner}: give one of build=, calibrate= and routes=; each writes the whole artifact")
        if self.builds_in and self.build is None:
            raise HarnessError(f"{owner}: builds_in= needs a build= to run there")
        _check_options(owner, self.options, self.choices)
        object.__setattr__(self, "choices", MappingProxyType(dict(self.choices)))
        object.__setattr__(self, "options", MappingProxyType(dict(sorted(self.options.items()))))

    @property
    def builds(self) -> bool:
        """True if it builds an artifact; else workers run that of `source`."""
        return any(way is not None for way in (self.build, self.calibrate, self.routes))

    def worker_target(self, target: Target) -> Target:
        """Return the target for this backend's workers: its own options override the run's."""
        own = {name: value for name, value in self.options.items() if name in COMMON_OPTIONS}
        return target._replace(**own, options=self.options)  # type: ignore[arg-type]
