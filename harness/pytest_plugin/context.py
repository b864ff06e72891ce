"""Settings that a session shares with its machines, and the texts that they add to."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.pytest_plugin import options
from harness.pytest_plugin.selection import Place, name_of
from harness.util.console import Progress
from harness.util.remote import Remote
from harness.util.store import users_folder

if TYPE_CHECKING:
    from harness.pipeline.state import Options
    from harness.pytest_plugin.shards import Shard
    from harness.util.machine import Environment


@dataclass
class Context:
    """The settings of a session, and the texts that its machines add to."""

    options: Namespace
    """pytest's; this plug-in's begin with `ship_`."""
    root: Path
    progress: Progress
    arguments: tuple[str, ...] = ()
    """This plug-in's options as they stand on the command line."""
    shard: Shard | None = None
    """This session's tasks, if it is one of several."""
    headings: dict[tuple[str, Place], str] = field(default_factory=dict)
    """Machine and comparison so far → its number, name and duration."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Duration of each comparison and finals."""
    comparisons: int = 0
    """Those to measure on all machines."""

    @property
    def machine_names(self) -> list[str]:
        """The names of the machines to measure on."""
        return options.machines(self.options)

    @property
    def results_folder(self) -> Path:
        """The folder of results."""
        return self.options.ship_results or self.root / "results"

    @property
    def artifacts_folder(self) -> Path:
        """The folder of checkpoints and artifacts."""
        place = self.options.ship_artifacts
        return users_folder() if isinstance(place, str) else place or self.root / ".artifacts"

    @property
    def remote(self) -> Remote | None:
        """The place outside this machine that has checkpoints, too."""
        place = self.options.ship_artifacts
        return Remote(place) if isinstance(place, str) else None

    def pipeline_options(self, machine: str) -> Options:
        """Return the options in the form the pipeline takes."""
        return options.pipeline_options(self.options, machine, self.artifacts_folder, self.remote)

    def environment(self, machine: str, folder: Path | None = None) -> Environment:
        """Return this machine's environment under a name; the commit is that of `folder`, by default the root."""
        from harness.util.machine import describe

        return describe(machine, options.threads(self.options), folder or self.root, options.spinning(self.options))

    def head(self, machine: str, place: Place, how: str) -> None:
        """Set the heading of a comparison's lines, once."""
        if (machine, place) not in self.headings:
            self.headings[machine, place] = f"{self.numbered(machine, place)}, {how}"

    def numbered(self, machine: str, place: Place) -> str:
        """Name the next comparison with its number."""
        return f"[{len(self.headings) + 1}/{self.comparisons}] {self.name(machine, place)}"

    def name(self, machine: str, place: Place) -> str:
        """Name a comparison, with its machine where there are several."""
        return f"{name_of(place)} of {machine}" if len(self.machine_names) > 1 else name_of(place)
