"""What a backend and a kind of task must provide: frozen values that name module-level functions.

Third parties are imported inside those functions, so that to name a backend costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harness.errors import HarnessError
from harness.interpreter import Python
from harness.likeness import ELEMENTS, Likeness
from harness.sources import Row, Source
from harness.tuned import NOTHING, OWN, Option, Options, check_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.aside import Aside

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


Example = dict[str, Any]
"""What one entry of a batch is made of: numbers, lists and arrays by name."""
TARGETS = ("labels", "start_positions", "end_positions")
"""What Transformers' heads call what they are taught."""
NOT_TAUGHT = -100
"""Target of a token that no loss counts, as PyTorch's losses have it."""
Labels = Literal["one", "each", "free", "none"]
"""What a task's label is: one name a row; one for each of a row's parts, words for instance; whatever the kind reads
from it, an answer in words for instance; or nothing, where a row holds its own answer."""


class Asked(NamedTuple):
    """Rows, as a kind has encoded them."""

    processor: Any
    rows: Sequence[Row]
    inputs: tuple[str, ...]
    """Columns that the model is given."""
    examples: Sequence[Sequence[Example]]
    """Of each row."""
    max_length: int | None = None
    """Longest text in tokens, of what is taught too; None where nothing is cut."""


def column(rows: Any, name: str) -> list[Any]:
    """One column of rows; of a `datasets.Dataset` without reading the others, images for instance."""
    return list(rows[name]) if hasattr(rows, "column_names") else [row[name] for row in rows]


def own_label(asked: Asked) -> list[Any]:
    """Each row's `label`."""
    return column(asked.rows, "label")


def without(arrays: Arrays, names: Collection[str]) -> Arrays:
    """The arrays but for `names`."""
    return {name: array for name, array in arrays.items() if name not in names}


def shortened(example: Example, length: int) -> Example:
    """The example, cut to `length` tokens."""
    return {name: values[:length] for name, values in example.items()}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How rows of a sort of task become tensors, and tensors predictions. Functions are module-level."""

    name: str
    auto_class: str
    """Transformers' Auto class that puts the head on a checkpoint."""
    export: str = ""
    """Optimum's name of the export task; empty where it is the kind's."""
    metrics: tuple[str, ...]
    label: Labels = "one"
    processor: Callable[[Source, Path | None, Sequence[Row], tuple[str, ...]], Any]
    """(source, folder of the pretrained checkpoint, training rows, input columns) → has `save_pretrained`."""
    load_processor: Callable[[Path], Any]
    encode: Callable[[Any, Sequence[Row], tuple[str, ...], int], list[list[Example]]]
    """(processor, rows, input columns, max_length) → for each row its examples, unpadded: one, or windows of it."""
    collate: Callable[[Any, list[Example]], Arrays]
    """(processor, examples) → batch arrays, an entry an example, padded to the longest."""
    problem: Callable[[Row, tuple[str, ...]], str] | None = None
    """(row with its `label`, input columns) → what is wrong with it, in words; empty if nothing is."""
    targets: Callable[[Asked], list[list[Example]]]
    """For each example of rows to train on, what the model is to answer, by the name its `forward` has for that.

    An example of whose tokens none is taught anything is left out.
    """
    aside: tuple[str, ...] = ()
    """Arrays of a batch that `reduce` needs and the model is not given."""
    reduce: Callable[[Arrays, Arrays], Arrays] | None = None
    """(batch, outputs) → what is kept of the outputs; called in the worker, after the timed window."""
    predict: Callable[[Asked, Sequence[Arrays]], list[Any]]
    """Outputs of each row → its prediction, a plain value; for labels their index among the model's answers."""
    truths: Callable[[Asked], list[Any]] = own_label
    """What each row's prediction should be."""
    tokens: Callable[[Any, Arrays], int] | None = None
    """(processor, outputs of a row) → how many tokens were generated; None where none are."""
    likeness: Likeness = ELEMENTS
    """What makes an export's outputs the same as its source's."""
    native_arguments: Callable[[Any, int], dict[str, int]] | None = None
    """(processor, number of labels) → what a native module's constructor is given; None where there are none."""
    axes: tuple[str, ...]
    """Names of the leading axes of every input that may change from call to call."""
    shorten: Callable[[Example, int], Example] = shortened
    spare: tuple[str, ...] = ()
    """Beginnings of names of weights that no answer depends on, so that a checkpoint may lack them."""


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
