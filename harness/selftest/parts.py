"""The parts, in the order in which they run. Adding one is a module beside this one and a line here."""

from __future__ import annotations

from harness.selftest import (
    collection,
    device_truth,
    exports,
    session_deaths,
    worker_deaths,
)
from harness.selftest.part import Part

PARTS: tuple[Part, ...] = (
    device_truth.PART,
    exports.PART,
    worker_deaths.PART,
    session_deaths.PART,
    collection.PART,
)
