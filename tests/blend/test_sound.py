"""Rules from elsewhere: what belongs together, and what cannot be."""

from dataclasses import replace

import numpy as np
import pytest

import ensemble_ad as ea
from ensemble_ad.blend.growth import grow
from ensemble_ad.blend.well_formed import check_rule
from ensemble_ad.errors import StorageError


@pytest.mark.parametrize(
    ("array", "change"),
    [
        ("child", lambda child: np.arange(len(child), dtype=np.int32)),
        ("child", lambda child: child + len(child)),
        ("feature", lambda feature: feature + 9),
        ("threshold", lambda threshold: threshold[:1]),
    ],
    ids=["a circle", "out of the table", "no such member", "too short"],
)
def test_trees_that_lead_nowhere_are_refused(array, change):
    rng = np.random.default_rng(0)
    reference, test = rng.normal(size=(2, 200, 3))
    blend = ea.blend_scores(reference, test + 2, method="mean")
    forest = grow(reference, test + 2, trees=3)
    part = replace(blend.parts[0], combiner="forest", forest=forest)
    check_rule(replace(blend, parts=(part,)))
    broken = replace(part, forest=replace(forest, **{array: change(getattr(forest, array))}))
    with pytest.raises(StorageError, match="the rule's arrays do not belong together"):
        check_rule(replace(blend, parts=(broken,)))
