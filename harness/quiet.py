"""Libraries held to their errors: a run's output is for what the run found out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

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
