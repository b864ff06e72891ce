"""Tolerances: when two backends' outputs for a row count as equal, for numbers, embeddings and tokens."""

from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from harness.contracts.tolerance import ATOL, COSINE, ELEMENTWISE, MAX_COSINE_DISTANCE, RTOL, TOKENS

LAW = settings(max_examples=100)
EVERY = pytest.mark.parametrize("tolerance", [ELEMENTWISE, COSINE, TOKENS], ids=["numbers", "embeddings", "tokens"])
numbers = st.floats(-100, 100)
sequences = st.lists(st.integers(0, 3), min_size=1, max_size=8)


def vectors(count=1, size=4):
    return arrays_of.arrays(np.float64, (count, size), elements=numbers).filter(
        lambda array: np.linalg.norm(array, axis=-1).min() > 1e-3
    )


@EVERY
@pytest.mark.parametrize("output", [np.array([[3, 1, 2], [5, 8, 13]]), np.zeros((0, 3))], ids=["some", "empty"])
def test_an_output_equals_itself(tolerance, output):
    assert pytest.approx(0, abs=1e-12) == tolerance.distance(output, output)
    assert 0 >= tolerance.excess(output, output)


@EVERY
def test_distances_are_symmetric(tolerance):
    own, source = np.array([[3, 1, 2]]), np.array([[3, 2, 2]])
    assert 0 < tolerance.distance(own, source) == tolerance.distance(source, own)


@LAW
@given(arrays_of.arrays(np.float64, (2, 3), elements=numbers), st.integers(0, 5), st.floats(-3, 3))
def test_numbers_may_differ_absolutely_and_relatively(output, place, share):
    allowed = ATOL + RTOL * abs(output.flat[place])
    own = output.copy()
    own.flat[place] += share * allowed
    assert pytest.approx(abs(share) * allowed, abs=1e-9) == ELEMENTWISE.distance(own, output)
    if abs(share) < 0.999:
        assert 0 >= ELEMENTWISE.excess(own, output)
    elif abs(share) > 1.001:
        assert 0 < ELEMENTWISE.excess(own, output)


@pytest.mark.parametrize("tolerance", [ELEMENTWISE, COSINE], ids=["numbers", "embeddings"])
def test_nan_never_equals_a_number(tolerance):
    finite, broken = np.array([[1.0, 2.0]]), np.array([[np.nan, 2.0]])
    for own, source in ((finite, broken), (broken, finite)):
        assert not tolerance.excess(own, source) <= 0


@LAW
@given(vectors(), st.floats(0.01, 100))
def test_the_length_of_an_embedding_does_not_matter(vector, factor):
    assert pytest.approx(0, abs=1e-9) == COSINE.distance(factor * vector, vector)


@LAW
@given(st.floats(0, np.pi), st.floats(0, 2 * np.pi))
def test_embeddings_differ_by_their_cosine_distance(angle, turn):
    own, source = (np.array([[np.cos(at), np.sin(at)]]) for at in (turn + angle, turn))
    assert pytest.approx(1 - np.cos(angle), abs=1e-9) == COSINE.distance(own, source)
    assert pytest.approx(1 - np.cos(angle) - MAX_COSINE_DISTANCE, abs=1e-9) == COSINE.excess(own, source)


@LAW
@given(vectors(count=3), st.integers(0, 2))
def test_one_wrong_embedding_among_several_is_enough(several, index):
    own = several.copy()
    own[index] *= -1
    assert pytest.approx(2) == COSINE.distance(own, several)
    assert 0 < COSINE.excess(own, several)


def test_a_zero_embedding_equals_nothing():
    assert 0 < COSINE.excess(np.zeros((1, 3)), np.ones((1, 3)))


@LAW
@given(sequences, sequences)
def test_tokens_are_counted_to_the_end_of_the_longer(own, source):
    expected = sum(mine != theirs for mine, theirs in zip_longest(own, source))
    width = min(len(own), len(source))
    if len({*own[width:], *source[width:]}) == 1:  # padding, or the end, which differs where the other one goes on
        expected -= abs(len(own) - len(source))
    pair = np.array([own]), np.array([source])
    assert expected == TOKENS.distance(*pair) == TOKENS.excess(*pair)


def test_padding_does_not_count_as_different_tokens():
    alone, padded = np.array([[3, 5, 7, 1]]), np.array([[3, 5, 7, 1, 0, 0]])
    assert 0.0 == TOKENS.distance(alone, padded) == TOKENS.distance(padded, alone)
    assert 1.0 == TOKENS.distance(alone, np.array([[3, 5, 7, 8, 1]]))
