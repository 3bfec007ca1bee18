"""What is no array of scores or labels is refused."""

import numpy as np
import pytest

from ensemble_ad import statistics
from ensemble_ad.errors import DataError


@pytest.mark.parametrize(
    ("label", "score", "words"),
    [
        ([0, 1], [1.0, np.nan], "NaN"),
        ([], [], "empty"),
        ([1, 1], [1.0, 2.0], "both 0 and 1"),
        ([0, 1, 1], [1.0, 2.0], "one length"),
        ([0, 1], [[1.0], [2.0]], "dimension"),
        ([0, 2], [1.0, 2.0], "0 .normal. or 1"),
        ([0, 1], ["a", "b"], "numbers"),
    ],
)
def test_bad_data_is_refused_in_one_line(label, score, words):
    functions = (statistics.auc, statistics.average_precision, statistics.fpr_at_tpr, statistics.partial_auc)
    for function in functions:
        with pytest.raises(DataError, match=words) as caught:
            function(label, score)
        assert "\n" not in str(caught.value)


def test_bad_tables_name_the_column():
    scores = np.zeros((4, 3))
    scores[2, 1] = np.nan
    with pytest.raises(DataError, match="column 1"):
        statistics.auc_many([0, 1, 0, 1], scores)
    with pytest.raises(DataError, match="same columns"):
        statistics.separation_many(np.zeros((3, 2)), np.zeros((3, 1)))
