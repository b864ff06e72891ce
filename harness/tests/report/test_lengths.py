"""Latency by length: every round is in one range, and ranges are those of the reference's rows."""

from dataclasses import replace

import factory

from harness import report
from harness.report.tables import by_length


def measured(lengths):
    """Two backends; a row's time is its length, and the second is as fast again."""
    start = tuple(lengths)
    times = tuple(1_000_000 * length for length in start)
    half = tuple(time // 2 for time in times)
    shared = {"lengths": (start,) * 2, "rows": ((0,) * len(start),) * 2, "reference_ns": (times,) * 2}
    return [
        factory.result(series=(replace(factory.series(), own_ns=(times,) * 2, control_ns=(), **shared),)),
        factory.result("onnxruntime", series=(replace(factory.series(), own_ns=(half,) * 2, control_ns=(), **shared),)),
    ]


def test_ranges_hold_equally_many_rounds_and_tell_the_median_of_each():
    found = by_length(measured(range(10, 50)))
    assert ["backend", "10 to 19", "20 to 29", "30 to 39", "40 to 49"] == list(found.columns)
    assert ["pytorch", "14.5 (1.00×)", "24.5 (1.00×)", "34.5 (1.00×)", "44.5 (1.00×)"] == found.iloc[0].tolist()
    assert ["onnxruntime", "7.25 (2.00×)", "12.2 (2.00×)", "17.2 (2.00×)", "22.2 (2.00×)"] == found.iloc[1].tolist()


def test_rows_of_few_lengths_have_as_many_ranges():
    found = by_length(measured([8] * 20 + [16] * 20))
    assert ["backend", "8 to 15", "16"] == list(found.columns)


def test_rows_of_one_length_and_few_rounds_have_no_table():
    assert by_length(measured([8] * 40)).empty
    assert by_length(measured([8, 16, 24, 32])).empty
    assert by_length([factory.failed()]).empty
    assert "by length" not in report.markdown(measured([8] * 40))
    assert "by length" in report.markdown(measured(range(10, 50)))
