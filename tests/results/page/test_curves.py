"""Curves, bands and histograms, held against scikit-learn and numpy."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from ensemble_ad.blend.saved import load_blend
from ensemble_ad.results.page.curves import curves


def test_the_curves_are_scikit_learns(contents, label, studies_folder):
    score = load_blend(studies_folder, "both").scores()
    roc, precision_recall = contents.curves.roc["blend"], contents.curves.precision_recall["blend"]
    false, true, _ = roc_curve(label, score, drop_intermediate=False)
    np.testing.assert_allclose(roc.x, false)
    np.testing.assert_allclose(roc.y, true)
    precision, recall, _ = precision_recall_curve(label, score)
    np.testing.assert_allclose(precision_recall.x, recall[::-1][1:])
    np.testing.assert_allclose(precision_recall.y, precision[::-1][1:])
    assert contents.curves.average_precision == pytest.approx(average_precision_score(label, score))
    assert contents.curves.anomaly_share == label.mean()
    assert set(contents.curves.roc) == set(contents.curves.precision_recall) >= {"blend", "equal"}


def test_scores_that_tie_are_one_step_of_a_curve(label, studies_folder):
    score = np.round(load_blend(studies_folder, "both").scores(), 1)
    assert len(np.unique(score)) < len(score) / 2
    found = curves(label, {"blend": score}, 0)
    false, true, _ = roc_curve(label, score, drop_intermediate=False)
    np.testing.assert_allclose(found.roc["blend"].x, false)
    np.testing.assert_allclose(found.roc["blend"].y, true)
    precision, recall, _ = precision_recall_curve(label, score)
    np.testing.assert_allclose(found.precision_recall["blend"].x, recall[::-1][1:])
    np.testing.assert_allclose(found.precision_recall["blend"].y, precision[::-1][1:])


def test_the_bands_are_those_of_a_stratified_bootstrap(contents, label, studies_folder):
    """Resampled image by image, by another generator, with scikit-learn's curves."""
    score = load_blend(studies_folder, "both").scores()
    rng = np.random.default_rng(7)
    # At lower recalls a precision is of so few images that one more false alarm moves it by the tolerance.
    grid, drawn, precisions = np.array([0.2, 0.4, 0.6]), [], []
    for _ in range(400):
        rows = np.concatenate([rng.choice(np.flatnonzero(label == side), (label == side).sum()) for side in (0, 1)])
        false, true, _ = roc_curve(label[rows], score[rows], drop_intermediate=False)
        drawn.append(np.interp(grid, false, true))
        precision, recall, _ = precision_recall_curve(label[rows], score[rows])
        precisions.append([precision[np.flatnonzero(recall >= r - 1e-12)[-1]] for r in grid])
    for curve, table in (
        (contents.curves.roc["blend"], np.array(drawn)),
        (contents.curves.precision_recall["blend"], np.array(precisions)),
    ):
        at = np.searchsorted(curve.grid, grid - 1e-9)
        low, high = np.quantile(table, [0.025, 0.975], axis=0)
        np.testing.assert_allclose(curve.low[at], low, atol=0.06)
        np.testing.assert_allclose(curve.high[at], high, atol=0.06)
        assert (curve.low <= curve.high).all()
        assert (curve.high - curve.low)[at].max() > 0.02


def test_a_histogram_holds_every_image_once(contents, label, studies_folder):
    histogram = contents.histogram
    score = load_blend(studies_folder, "both").scores()
    assert histogram.count == {"reference": 100, "test": 120, "normal": (label == 0).sum(), "anomaly": label.sum()}
    for name, group in (("test", score), ("normal", score[label == 0]), ("anomaly", score[label == 1])):
        expected = np.bincount(
            np.clip(np.searchsorted(histogram.edges, group, side="right") - 1, 0, len(histogram.edges) - 2),
            minlength=len(histogram.edges) - 1,
        )
        assert histogram.shares[name].sum() == pytest.approx(1)
        np.testing.assert_allclose(histogram.shares[name], expected / len(group), atol=1e-12)
        np.testing.assert_allclose(histogram.quantiles[name][2], np.median(group))
