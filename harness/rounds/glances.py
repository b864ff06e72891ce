"""Glances at the GPU while rounds run on it, and calls until its clock is steady."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.rounds.crew import Crew
from harness.rounds.gpu import Look, Seen, is_steady
from harness.rounds.samples import Load, Samples, Settings

MOST_CALLS = 100
"""Blocks of warm-up calls of every arm after which rounds begin, steady or not: some seconds."""


@dataclass
class Glances:
    """What was seen of the GPU during one measurement; nothing on the CPU."""

    settings: Settings
    looks: list[Look] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)

    def take(self, crew: Crew) -> None:
        """Put down how the GPU is, and what every worker holds of its memory."""
        found = self._seen(crew)
        if found is None:
            return
        self.looks.append(found.look)
        for name, worker in crew.workers.items():
            if (held := found.held_bytes.get(worker.pid)) is not None:
                crew.vram_bytes[name] = max(held, crew.vram_bytes.get(name, 0))

    def warm(self, crew: Crew, load: Load, samples: Samples) -> None:
        """Calls that count for nothing, until the clock is steady."""
        rates: list[int] = []
        rows = load.rows(0)
        batch = load.arrays(rows)
        while (found := self._seen(crew)) is not None and found.look.sm_mhz:
            rates.append(found.look.sm_mhz)
            if is_steady(rates):
                return
            if len(rates) > MOST_CALLS:
                last = rates[-MOST_CALLS:]
                self.unsteady.append(
                    f"batch {load.batch}: the GPU's clock was not steady after {MOST_CALLS} blocks of warm-up calls: "
                    f"{min(last)} to {max(last)} MHz"
                )
                return
            crew.answer(list(crew.workers), rows, batch, samples.loops)
            if crew.reference not in crew.workers:
                return

    def _seen(self, crew: Crew) -> Seen | None:
        return self.settings.machine.look(crew.pids()) if self.settings.target.device == "cuda" else None
