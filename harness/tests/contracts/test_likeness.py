"""Laws of likeness: what makes two backends' outputs for a row the same, for numbers, embeddings and tokens."""

from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from harness.contracts.kind import ABSOLUTE, ANGLE, COSINE, ELEMENTWISE, RELATIVE, TOKENS

LAW = settings(max_examples=100)
RULES = pytest.mark.parametrize("rule", [ELEMENTWISE, COSINE, TOKENS], ids=["numbers", "embeddings", "tokens"])
numbers = st.floats(-100, 100)
sequences = st.lists(st.integers(0, 3), min_size=1, max_size=8)


def vectors(count=1, size=4):
    return arrays_of.arrays(np.float64, (count, size), elements=numbers).filter(
        lambda found: np.linalg.norm(found, axis=-1).min() > 1e-3
    )


@RULES
def test_an_output_is_like_itself(rule):
    output = np.array([[3, 1, 2], [5, 8, 13]])
    assert pytest.approx(0, abs=1e-12) == rule.distance(output, output)
    assert 0 >= rule.excess(output, output)


@RULES
def test_no_place_is_no_difference(rule):
    nothing = np.zeros((0, 3))
    assert 0 == rule.distance(nothing, nothing)
    assert 0 >= rule.excess(nothing, nothing)


@RULES
def test_a_distance_is_the_same_from_both_ends(rule):
    one, other = np.array([[3, 1, 2]]), np.array([[3, 2, 2]])
    assert 0 < rule.distance(one, other) == rule.distance(other, one)


@LAW
@given(arrays_of.arrays(np.float64, (2, 3), elements=numbers), st.integers(0, 5), st.floats(-3, 3))
def test_numbers_may_differ_by_an_absolute_and_a_relative_size(output, place, share):
    allowed = ABSOLUTE + RELATIVE * abs(output.flat[place])
    own = output.copy()
    own.flat[place] += share * allowed
    assert pytest.approx(abs(share) * allowed, abs=1e-9) == ELEMENTWISE.distance(own, output)
    if abs(share) < 0.999:
        assert 0 >= ELEMENTWISE.excess(own, output)
    elif abs(share) > 1.001:
        assert 0 < ELEMENTWISE.excess(own, output)


@pytest.mark.parametrize("rule", [ELEMENTWISE, COSINE], ids=["numbers", "embeddings"])
def test_what_is_no_number_is_never_like_a_number(rule):
    known, sick = np.array([[1.0, 2.0]]), np.array([[np.nan, 2.0]])
    for own, other in ((known, sick), (sick, known)):
        assert not rule.excess(own, other) <= 0


@LAW
@given(vectors(), st.floats(0.01, 100))
def test_the_length_of_an_embedding_is_no_difference(vector, factor):
    assert pytest.approx(0, abs=1e-9) == COSINE.distance(factor * vector, vector)


@LAW
@given(st.floats(0, np.pi), st.floats(0, 2 * np.pi))
def test_embeddings_differ_by_one_less_the_cosine_of_their_angle(angle, turned):
    own, other = (np.array([[np.cos(at), np.sin(at)]]) for at in (turned + angle, turned))
    assert pytest.approx(1 - np.cos(angle), abs=1e-9) == COSINE.distance(own, other)
    assert pytest.approx(1 - np.cos(angle) - ANGLE, abs=1e-9) == COSINE.excess(own, other)


@LAW
@given(vectors(count=3), st.integers(0, 2))
def test_one_embedding_of_several_that_points_elsewhere_is_enough(several, at):
    own = several.copy()
    own[at] *= -1
    assert pytest.approx(2) == COSINE.distance(own, several)
    assert 0 < COSINE.excess(own, several)


def test_an_embedding_of_nothing_is_like_none():
    assert 0 < COSINE.excess(np.zeros((1, 3)), np.ones((1, 3)))


@LAW
@given(sequences, sequences)
def test_tokens_are_counted_place_by_place_and_to_the_end_of_the_longer(own, other):
    expected = sum(one != another for one, another in zip_longest(own, other))
    width = min(len(own), len(other))
    if len({*own[width:], *other[width:]}) == 1:  # padding, or the end, which differs where the other one goes on
        expected -= abs(len(own) - len(other))
    found = np.array([own]), np.array([other])
    assert expected == TOKENS.distance(*found) == TOKENS.excess(*found)


def test_padding_to_a_longer_neighbour_is_no_difference():
    alone, together = np.array([[3, 5, 7, 1]]), np.array([[3, 5, 7, 1, 0, 0]])
    assert 0.0 == TOKENS.distance(alone, together) == TOKENS.distance(together, alone)
    assert 1.0 == TOKENS.distance(alone, np.array([[3, 5, 7, 8, 1]]))


def test_generated_text_alone_may_have_another_size_and_differ_in_some_rows():
    assert [(True, 0.0), (True, 0.0), (False, 0.01)] == [
        (rule.sized, rule.share) for rule in (ELEMENTWISE, COSINE, TOKENS)
    ]
