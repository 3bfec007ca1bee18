"""Error kinds and losses against plain formulas."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from ensemble_ad.families.reconstruction import ERROR_KINDS, LOSSES


@pytest.fixture(scope="module")
def pair():
    """Real crops of a photograph and blurred copies of them, float (4, 3, 32, 48) in [-1, 1]."""
    photo = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1).float() / 127.5 - 1
    images = torch.stack([photo[:, y : y + 32, x : x + 48] for y, x in ((0, 0), (100, 200), (200, 300), (300, 500))])
    return images, torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1)


def _ssim(x, y):
    """Mean SSIM of one channel by its definition, window by window."""
    c1, c2 = 0.02**2, 0.06**2
    values = []
    for top in range(x.shape[0] - 6):
        for left in range(x.shape[1] - 6):
            a, b = (z[top : top + 7, left : left + 7].ravel() for z in (x, y))
            covariance = np.cov(a, b)
            numerator = (2 * a.mean() * b.mean() + c1) * (2 * covariance[0, 1] + c2)
            values.append(
                numerator / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2))
            )
    return np.mean(values)


EXPECTED = {
    "rss": lambda x, y: np.sqrt(((x - y) ** 2).sum()),
    "mae": lambda x, y: np.abs(x - y).mean(),
    "top": lambda x, y: np.sort(np.abs(x - y).ravel())[-int(x.size * 0.1) :].mean(),
    "gradient": lambda x, y: np.sqrt((np.diff(x - y, axis=2) ** 2).sum() + (np.diff(x - y, axis=1) ** 2).sum()),
    "ssim": lambda x, y: 1 - np.mean([_ssim(a, b) for a, b in zip(x, y, strict=True)]),
}


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_an_error_kind_is_its_formula(kind, pair):
    images, blurred = pair
    got = ERROR_KINDS[kind](images, blurred)
    expected = [EXPECTED[kind](x.double().numpy(), y.double().numpy()) for x, y in zip(images, blurred, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=2e-3)


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_a_perfect_reconstruction_has_no_error_and_a_worse_one_has_more(kind, pair):
    images, blurred = pair
    none, some = ERROR_KINDS[kind](images, images), ERROR_KINDS[kind](images, blurred)
    more = ERROR_KINDS[kind](images, images + 2 * (blurred - images))
    assert (none < 1e-4).all()
    assert (some > none).all()
    assert (more > some).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_zero_at_the_image_and_pulls_towards_it(loss, pair):
    images, blurred = pair
    guess = blurred.clone().requires_grad_()
    value = LOSSES[loss](images, guess)
    value.backward()
    assert value > 0
    assert LOSSES[loss](images, images) < 1e-6
    closer = (guess - 1e-2 * guess.grad / guess.grad.abs().max()).detach()
    assert LOSSES[loss](images, closer) < value
