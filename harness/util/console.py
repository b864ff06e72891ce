"""Console output: third-party libraries held to their errors, and progress bars on the terminal."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

# None is the root logger.
NOISY = ("transformers", "datasets", "optimum", "torch.onnx", "onnxscript", "onnx_ir", "onnxruntime", None, "evaluate")


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings and log lines below ERROR of third-party libraries."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def accept_any_text() -> None:
    """Let stdout and stderr escape characters that their encoding lacks: an umlaut must not end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@dataclass(frozen=True)
class Progress:
    """Progress bars and sentences on a terminal that no capturing replaces. Without a terminal, bars are off."""

    terminal: TextIO | None = None
    log: TextIO | None = None
    """Receives sentences in place of a terminal."""

    def bar(self, label: str, total: int | None) -> tqdm[Never]:
        """Return a context manager that shows a bar until its end."""
        from tqdm import tqdm

        off = self.terminal is None
        return tqdm(desc=label, total=total, file=self.terminal, disable=off, leave=False, dynamic_ncols=True)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        from tqdm import tqdm

        if (file := self.terminal or self.log) is not None:
            tqdm.write(text, file=file)
            file.flush()
