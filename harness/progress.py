"""What a person sees while they wait. Silent when the output is not a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Never, TextIO

from tqdm import tqdm


@dataclass(frozen=True)
class Progress:
    """Bars and sentences on `terminal`, a file that no capturing replaces; None shows no bars."""

    terminal: TextIO | None = None
    log: TextIO | None = None
    """Where sentences go when there is no terminal."""

    @contextmanager
    def bar(self, label: str, total: int | None) -> Iterator[tqdm[Never]]:
        """A bar that disappears when it is done; drawn only when it is told to advance."""
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
        file = self.terminal or self.log
        if file is not None:
            tqdm.write(text, file=file)
            file.flush()
