"""AUROC over pixels and AUPRO, against what they are by definition, on damaged photographs."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label
from sklearn.metrics import roc_auc_score

from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.statistics.pixels import PixelScores


@pytest.fixture(scope="module")
def judged(photos):
    """Maps (n, 24, 24) and masks: the blurred difference of photographs and copies with pasted blocks; and noise."""
    clean = photos(6, 24, 1)[..., 0].astype(float)
    damaged, masks = clean.copy(), np.zeros(clean.shape, dtype=bool)
    for row, (top, left, size) in enumerate([(3, 3, 4), (14, 4, 8), (0, 18, 6), (20, 20, 2)]):
        for at in ((top, left), (left, top)) if row % 2 else ((top, left),):
            place = (row, slice(at[0], at[0] + size), slice(at[1], at[1] + size))
            damaged[place], masks[place] = clean[(row + 1) % 6][place[1:]], True
    noise = np.random.default_rng(0).normal(scale=6, size=clean.shape)
    maps = gaussian_filter(damaged - clean, (0, 2, 2)) + noise  # of both signs
    return maps.astype(np.float32), masks


def _naive_aupro(maps, masks, max_fpr):
    """By the definition: at each threshold that occurs, the mean share of each region and the share of the rest."""
    regions = []
    for row, mask in enumerate(masks):
        found, count = label(mask, structure=np.ones((3, 3)))
        regions += [maps[row][found == number + 1] for number in range(count)]
    normal = maps[~masks]
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        points.append(((normal >= threshold).mean(), np.mean([(region >= threshold).mean() for region in regions])))
    x, y = np.array(points).T
    grid = np.linspace(0, max_fpr, 200_001)
    return np.interp(grid, x, y).mean()


def _added(maps, masks):
    scores = PixelScores()
    for scored, mask in zip(maps, masks, strict=True):
        scores.add(scored, mask)
    return scores


def test_both_are_what_their_definitions_say(judged):
    maps, masks = judged
    scores = _added(maps, masks)
    assert scores.auroc() == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-3)
    for max_fpr in (0.05, 0.3, 1.0):
        assert scores.aupro(max_fpr) == pytest.approx(_naive_aupro(maps, masks, max_fpr), abs=1e-3)
    assert abs(scores.auroc() - 0.5) > 0.05  # a curve that is not the diagonal


def test_scores_of_any_size_are_told_apart(judged):
    maps, masks = judged
    for scale in (1e-20, 1e20):
        assert _added(maps * np.float32(scale), masks).auroc() == pytest.approx(_added(maps, masks).auroc(), abs=1e-3)
    assert _added(masks.astype(float), masks).auroc() == 1.0
    assert _added(masks.astype(float), masks).aupro() == pytest.approx(1)
    assert _added(-masks.astype(float), masks).auroc() == 0.0
    nothing = _added(np.zeros(maps.shape), masks)
    assert (nothing.auroc(), nothing.aupro()) == (0.5, pytest.approx(0.15))


def test_what_cannot_be_judged_is_refused(judged):
    maps, masks = judged
    with pytest.raises(DataError, match=r"one shape \(H, W\), got \(24, 24\) and \(23, 24\)"):
        PixelScores().add(maps[0], masks[0, 1:])
    with pytest.raises(DataError, match="must be finite"):
        PixelScores().add(np.where(masks[0], np.nan, maps[0]), masks[0])
    for mask in (np.zeros_like(masks), np.ones_like(masks)):
        with pytest.raises(DataError, match="pixels need both classes"):
            _added(maps, mask).auroc()
    with pytest.raises(UsageError, match=r"max_fpr lies in \(0, 1\], got 0"):
        _added(maps, masks).aupro(0)
