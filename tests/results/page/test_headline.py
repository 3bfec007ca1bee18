"""The headline, held against scikit-learn."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from ensemble_ad.blend.saved import load_blend


def test_the_headline_is_the_blend_its_best_members_and_equal_weights(contents, label, studies_folder, members, main):
    blend = load_blend(studies_folder, "both")
    judged = {each.role: each for each in contents.headline.judged}
    assert contents.headline.judged[0].role == "blend"
    assert judged["blend"].value == pytest.approx(roc_auc_score(label, blend.scores()))
    chosen = max(members.values(), key=lambda m: m.info.separation.value)
    assert judged["chosen"].name == chosen.key
    assert judged["chosen"].value == pytest.approx(roc_auc_score(label, main[chosen.key]))
    best = max(roc_auc_score(label, column) for column in main.values())
    assert judged.get("hindsight", judged["chosen"]).value == pytest.approx(best)
    # The mean of the columns' ranks among reference and test images together; sums that tie may be rounded apart.
    columns = []
    for name in blend.weights:
        key, _, kind = name.partition("/")
        reference, test = (side[:, members[key].columns.index(kind)] for side in members[key].vectors())
        columns.append(scipy.stats.rankdata(np.concatenate([reference, test]))[len(reference) :])
    assert judged["equal"].value == pytest.approx(roc_auc_score(label, np.mean(columns, axis=0)), abs=5e-3)
    for role, each in judged.items():
        assert each.measured
        assert each.low < each.value < each.high
        if role != "blend":
            assert each.difference[0] == pytest.approx(judged["blend"].value - each.value)
            assert each.difference[1] <= each.difference[0] <= each.difference[2]
