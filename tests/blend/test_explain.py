"""The blend in plain words."""

import numpy as np

from ensemble_ad.blend import blend_scores


def test_the_explanation_names_the_members_that_count(members, names):
    reference, test, _ = members()
    blend = blend_scores(reference, test, names=names)
    assert names[int(np.argmax(blend.weights))] in blend.explanation
    assert "without labels" in blend.explanation
