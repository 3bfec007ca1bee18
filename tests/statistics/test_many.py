"""Comparisons of many columns, and of methods across tasks."""

import numpy as np
import pytest

from ensemble_ad import statistics


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])


def test_tie_group_of_the_best(tumours):
    label, scores = tumours
    found = statistics.compare_to_best(label, np.concatenate([scores, scores[:, [27]]], axis=1))
    assert found.best == int(np.argmax(statistics.auc_many(label, scores).value))
    assert found.tied[found.best]
    assert found.p_value[found.best] == 1
    assert found.difference[found.best] == 0
    assert not found.tied[9]  # fractal dimension: no better than chance
    raw = statistics.compare_auc(label, scores[:, 9], scores[:, found.best])
    assert found.difference[9] == pytest.approx(raw.difference)
    assert found.standard_error[9] == pytest.approx(raw.standard_error)


def test_wilcoxon_across_tasks():
    base = np.linspace(0.6, 0.9, 12)
    better, same = base + np.linspace(0.01, 0.03, 12), base.copy()
    first, second = statistics.wilcoxon_across_tasks(np.stack([better, same], axis=1), base)
    assert first.difference.value == pytest.approx(0.02)
    assert first.p_value == pytest.approx(2 / 2**12)  # all twelve signs alike
    assert first.p_holm == pytest.approx(2 * first.p_value)
    assert (first.wins, first.losses, second.wins, second.p_value) == (12, 0, 0, 1)
