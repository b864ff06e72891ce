"""Console output: third-party libraries held to their errors, and the progress of a run."""

from __future__ import annotations

import io
import logging
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import TextIO

LOG_EVERY_S, DRAW_EVERY_S = 30.0, 0.1
"""Pauses between lines about one stage: in a log, and on a terminal."""


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings and log lines below ERROR, whatever level a library gives its logger when it is imported."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def accept_any_text() -> None:
    """Let stdout and stderr escape characters that their encoding lacks: an umlaut must not end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@dataclass(eq=False)
class Stage:
    """A part of a run: its name, and how far it is."""

    label: str
    total: int | None
    progress: Progress
    began_s: float
    done: int = 0
    prepared_s: float = 0.0
    """The time from its begin to its first step, if that says nothing about the others."""

    @property
    def seconds(self) -> float:
        """The time since it began."""
        return self.progress.clock() - self.began_s

    def start_steps(self) -> None:
        """Estimate the time left from here on: what came before was no step."""
        self.prepared_s = self.seconds

    def update(self, count: int = 1) -> None:
        """Count further steps as done, and show them now and then."""
        self.done += count
        self.progress.show()


@dataclass(eq=False)
class Progress:
    """One live line on a terminal that no capturing replaces, plain lines in a log, and sentences that stay in both.

    Nothing wakes up by itself: workers are timed meanwhile. Lines follow the steps of a stage.
    """

    terminal: TextIO | None = None
    log: TextIO | None = None
    """Receives lines in place of a terminal."""
    clock: Callable[[], float] = monotonic
    stages: list[Stage] = field(default_factory=list, init=False)
    """Those in progress, the outermost first."""

    def __post_init__(self) -> None:
        """Begin to count the time without a line."""
        self.shown_s = self.clock()

    @contextmanager
    def bar(self, label: str, total: int | None = None) -> Iterator[Stage]:
        """Show a stage until it ends; stages nest. Without a total, the time left is not known."""
        stage = Stage(label, total, self, self.clock())
        self.stages.append(stage)
        self._draw()
        if total is None and self.terminal is None:
            self.say(self._line())
        try:
            yield stage
            if self.terminal is None:
                self.say(f"{': '.join(s.label for s in self.stages)} took {format_seconds(stage.seconds)}")
        finally:
            self.stages.remove(stage)
            self._draw()

    def say(self, text: str) -> None:
        """Print lines that stay, and the live line again."""
        self.shown_s = self.clock()
        self._draw(text)
        if self.terminal is None and self.log is not None:
            print(text, file=self.log, flush=True)

    def show(self) -> None:
        """Show how far the innermost stage is, unless a line was shown a moment ago."""
        pause_s = LOG_EVERY_S if self.terminal is None else DRAW_EVERY_S
        if (self.terminal or self.log) and self.clock() - self.shown_s >= pause_s:
            self.say("" if self.terminal else self._line())

    def _draw(self, above: str = "") -> None:
        """Write the live line over the last one, and a text above it; without a stage, leave the line empty."""
        if self.terminal is None:
            return
        try:
            width = os.get_terminal_size(self.terminal.fileno()).columns or 80
        except OSError:
            width = 80
        lines, line = wrapped(above, width), self._line()
        line = line if len(line) < width else f"…{line[len(line) + 2 - width :]}"  # the end says most
        self.terminal.write("".join((f"\r{' ' * (width - 1)}\r", *(f"{text}\n" for text in lines), line, "\r")))
        self.terminal.flush()

    def _line(self) -> str:
        """Name the stages, with the steps and time of the innermost, and its time left if it has a total."""
        from tqdm import tqdm

        names = ": ".join(stage.label for stage in self.stages)
        stage = self.stages[-1] if self.stages else None
        if stage is None or not (stage.total or stage.done):
            return names
        form = "{percentage:.0f}% [{elapsed}<{remaining}]" if stage.total else "{n_fmt} done [{elapsed}]"
        rate = stage.done / max(1e-9, stage.seconds - stage.prepared_s)
        counts = tqdm.format_meter(stage.done, stage.total, stage.seconds, bar_format=form, rate=rate)  # type: ignore[arg-type]
        return f"{names}  {counts}"


_SHOWN: ContextVar[Progress | None] = ContextVar("_SHOWN", default=None)


@contextmanager
def showing(progress: Progress) -> Iterator[None]:
    """Let `current` return this progress: results that are kept by their arguments must not depend on it."""
    token = _SHOWN.set(progress)
    try:
        yield
    finally:
        _SHOWN.reset(token)


def current() -> Progress:
    """Return the progress that is shown, or one that shows nothing."""
    return _SHOWN.get() or Progress()


def wrapped(text: str, width: int) -> list[str]:
    """Break long lines between words, and indent what follows."""
    wrapper = textwrap.TextWrapper(width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return [part for line in text.splitlines() for part in wrapper.wrap(line) or [""]]


def format_seconds(seconds: float) -> str:
    """Write a duration for a person: "95 s", "3 min 12 s"."""
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"
