"""What a result keeps of a measurement."""

from __future__ import annotations

from harness.contracts import CONTROL, REFERENCE
from harness.records.evidence import Process, Series, Workload
from harness.rounds.samples import Measurement, Samples


def process_of(name: str, measured: Measurement | None) -> Process | None:
    """What the arm's workers said of themselves."""
    if measured is None:
        return None
    lives = measured.lives[name]
    return Process(
        import_ns=tuple(lives.import_ns),
        compile_ns=tuple(lives.compile_ns),
        load_ns=tuple(lives.load_ns),
        first_ns=tuple(lives.first_ns),
        peak_rss_bytes=tuple(lives.peak_rss_bytes),
        peak_vram_bytes=tuple(lives.peak_vram_bytes),
        settings=lives.settings,
    )


def series_of(name: str, samples: Samples, measured: Measurement, threads: int, reference: str = REFERENCE) -> Series:
    """One workload's samples of the arm, and of reference and control in the same rounds."""

    def frozen(values: list[list[int]]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(start) for start in values)

    return Series(
        workload=Workload(batch=samples.batch, threads=threads, order_seed=samples.order_seed),
        loops=samples.loops,
        own_ns=frozen(samples.ns[name]),
        reference_ns=frozen(samples.ns[reference]),
        control_ns=frozen(samples.ns[CONTROL]) if samples.has(CONTROL) else (),  # else nothing to pair
        rows=frozen(samples.rows),
        lengths=frozen(samples.lengths),
        arms=len({arm for arm in samples.ns if samples.has(arm)} - {reference, CONTROL} - measured.failed.keys()),
        tail_ns=tuple(samples.tail_ns.get(name, ())),
    )
