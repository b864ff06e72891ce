"""The simulated machines: small blocks on a tended machine, and MiniLM's calls on the loud ones of development."""

from __future__ import annotations

from harness.selftest.simulation import Profile

_SMALL_MS, _SMALL_JITTER = 8.0, 0.0095
"""`measure.BLOCK_NS`, and the jitter with which a round's log-ratio spreads by 1.5 %."""
_REAL_MS, _REAL_JITTER = 19.0, 0.058
"""One call of MiniLM on two threads, whose log-ratio was seen to spread by 10 % on an idle virtual machine."""
_BUSY_MS, _IDLE_MS = 20.0, 80.0
"""A neighbour that wants a fifth of a core in short bursts; the others want nearly all of one."""

TENDED = (
    Profile(name="idle", block_ms=_SMALL_MS, jitter=_SMALL_JITTER),
    Profile(name="one hog", block_ms=_SMALL_MS, jitter=_SMALL_JITTER, hogs=1, busy_ms=_BUSY_MS, idle_ms=_IDLE_MS),
    Profile(name="two hogs", block_ms=_SMALL_MS, jitter=_SMALL_JITTER, hogs=2, busy_ms=_BUSY_MS, idle_ms=_IDLE_MS),
)
WARMING = Profile(name="warming", block_ms=_SMALL_MS, jitter=_SMALL_JITTER, warming=0.01)
"""All of one arm's rounds take a few simulated seconds, of a real one minutes; it grows slower in proportion."""
LOUD = (
    Profile(name="MiniLM's noise, idle", block_ms=_REAL_MS, jitter=_REAL_JITTER),
    Profile(name="MiniLM's noise, one hog", block_ms=_REAL_MS, jitter=_REAL_JITTER, hogs=1),
    Profile(name="MiniLM's noise, two hogs", block_ms=_REAL_MS, jitter=_REAL_JITTER, hogs=2),
)
