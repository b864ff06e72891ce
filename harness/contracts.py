"""What a backend and a kind of task must provide: frozen values that name module-level functions.

Third parties are imported inside those functions, so that to name a backend costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harness.errors import HarnessError
from harness.sources import Row, Source

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


def check_name(what: str, name: str) -> None:
    """HarnessError for a name that could not be a file's."""
    if not _NAME.fullmatch(name):
        raise HarnessError(
            f"{what} name {name!r}: names become file names and pytest ids, so use letters, digits, '-' and '_' only"
        )


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
        check_name("backend", self.name)
        if not self.devices or not set(self.devices) <= set(DEVICES):
            raise HarnessError(f"backend {self.name}: devices={self.devices!r}; there are {', '.join(DEVICES)}")
