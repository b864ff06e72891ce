"""Libraries held to their errors: a run's output is for what the run found out.

ALSO: What a person sees while they wait. Silent when the output is not a terminal."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

CHATTY = (
    "transformers",
    "datasets",
    "optimum",
    "torch.onnx",
    "onnxscript",
    "onnx_ir",
    "onnxruntime",
    "root",
    "evaluate",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, third-party warnings and log lines below ERROR are dropped; exceptions are not."""
    loggers = [logging.getLogger(None if name == "root" else name) for name in CHATTY]
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


@dataclass(frozen=True)
class Progress:
    """Bars and sentences on `terminal`, a file that no capturing replaces; None shows no bars."""

    terminal: TextIO | None = None
    log: TextIO | None = None
    """Where sentences go when there is no terminal."""

    @contextmanager
    def bar(self, label: str, total: int | None) -> Iterator[tqdm[Never]]:
        """A bar that disappears when it is done; drawn only when it is told to advance."""
        from tqdm import tqdm

        with tqdm(
            desc=label,
            total=total,
            file=self.terminal,
            disable=self.terminal is None,
            leave=False,
            dynamic_ncols=True,
        ) as bar:
            yield bar

    def say(self, text: str) -> None:
        """One line that stays."""
        from tqdm import tqdm

        file = self.terminal or self.log
        if file is not None:
            tqdm.write(text, file=file)
            file.flush()
