"""The AUC that a separation implies, against the one on labels."""

import numpy as np
import pytest

from ensemble_ad import statistics
from ensemble_ad.errors import UsageError
from ensemble_ad.statistics.implied import Share


def test_separation_is_a_shrunken_auc(tumours):
    label, scores = tumours
    normal, ill = scores[label == 0][:, 1], scores[label == 1][:, 1]
    reference, test_normal = normal[::2], normal[1::2]
    test = np.concatenate([test_normal, ill])
    share = len(ill) / len(test)
    found = statistics.separation(reference, test)
    implied = Share(value=share).implied_auc(found.value, found.standard_error)
    truth = statistics.auc(np.repeat([0, 1], [len(test_normal), len(ill)]), test)
    assert implied.low < truth.value < implied.high
    assert implied.value == pytest.approx(truth.value, abs=2 * found.standard_error / share)


def test_no_auc_is_implied_by_a_separation_beyond_all_of_them():
    sure = statistics.separation(np.arange(100.0), np.arange(100.0) + 60)
    assert Share(value=0.1).implied_auc(sure.value, sure.standard_error) is None
    with pytest.raises(UsageError, match="share"):
        Share(value=0.0)
