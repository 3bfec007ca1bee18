"""Midranks against scipy's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from ensemble_ad import statistics


@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 20)), elements=st.integers(-3, 3).map(float)))
def test_midranks_are_scipys(rows):
    assert np.array_equal(statistics.midranks(rows), rankdata(rows, axis=1))
