"""Sessions that are killed at random instants go on where they ended, and leave nothing behind."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.selftest import ties
from harness.selftest.figures import (
    FORGETFUL_CHAINS,
    ORPHAN_LIMIT_S,
    SEED,
    SESSION_KILLS,
    SESSION_LANES,
)
from harness.selftest.part import Figure, Given, Part
from harness.selftest.resumed_sessions import COMPARISONS, Ended, House, Kill

RESUME = "--ship-resume"


@dataclass
class Chain:
    """Sessions over an empty folder of results, each resuming the one before, until one is not killed."""

    sessions: list[Ended]
    same_table: bool
    strays: list[str]

    @property
    def repeated(self) -> list[int]:
        """For each kill, how many comparisons were begun in the killed session and again in a later one."""
        found = []
        for at, ended in enumerate(self.sessions[:-1]):
            later = frozenset[str]().union(*(one.begun for one in self.sessions[at + 1 :]))
            found.append(len(ended.begun & later))
        return found

    @property
    def altered(self) -> list[str]:
        """Comparisons that were finished at a kill, and whose results are other bytes in the end; once a kill."""
        last = self.sessions[-1].finished
        return [name for one in self.sessions[:-1] for name in one.finished if last.get(name) != one.finished[name]]


def chain(house: House, number: int, most: int, dice: random.Random, whole_s: float, *options: str) -> Chain:
    """At most `most` kills of sessions that would take `whole_s` undisturbed; then one that may end."""
    table, paths = house.table(), house.paths()
    house.empty(number)
    sessions: list[Ended] = []
    while not sessions or sessions[-1].killed:
        # Evenly over phases, not over time: most of a session's time is its start.
        kill = Kill(dice.randrange(COMPARISONS), dice.uniform(0, whole_s / 2)) if len(sessions) < most else None
        sessions.append(house.session(*options, kill=kill))
    return Chain(sessions, same_table=house.table() == table, strays=sorted(house.paths() - paths))


def run(given: Given) -> Iterator[Figure]:
    """Chains of killed sessions in several folders side by side, then sessions that do not resume, then workers."""
    houses = [House(given.scratch / f"house-{lane}") for lane in range(SESSION_LANES)]
    with ThreadPoolExecutor(SESSION_LANES) as pool:
        list(pool.map(House.furnish, houses))
        chains = [one for found in pool.map(_resumed, houses, range(SESSION_LANES)) for one in found]
        yield from _figures(chains)
        forgetful = [one for found in pool.map(_forgetful, houses, range(SESSION_LANES)) for one in found]
    yield _repeating(forgetful)
    yield from ties.figures()


def _resumed(house: House, lane: int) -> list[Chain]:
    """This lane's share of the kills."""
    dice = random.Random(f"{SEED} sessions {lane}")
    kills = SESSION_KILLS // SESSION_LANES + (lane < SESSION_KILLS % SESSION_LANES)
    house.empty(0)
    whole_s = house.session().wall_s
    chains: list[Chain] = []
    while (done := sum(len(one.sessions) - 1 for one in chains)) < kills:
        chains.append(chain(house, len(chains), kills - done, dice, whole_s, RESUME))
    return chains


def _forgetful(house: House, lane: int) -> list[Chain]:
    """Sessions that are killed once two comparisons are begun, and that the next one knows nothing of."""
    chains: list[Chain] = []
    for number in range(FORGETFUL_CHAINS // SESSION_LANES):
        house.empty(number)
        killed = house.session(kill=Kill(begun=2, delay_s=0))
        chains.append(Chain([killed, house.session()], same_table=True, strays=[]))
    return chains


def _figures(chains: Sequence[Chain]) -> Iterator[Figure]:
    sessions = [session for one in chains for session in one.sessions]
    repeated = [count for one in chains for count in one.repeated]
    kills, n = len(repeated), len(chains)
    passed = sum(one.sessions[-1].status == 0 for one in chains)
    yield Figure(label="chains of killed sessions that end with status 0", k=passed, n=n, at_least=n)
    yield Figure(label="same final table", k=sum(one.same_table for one in chains), n=n, at_least=n)
    held = sum(len(session.finished) for one in chains for session in one.sessions[:-1])
    yield Figure(
        label="kills after which at most one comparison was repeated",
        k=sum(count <= 1 for count in repeated),
        n=kills,
        at_least=kills,
        note=f"{sum(repeated)} repeated in all; {len([s for s in sessions if s.killed and s.begun])} kills in or after "
        "rounds",
    )
    altered = [name for one in chains for name in one.altered]
    yield Figure(
        label="finished comparisons that are other bytes after a kill",
        k=len(altered),
        n=max(held, 1),
        at_most=0,
        note=", ".join(altered),
    )
    orphaned = sum(session.orphans > 0 for session in sessions)
    yield Figure(
        label=f"sessions with a process alive after {ORPHAN_LIMIT_S:g} s", k=orphaned, n=len(sessions), at_most=0
    )
    strays = [path for one in chains for path in one.strays]
    yield Figure(
        label="chains that leave a stray file",
        k=sum(bool(one.strays) for one in chains),
        n=n,
        at_most=0,
        note=", ".join(strays[:5])
        or f"{sum(session.half_written for session in sessions)} half-written ones seen after kills, and swept",
    )


def _repeating(chains: Sequence[Chain]) -> Figure:
    repeated = [count for one in chains for count in one.repeated]
    return Figure(
        label="without --ship-resume: kills after which more than one comparison was repeated",
        k=sum(count > 1 for count in repeated),
        n=len(repeated),
        at_least=len(repeated),
        control=True,
        note=f"{', '.join(map(str, repeated))} of {COMPARISONS}",
    )


PART = Part(
    name="session-deaths",
    claim=f"{SESSION_KILLS} killed sessions are resumed: same table, at most one comparison repeated, nothing left",
    run=run,
)
