"""Numbers read off the curves, against scikit-learn."""

import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from ensemble_ad import statistics


def test_auc_and_curve_numbers_match_scikit_learn(tumours):
    label, scores = tumours
    many = statistics.auc_many(label, scores)
    for column in range(scores.shape[1]):
        score = scores[:, column]
        assert many.value[column] == pytest.approx(roc_auc_score(label, score), abs=1e-12)
        assert statistics.average_precision(label, score) == pytest.approx(
            average_precision_score(label, score), abs=1e-12
        )
        for limit in (0.05, 0.3, 1.0):
            want = roc_auc_score(label, score, max_fpr=limit if limit < 1 else None)
            assert statistics.partial_auc(label, score, limit) == pytest.approx(want, abs=1e-12)
        fpr, tpr, _ = roc_curve(label, score, drop_intermediate=False)
        assert statistics.fpr_at_tpr(label, score) == pytest.approx(fpr[tpr >= 0.95].min(), abs=1e-12)
