"""Bad input is refused before anything is fitted."""

import numpy as np
import pytest

from ensemble_ad.blend import blend_scores
from ensemble_ad.errors import DataError, UsageError


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"method": "magic"}, UsageError, "known are auto, mean"),
        ({"method": "mean", "normaliser": "magic"}, UsageError, "known are rank"),
        ({"normaliser": "rank"}, UsageError, "chooses its normalisers"),
        ({"method": "greedy", "normaliser": "gauss"}, UsageError, "normalise by rank, pooled-rank, ecdf"),
        ({"method": "given"}, UsageError, "needs weights"),
        ({"method": "labels"}, UsageError, "needs labels"),
        ({"method": "mean", "weights": np.ones(8)}, UsageError, "'given'"),
        ({"weights": np.ones(3)}, DataError, "3"),
        ({"weights": -np.ones(8)}, DataError, "at least 0"),
        ({"names": ["a"]}, DataError, "got 1 for 8"),
        ({"anomaly_share": 1.5}, UsageError, "1.5"),
        ({"test": np.ones((5, 3))}, DataError, "got 8 and 3"),
        ({"test": np.ones(5)}, DataError, "images x members"),
        ({"test": np.ones((0, 8))}, DataError, "empty"),
        ({"test": np.full((5, 8), "x")}, DataError, "numbers"),
    ],
)
def test_bad_calls_are_refused_in_one_line(members, change, error, words):
    reference, test, _ = members()
    with pytest.raises(error, match=words) as caught:
        blend_scores(**({"reference": reference, "test": test} | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_name_the_member(members, names, bad):
    reference, test, _ = (array.copy() for array in members())
    test[3, 5] = bad
    with pytest.raises(DataError, match="knn"):
        blend_scores(reference, test, names=names)
    blend = blend_scores(reference, members()[1], names=names)
    with pytest.raises(DataError, match="knn"):
        blend.score(test)
    with pytest.raises(DataError, match="8 members"):
        blend.score(test[:, :3])
