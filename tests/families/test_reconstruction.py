"""Error kinds and losses against plain formulas."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch.utils._python_dispatch import TorchDispatchMode

from ensemble_ad.families import reconstruction
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


def test_ssim_is_the_same_whole_in_parts_and_as_a_gpu_has_it(pair, monkeypatch):
    images, blurred = pair
    whole = ERROR_KINDS["ssim"](images, blurred)
    monkeypatch.setattr(reconstruction, "_AT_ONCE", 3 * 32 * 48)
    with torch.no_grad():
        np.testing.assert_allclose(ERROR_KINDS["ssim"](images, blurred), whole, atol=1e-6)
    maps = torch.cat([images, blurred])
    sums, pooled = reconstruction._window_sums(maps), reconstruction._pooled_sums(maps)
    np.testing.assert_allclose(sums, pooled, atol=1e-4)


def test_ssim_holds_a_few_images_at_a_time(photos):
    """Beside the images it holds a dozen maps of as many as fit into a cache, not of the whole batch."""
    images = torch.from_numpy(photos(32, 128, 3)).permute(0, 3, 1, 2).float() / 127.5 - 1
    mirrored = images.flip(3)
    with torch.no_grad(), _Bytes() as made:
        ERROR_KINDS["ssim"](images, mirrored)
    assert made.largest < images.nbytes


class _Bytes(TorchDispatchMode):
    """The bytes of the largest tensor that is made while it is entered, views of the images left out."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and not made._is_view():
            self.largest = max(self.largest, made.nbytes)
        return made


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
