"""The AUC that a separation implies, against the one on labels."""

import re

import numpy as np
import pytest

from ensemble_ad import statistics
from ensemble_ad.errors import UsageError
from ensemble_ad.statistics.implied import WIDEST, Share


def test_separation_is_a_shrunken_auc(tumours):
    label, scores = tumours
    normal, ill = scores[label == 0][:, 1], scores[label == 1][:, 1]
    reference, test_normal = normal[::2], normal[1::2]
    test = np.concatenate([test_normal, ill])
    share = len(ill) / len(test)
    found = statistics.separation(reference, test)
    implied = Share(value=share, shift_error=0).implied_auc(found.value, found.standard_error)
    truth = statistics.auc(np.repeat([0, 1], [len(test_normal), len(ill)]), test)
    assert implied.low < truth.value < implied.high
    assert implied.value == pytest.approx(truth.value, abs=2 * found.standard_error / share)


def test_no_auc_is_implied_by_a_separation_beyond_all_of_them():
    sure = statistics.separation(np.arange(100.0), np.arange(100.0) + 60)
    assert Share(value=0.1, shift_error=0).implied_auc(sure.value, sure.standard_error) is None
    with pytest.raises(UsageError, match="share"):
        Share(value=0.0)


def test_a_separation_just_beyond_the_largest_is_cut_to_1():
    found = Share(value=0.5, shift_error=0).implied_auc(0.755, 0.01)
    assert 0.9 < found.low < found.value < found.high == 1
    assert Share(value=0.5, shift_error=0).implied_auc(0.9, 0.01) is None


def test_test_images_surely_below_the_reference_imply_no_auc():
    assert Share(value=0.5).implied_auc(0.47, 0.01) is None
    assert Share(value=0.5, shift_error=0).implied_auc(0.49, 0.01) is not None


def test_an_interval_that_says_little_is_not_given():
    narrow, wide = (Share(value=share, shift_error=0).implied_auc(0.51, 0.01) for share in (0.3, 0.03))
    assert narrow.high - narrow.low < WIDEST
    assert wide is None


@pytest.mark.parametrize(
    ("share", "reason"),
    [
        (Share(value=0.7, standard_error=0.02, given=False), "70.0% anomalies .* more than 60%"),
        (Share(value=0.02, standard_error=0.02, given=False), "2.0% anomalies .* cannot be told from none"),
        (Share(value=0.5, withheld="the test's normal images differ"), "differ"),
    ],
)
def test_a_share_says_why_no_auc_can_be_told_by_it(share, reason):
    assert share.implied_auc(0.7, 0.01) is None
    assert re.search(reason, share.why_none)


def test_errors_of_share_and_shift_widen_the_interval():
    widths = []
    for error, shift_error in ((0.0, 0.0), (0.03, 0.0), (0.03, 0.1)):
        share = Share(value=0.5, standard_error=error, given=error == 0, shift_error=shift_error)
        found = share.implied_auc(0.7, 0.01, own_shift=True)
        widths.append(found.high - found.low)
    assert widths[0] < widths[1] < widths[2]


def test_the_interval_covers_all_three_errors_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for true_share, true_auc, share_error, shift_error in ((0.5, 0.85, 0.05, 0.05), (0.4, 0.7, 0.04, 0.1)):
        shifts = rng.normal(0, shift_error, 1000)
        mean = 0.5 + true_share * (true_auc - 0.5) + (1 - true_share) * shifts / (2 * np.sqrt(np.pi))
        shares = true_share * np.exp(rng.normal(0, share_error / true_share, 1000))
        hits = []
        for share, value in zip(shares, rng.normal(mean, 0.01), strict=True):
            error = share_error * share / true_share
            one = Share(value=share, standard_error=error, given=False, shift_error=shift_error)
            found = one.implied_auc(float(value), 0.01, own_shift=True)
            hits += [found.low <= true_auc <= found.high] if found is not None else []
        assert len(hits) > 900
        assert 0.93 < np.mean(hits) < 0.99
