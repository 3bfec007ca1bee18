"""Scores of 64 bits in 32: whatever they are, they rank as they did."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_ad.members.narrowed import narrowed
from ensemble_ad.statistics import midranks


def _ranks(*sides):
    return midranks(np.concatenate(sides)[None].astype(np.float64))[0]


RNG = np.random.default_rng(0)
STEPS = RNG.permutation(300.0 + np.arange(300))


@pytest.mark.parametrize(
    ("scores", "how"),
    [
        (STEPS, ""),
        (RNG.normal(size=300).astype(np.float32).astype(np.float64), ""),
        (1e6 + STEPS * 1e-3, "shifted"),
        (-1e6 + STEPS * 1e-3, "shifted"),
        (1 + STEPS * 1e-12, "shifted"),
        (1e300 * STEPS, "shifted"),
        (1e-300 * STEPS, "shifted"),
        (1e306 * (STEPS - 450), "shifted"),
        (np.where(STEPS > 450, 1e6, 0) + STEPS * 1e-3, "ranked"),
        (np.append(STEPS[1:], 1e300), "ranked"),
        (np.append(STEPS[1:] * 1e-30, 1e30), ""),
        (np.append(1e6 + STEPS[2:] * 1e-3, [0, 1e38]), "shifted"),
    ],
    ids=[
        "whole", "of 32 bits", "far from 0", "far below 0", "hardly different", "huge", "tiny", "huge either way",
        "two heaps", "one that is huge", "all but one tiny", "a heap and two others",
    ],
)  # fmt: skip
def test_different_scores_stay_different_and_in_their_order(scores, how):
    sides = scores[:100], scores[100:]
    found = narrowed(sides)
    assert found.how == how
    assert [side.dtype for side in found.sides] == [np.float32, np.float32]
    assert all(np.isfinite(side).all() for side in found.sides)
    np.testing.assert_array_equal(_ranks(*found.sides), _ranks(*sides))


def test_scores_of_32_bits_are_kept_to_the_last():
    scores = RNG.normal(size=300).astype(np.float32)
    (found,), _ = narrowed([scores.astype(np.float64)])
    np.testing.assert_array_equal(found, scores)


def test_equal_scores_stay_equal():
    scores = np.repeat(1e6 + STEPS[:100] * 1e-3, 3)
    np.testing.assert_array_equal(_ranks(*narrowed([scores]).sides), _ranks(scores))


def test_of_very_many_random_scores_none_is_moved():
    scores = RNG.uniform(size=200_000)
    (found,), how = narrowed([scores])
    assert how == ""
    np.testing.assert_array_equal(found, scores.astype(np.float32))


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)


@given(scores=st.lists(NUMBERS, min_size=2, max_size=40))
def test_any_finite_scores_rank_as_they_did(scores):
    sides = np.array(scores[:1]), np.array(scores[1:])
    found = narrowed(sides)
    assert all(np.isfinite(side).all() for side in found.sides)
    np.testing.assert_array_equal(_ranks(*found.sides), _ranks(*sides))
