"""Variants of a backend that share its artifact: other options, or batches sorted by length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from harness.contracts.backend import COMMON_OPTIONS, Option, Options, format_options
from harness.errors import HarnessError
from harness.util.machine import usable_cores

if TYPE_CHECKING:
    from harness.contracts.backend import Backend, Device, Target

MOST_COUNTS = 4
"""Thread counts that are measured together, each with and without spinning: every variant is a process."""


def tuned(backend: Backend, /, *, name: str = "", **options: Option) -> Backend:
    """Return the backend with these options, named `name` or the backend's name and "-tuned".

    It runs the backend's artifact, is measured beside it, and must answer as the backend does, element by element.
    HarnessError for an option or a value that the backend does not have.
    """
    if not options:
        choices = ", ".join((*COMMON_OPTIONS, *backend.choices))
        raise HarnessError(f"tuned({backend.name}): names no option; expected one or more of {choices}")
    own = {**backend.options, **options}
    return replace(_sharing_artifact(backend), name=name or f"{backend.name}-tuned", lossy=False, options=own)


def by_length(backend: Backend, rows: int = 4) -> Backend:
    """Return the backend with its batches sorted by length and answered `rows` at a time."""
    return replace(_sharing_artifact(backend), name=f"{backend.name}-by-length", batches_of=rows)


def _sharing_artifact(backend: Backend) -> Backend:
    return replace(backend, source=backend, build=None, calibrate=None, routes=None, builds_in=None)


def unavailable_reason(backend: Backend, device: Device) -> str | None:
    """Return why the backend cannot run on this device of this machine; None if it can."""
    threads = backend.options.get("threads", 1)
    if threads > usable_cores():  # type: ignore[operator]  # checked when it was declared
        return f"it is tuned to {threads} threads; this process may use {usable_cores()} cores"
    return backend.unavailable(device) if backend.unavailable else None


def variants(default: Target, counts: Iterable[int]) -> dict[str, Options]:
    """Return every choice of threads and spinning except the default, by its text."""
    pairs = product(counts, (False, True))
    choices = [{"threads": threads, "spinning": spinning} for threads, spinning in pairs]
    own = {"threads": default.threads, "spinning": default.spinning}
    return {format_options(options): options for options in choices if options != own}


def thread_counts(cores: int) -> tuple[int, ...]:
    """Return the powers of two up to all cores, half of the cores, and all of them."""
    return tuple(sorted({2**power for power in range(cores.bit_length())} | {max(1, cores // 2), cores}))


def spread(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return at most MOST_COUNTS of the counts, evenly spread from the first to the last."""
    indices = np.linspace(0, len(counts) - 1, MOST_COUNTS).round().astype(int)
    return tuple(counts[index] for index in np.unique(indices))


def tuned_code(backend: str, options: Options) -> str:
    """Return the Python expression that makes the variant; `backend` is the backend's Python name."""
    return f"tuned({backend}, {', '.join(f'{name}={value!r}' for name, value in options.items())})"
