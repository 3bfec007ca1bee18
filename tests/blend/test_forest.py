"""The forest against scikit-learn's."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from ensemble_ad.blend.growth import grow
from ensemble_ad.blend.normalise import normalise
from ensemble_ad.statistics import auc


def test_the_forest_is_as_good_as_scikit_learns(sides):
    low, high, other_low, other_high = sides
    label = np.repeat([0, 1], [len(other_low), len(other_high)])
    judged = np.concatenate([other_low, other_high])
    ours = auc(label, grow(low, high, seed=0).score(judged)).value
    theirs = ExtraTreesClassifier(n_estimators=50, min_samples_leaf=5, random_state=0)
    theirs.fit(np.concatenate([low, high]), np.repeat([0, 1], [len(low), len(high)]))
    assert ours == pytest.approx(auc(label, theirs.predict_proba(judged)[:, 1]).value, abs=0.01)


def test_the_forest_keeps_its_leaves_full_and_counts_columns(sides):
    low, high, _, _ = sides
    forest = grow(low, high, trees=7, min_leaf=9, seed=1)
    assert forest.importance.sum() == pytest.approx(1)
    assert (forest.importance >= 0).all()
    # Each leaf's value is a mean over at least nine rows, so it takes few different values a tree.
    assert (forest.feature < 0).sum() <= 7 * (len(low) + len(high)) / 9
    assert grow(low, high, trees=7, min_leaf=200, seed=1).score(low) == pytest.approx(0.5)


def test_a_forest_of_a_table_too_large_to_copy_is_the_same(sides, monkeypatch):
    benign, malignant, _, _ = (side.astype(np.float32) for side in sides)
    copied = grow(benign, malignant, trees=10)
    monkeypatch.setattr("ensemble_ad.blend.growth._TABLE_BYTES", 0)
    are_alike(copied, grow(benign, malignant, trees=10), rtol=0)


def test_ranks_by_whole_numbers_give_the_forest_of_their_floats(sides):
    frozen, low, high = normalise("pooled-rank", *sides[:2])
    grid = 2 * int(frozen.count[-1])
    whole, floats = grow(low, high, trees=10, grid=grid), grow(low, high, trees=10)
    are_alike(whole, floats, rtol=1e-12)
    np.testing.assert_array_equal(whole.score(high, grid), floats.score(high))
    others = np.stack([frozen.transform_column(column, j) for j, column in enumerate(sides[2].T)], axis=1)
    np.testing.assert_array_equal(whole.score(others, grid), floats.score(others))


def are_alike(one, other, rtol):
    for name, value in vars(one).items():
        np.testing.assert_allclose(value, getattr(other, name), rtol=rtol, err_msg=name)


def test_a_forest_does_not_try_columns_without_a_chance(sides):
    low, high, _, _ = sides
    forest = grow(low, high, column_chance=np.array([0.5, 0, 0.5, *[0] * 7]))
    assert set(forest.feature.tolist()) == {-1, 0, 2}
