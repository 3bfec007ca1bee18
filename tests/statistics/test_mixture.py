"""The mixture that tells the share of anomalies, on real measurements whose share is known."""

import numpy as np
import pytest

from ensemble_ad.statistics.mixture import fit_mixture


@pytest.fixture
def sides(tumours):
    """Gives reference and test scores with a share of anomalies, the test's normal ones raised."""
    label, scores = tumours
    normal, ill = scores[label == 0][:, 20], scores[label == 1][:, 20]

    def make(share: float, raised: float = 0.0, seed: int = 0):
        rng = np.random.default_rng(seed)
        rows = rng.permutation(len(normal))
        test = normal[rows[: len(rows) // 2]] + raised * normal.std()
        odd = rng.choice(ill, round(len(test) * share / (1 - share)))
        return normal[rows[len(rows) // 2 :]], np.concatenate([test, odd])

    return make


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_share_is_found_within_its_error(sides, share):
    found = [fit_mixture([sides(share, seed=seed)]) for seed in range(6)]
    assert all(abs(each.share - share) < 3 * each.share_error for each in found)
    assert np.mean([each.share_error for each in found]) < 0.12


def test_normal_images_that_have_moved_widen_the_error_or_are_too_many(sides):
    plain, raised, far = (fit_mixture([sides(0.3, by)]) for by in (0.0, 0.5, 1.0))
    assert raised.share_error > 1.3 * plain.share_error
    assert abs(raised.share - 0.3) < 3 * raised.share_error
    assert far.share > 0.6 or far.shift > 0.4


def test_two_halves_on_scales_of_their_own_are_surer_than_one(sides):
    reference, test = sides(0.3)
    one, two = fit_mixture([(reference, test)]), fit_mixture([(reference, test), (3 * reference, 3 * test)])
    assert two.share_error < 0.95 * one.share_error


def test_scores_that_are_no_mixture_are_seen():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=2000)
    odd = np.where(rng.random(2000) < 0.5, rng.normal(0, 0.2, 2000), -3.0)
    assert fit_mixture([(reference, odd)]).misfit > 50 > fit_mixture([(reference, rng.normal(size=2000))]).misfit
