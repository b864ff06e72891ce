"""The parts, in the order in which they run. Adding one is a module beside this one and a line here."""

from __future__ import annotations

from harness.selftest import (
    cheats,
    collection,
    device_truth,
    exports,
    false_alarms,
    noninferiority,
    power,
)
from harness.selftest.part import Part

PARTS: tuple[Part, ...] = (
    device_truth.PART,
    exports.PART,
    collection.PART,
    false_alarms.PART,
    power.PART,
    cheats.PART,
    noninferiority.PART,
)
