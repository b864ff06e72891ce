"""The size of a large page."""

from dataclasses import replace

import factory
from factory import comparison

from harness.report.page import page

LENGTHS = tuple(tuple(range(8, 108)) for _ in range(4))


def longest(factor, batch):
    """Return a series of 400 rounds over rows of many lengths."""
    return replace(factory.series(factor, batch=batch, rounds=100, noise=0.1), lengths=LENGTHS)


def test_fifty_cases_fit_into_a_mebibyte_and_a_half():
    cases = []
    for number in range(13):
        reference, *others = comparison(f"model-{number}")[:4]
        cases.append(replace(reference, series=(longest(None, 1), longest(None, 16))))
        cases += [replace(one, series=(longest(1.5, 1), longest(1.2, 16))) if one.series else one for one in others]
    assert 50 < len(cases)
    assert len(page(cases).encode()) < 1.5 * 2**20
