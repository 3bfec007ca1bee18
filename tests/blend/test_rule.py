"""The sum of a rule's parts."""

import numpy as np
import pytest

from ensemble_ad.blend import blend_scores, method_names

BLIND = [name for name in method_names() if name not in ("given", "labels")]


@pytest.mark.parametrize("method", BLIND)
def test_the_rows_that_are_combined_at_a_time_change_no_digit(members, method, monkeypatch):
    reference, test, _ = members()
    whole = blend_scores(reference, test, method)
    monkeypatch.setattr("ensemble_ad.blend.rule._BLOCK_NUMBERS", 40 * reference.shape[1])
    blocks = blend_scores(reference, test, method)
    np.testing.assert_array_equal(blocks.scores, whole.scores)
    np.testing.assert_array_equal(blocks.score(test), whole.score(test))
    assert blocks.separation == whole.separation
