"""Weights and correlations, held against the blend and scipy."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from ensemble_ad.blend.saved import load_blend


def test_weights_and_correlations_are_the_blends(contents, label, studies_folder, members, main):
    blend = load_blend(studies_folder, "both")
    assert {f"{w.key}/{w.kind}": w.weight for w in contents.weights} == blend.weights
    assert [w.weight for w in contents.weights] == sorted(blend.weights.values(), reverse=True)
    for w in contents.weights:
        reference, test = (side[:, members[w.key].columns.index(w.kind)] for side in members[w.key].vectors())
        side = np.repeat([0, 1], [len(reference), len(test)])
        assert w.separation == pytest.approx(roc_auc_score(side, np.concatenate([reference, test])))
        assert w.auc == pytest.approx(roc_auc_score(label, test))
    found = contents.correlations
    assert set(found.names) == {*members, "both"}
    assert found.names[-1] == "both"
    everything = [main.get(name, blend.scores()) for name in found.names]
    np.testing.assert_allclose(found.matrix, scipy.stats.spearmanr(np.column_stack(everything)).statistic, atol=1e-9)
