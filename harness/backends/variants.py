"""Options of a backend: what may be chosen without building it anew, and a variant of it that has something chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from harness.contracts.backend import OWN, Option, Options, options_text
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.contracts.backend import Backend, Device, Target

MOST_COUNTS = 4
"""Thread counts that are measured together, each with and without spinning: every variant is a process."""


def tuned(backend: Backend, /, *, name: str = "", **options: Option) -> Backend:
    """The backend with these options, under a name of its own (by default the backend's and "-tuned").

    It runs the backend's artifact and must answer as the backend does, element by element, so that it can be measured
    beside it. HarnessError, saying what there is, for an option or value that the backend has not.
    """
    if not options:
        raise HarnessError(
            f"tuned({backend.name}): names no option; expected one or more of {', '.join((*OWN, *backend.choices))}"
        )
    return variant(backend, options, name)


def variant(backend: Backend, options: Options, name: str = "") -> Backend:
    """Return `tuned(backend)` with options from a mapping."""
    return replace(
        backend,
        name=name or f"{backend.name}-tuned",
        source=backend,
        build=None,
        calibrate=None,
        builds_in=None,
        lossy=False,
        options={**backend.options, **options},
    )


def lacking(backend: Backend, device: Device) -> str | None:
    """Why the backend cannot run on this device of this machine, if so."""
    from harness.util.machine import usable_cores

    threads = backend.options.get("threads", 1)
    if threads > usable_cores():  # type: ignore[operator]  # checked when it was declared
        return f"it is tuned to {threads} threads, and this process may use {usable_cores()} cores"
    return backend.unavailable(device) if backend.unavailable else None


def variants(default: Target, counts: Iterable[int]) -> dict[str, Options]:
    """Return every choice of threads and spinning but the default, by its words."""
    pairs = product(counts, (False, True))
    options = [{"threads": threads, "spinning": spinning} for threads, spinning in pairs]
    own = {"threads": default.threads, "spinning": default.spinning}
    return {options_text(one): one for one in options if one != own}


def thread_counts(cores: int) -> tuple[int, ...]:
    """Return powers of two, half of the cores and all of them."""
    return tuple(sorted({2**power for power in range(cores.bit_length())} | {max(1, cores // 2), cores}))


def spread(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return MOST_COUNTS of the counts, evenly spread from the first to the last; all where they are no more."""
    if len(counts) <= MOST_COUNTS:
        return counts
    return tuple(counts[round(part * (len(counts) - 1) / (MOST_COUNTS - 1))] for part in range(MOST_COUNTS))


def python(backend: str, options: Options) -> str:
    """Return the expression that makes the variant of the backend with this Python name."""
    return f"tuned({backend}, {', '.join(f'{name}={value!r}' for name, value in options.items())})"


def by_length(backend: Backend, rows: int = 4) -> Backend:
    """The backend on the same artifact, with its batches sorted by length and answered `rows` at a time."""
    same = replace(backend, build=None, calibrate=None, builds_in=None)
    return replace(same, name=f"{backend.name}-by-length", source=backend, batches_of=rows)
