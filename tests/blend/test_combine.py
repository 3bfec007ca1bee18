"""Combiners by hand."""

import numpy as np
import pytest

from ensemble_ad.blend.combine import COMBINERS


def test_combiners_by_hand():
    rows = np.array([[1.0, 4.0, 2.0, 9.0], [0.0, 0.0, 6.0, 3.0]])
    weights = np.array([0.5, 0.25, 0.25, 0.0])
    expected = {"weighted-mean": [2, 1.5], "median": [2, 0], "max": [4, 6], "top": [7 / 3, 2]}
    for name, want in expected.items():
        assert COMBINERS[name](lambda j: rows[:, j], weights) == pytest.approx(want), name
    assert COMBINERS["top"](lambda j: rows[:, j], np.ones(4) / 4) == pytest.approx([5, 3])
