"""The parts, in the order in which they run. Adding one is a module beside this one and a line here."""

from __future__ import annotations

from harness.selftest import (
    carry_over,
    cheats,
    collection,
    device_truth,
    exports,
    false_alarms,
    noninferiority,
    overhead,
    power,
    real_workers,
    session_deaths,
    unchanged,
    worker_deaths,
)
from harness.selftest.part import Part

PARTS: tuple[Part, ...] = (
    device_truth.PART,
    cheats.PART,
    collection.PART,
    exports.PART,
    noninferiority.PART,
    false_alarms.PART,
    power.PART,
    real_workers.PART,
    unchanged.PART,
    worker_deaths.PART,
    session_deaths.PART,
    overhead.PART,
    carry_over.PART,
)
