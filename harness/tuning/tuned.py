"""Options of a backend: what may be chosen without building it anew, and a variant of it that has something chosen."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations, product
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.contracts import Backend, Device, Target

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
            raise HarnessError(f"backend {name}: no option {option!r}; there are {', '.join((*OWN, *choices))}")
        if option == "threads":
            if type(value) is not int or value < 1:
                raise HarnessError(f"backend {name}: threads={value!r}: must be a whole number of at least 1")
            continue
        values = (False, True) if option == "spinning" else choices[option]
        if not any(value == one and type(value) is type(one) for one in values):
            raise HarnessError(f"backend {name}: {option}={value!r}; there are {', '.join(map(repr, values))}")


def tuned(backend: Backend, /, *, name: str = "", **options: Option) -> Backend:
    """The backend with these options, under a name of its own (by default the backend's and "-tuned").

    It runs the backend's artifact and must answer as the backend does, element by element, so that it can be measured
    beside it. HarnessError, saying what there is, for an option or value that the backend has not.
    """
    if not options:
        raise HarnessError(f"tuned({backend.name}): no option; there are {', '.join((*OWN, *backend.choices))}")
    return variant(backend, options, name)


def variant(backend: Backend, options: Options, name: str = "") -> Backend:
    """Likewise, of options in a mapping."""
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
    from harness.environment import usable_cores

    threads = backend.options.get("threads", 1)
    if threads > usable_cores():  # type: ignore[operator]  # checked when it was declared
        return f"it is tuned to {threads} threads, and this process may use {usable_cores()} cores"
    return backend.unavailable(device) if backend.unavailable else None


def default(backend: Backend, target: Target) -> Options:
    """What the backend runs with where nothing else is chosen: every option with its value."""
    named = {"threads": target.threads, "spinning": target.spinning}
    return named | {name: values[0] for name, values in backend.choices.items()} | dict(backend.options)


def alternatives(backend: Backend, target: Target, cores: int, seed: int = 0) -> Iterator[Options]:
    """Every other choice, as what differs from the default: what changes one option first, then two, and so on.

    Drawn with the seed among those that change equally many. Most options change nothing on most models, so that
    nearby choices say more than distant ones, and a winner is not burdened with changes that it does not need.
    """
    known = default(backend, target)
    values: dict[str, tuple[Option, ...]] = {"threads": thread_counts(cores), "spinning": (False, True)}
    values |= backend.choices
    others = {name: [one for one in values[name] if one != known[name]] for name in values}
    others = {name: left for name, left in others.items() if left}
    for many in range(1, len(others) + 1):
        found = [
            dict(zip(names, chosen, strict=True))
            for names in combinations(others, many)
            for chosen in product(*(others[name] for name in names))
        ]
        random.Random(f"{seed} {many}").shuffle(found)
        yield from found


def thread_counts(cores: int) -> tuple[int, ...]:
    """What is tried: powers of two, half of the cores and all of them."""
    return tuple(sorted({2**power for power in range(cores.bit_length())} | {max(1, cores // 2), cores}))


def words(options: Options) -> str:
    """Options as a reader sees them."""
    told = {True: "on", False: "off"}
    return ", ".join(f"{k}={told[v] if isinstance(v, bool) else v}" for k, v in options.items())


def python(backend: str, options: Options) -> str:
    """The expression that makes the variant; `backend` is what the backend's value is called."""
    return f"tuned({backend}, {', '.join(f'{name}={value!r}' for name, value in options.items())})"
