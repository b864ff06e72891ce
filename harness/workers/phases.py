"""How much of loading a backend is importing: a count kept while it loads. Standard library only.

A backend's `load` imports its runtime inside itself, so that no line of ours lies between the two.
"""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

Clock = Callable[[], int]
"""Nanoseconds; given by whoever may read a clock."""


class Imports:
    """The time in which at least one import was under way, on whatever thread: nested ones count once."""

    def __init__(self, clock: Clock) -> None:
        self.ns = 0
        """Nanoseconds so far."""
        self._clock = clock
        self._counting = True
        self._under_way = 0
        self._began_ns = 0
        # Reentrant: a finaliser may import while this thread holds it.
        self._lock = RLock()

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose calls count until `stop`; a library may keep it for longer than that."""

        def importing(*args: Any, **kwargs: Any) -> Any:
            if not self._counting:
                return function(*args, **kwargs)
            self._enter()
            try:
                return function(*args, **kwargs)
            finally:
                self._leave()

        return importing

    def stop(self) -> None:
        """Count no further; what is still under way counts up to here."""
        with self._lock:
            if self._under_way:
                self.ns += self._clock() - self._began_ns
            self._counting = False

    def _enter(self) -> None:
        with self._lock:
            if not self._under_way:
                self._began_ns = self._clock()
            self._under_way += 1

    def _leave(self) -> None:
        with self._lock:
            self._under_way -= 1
            if self._counting and not self._under_way:
                self.ns += self._clock() - self._began_ns


@contextmanager
def imports(clock: Clock) -> Iterator[Imports]:
    """Count imports inside the block: `import` statements, and `importlib.import_module`, as lazy libraries use it."""
    found = Imports(clock)
    before = builtins.__import__, importlib.import_module
    ours = found.timed(builtins.__import__), found.timed(importlib.import_module)
    builtins.__import__, importlib.import_module = ours
    try:
        yield found
    finally:
        found.stop()
        # Whoever wrapped them meanwhile keeps their wrapper, and ours inside it passes calls on.
        if builtins.__import__ is ours[0]:
            builtins.__import__ = before[0]
        if importlib.import_module is ours[1]:
            importlib.import_module = before[1]
