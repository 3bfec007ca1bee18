"""Linear autoencoder: scikit-learn's PCA, and the best one under noise."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from ensemble_ad.families.pca import PcaArchitecture, _thinned
from ensemble_ad.training.step import to_input


def pca(images, components, *, noise_scale=0.0, latent_noise_scale=0.0):
    """A solved model, and its loss; of many pixels the solution is randomised, so it is seeded as `train` does."""
    torch.manual_seed(1)
    height, width, channels = images.shape[1:]
    model = PcaArchitecture(components=components).build((channels, height, width))
    batches = [to_input(part) for part in torch.split(images, 64)]
    return model.eval(), model.solve(batches, noise_scale, latent_noise_scale)


def flat(images):
    return to_input(images).flatten(1).double().numpy()


@pytest.mark.parametrize("components", [1, 10, 64])
def test_pca_reconstructs_as_scikit_learn_does(digits, components):
    model, loss = pca(digits[:120], components)
    theirs = PCA(components, svd_solver="full").fit(flat(digits[:120]))
    expected = theirs.inverse_transform(theirs.transform(flat(digits[120:])))
    with torch.inference_mode():
        ours = model(to_input(digits[120:])).reconstruction.flatten(1)
    np.testing.assert_allclose(ours, expected.clip(-1, 1), atol=1e-4)
    known = theirs.inverse_transform(theirs.transform(flat(digits[:120])))
    assert loss == pytest.approx(np.square(known - flat(digits[:120])).mean(), rel=1e-4)


@pytest.mark.parametrize("components", [8, 40])
def test_pca_of_many_pixels_reconstructs_nearly_as_well_as_the_best(photos, components):
    images = torch.from_numpy(photos(300, 32, 3))
    model, loss = pca(images, components)
    theirs = PCA(components, svd_solver="full").fit(flat(images))
    error = np.square(theirs.inverse_transform(theirs.transform(flat(images))) - flat(images)).mean()
    assert error * (1 - 1e-5) <= loss <= 1.005 * error  # its sums are in float32
    with torch.inference_mode():
        latent = model(to_input(images)).latent
    torch.testing.assert_close(latent.T @ latent / len(latent), torch.eye(components), atol=0.02, rtol=0)


def expected_error(covariance, encoder, decoder, noise_scale, latent_noise_scale):
    """Mean over images and noise of the squared error of x' = D (E (x + s e) + t n), for centred images."""
    identity = torch.eye(len(covariance), dtype=covariance.dtype)
    whole = identity - decoder @ encoder
    noise = noise_scale**2 * (decoder @ encoder).square().sum() + latent_noise_scale**2 * decoder.square().sum()
    return float((whole @ covariance @ whole.T).trace() + noise)


@pytest.mark.parametrize(("noise_scale", "latent_noise_scale"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.5), (1.5, 0.4)])
def test_no_white_linear_autoencoder_does_better_than_pca(digits, noise_scale, latent_noise_scale):
    small_digits = digits[:, ::4, ::4]
    images = torch.from_numpy(flat(small_digits))
    centred = images - images.mean(0)
    covariance = centred.T @ centred / len(images)
    model, _ = pca(small_digits, 6, noise_scale=noise_scale, latent_noise_scale=latent_noise_scale)
    encoder = (model.components * model.scale[:, None]).detach().double()
    decoder = (model.components * model.gain[:, None]).detach().double().T
    noisy = covariance + noise_scale**2 * torch.eye(len(covariance))
    torch.testing.assert_close(encoder @ noisy @ encoder.T, torch.eye(6).double(), atol=1e-4, rtol=0)
    best = expected_error(covariance, encoder, decoder, noise_scale, latent_noise_scale)
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-2, 0.1, 1.0, 10.0):
        for _ in range(5):
            drawn = torch.randn(encoder.shape, generator=generator, dtype=torch.float64)
            other = encoder + size * encoder.norm(dim=1, keepdim=True) * drawn / drawn.norm(dim=1, keepdim=True)
            values, vectors = torch.linalg.eigh(other @ noisy @ other.T)
            other = vectors / values.sqrt() @ vectors.T @ other  # white again
            refitted = torch.linalg.solve(
                other @ noisy @ other.T + latent_noise_scale**2 * torch.eye(6), other @ covariance
            ).T
            assert best <= expected_error(covariance, other, refitted, noise_scale, latent_noise_scale) + 1e-6


def test_pcas_shrinkage_is_that_of_a_regression_on_noisy_copies(digits):
    small_digits, copies = digits[:, ::4, ::4], 400
    model, _ = pca(small_digits, 5, noise_scale=0.8, latent_noise_scale=0.5)
    images = to_input(small_digits).repeat(copies, 1, 1, 1)
    torch.manual_seed(0)
    with torch.inference_mode():
        latent = model(images + 0.8 * torch.randn_like(images)).latent
    latent = latent + 0.5 * torch.randn_like(latent)
    target = images.flatten(1) - model.mean.detach()
    decoder = torch.linalg.lstsq(latent, target).solution
    torch.testing.assert_close(decoder, (model.components * model.gain[:, None]).detach(), atol=0.02, rtol=0)


def test_pca_of_fewer_images_than_components_leaves_the_rest_at_zero(digits, photos):
    for images in (digits[:12], torch.from_numpy(photos(12, 32, 3))):
        model, loss = pca(images, 40)
        with torch.inference_mode():
            output = model(to_input(images))
        assert loss == pytest.approx(0, abs=1e-6)
        torch.testing.assert_close(output.reconstruction, to_input(images), atol=1e-3, rtol=0)
        assert output.latent.shape == (12, 40)
        assert (output.latent[:, :11].std(0) > 0.5).all()
        assert (output.latent[:, 11:] == 0).all()
    alike, loss = pca(digits[:1].repeat(20, 1, 1, 1), 3, noise_scale=0.1)
    assert loss == pytest.approx(0, abs=1e-9)
    assert torch.isfinite(alike(to_input(digits)).latent).all()


def test_pca_of_more_components_than_pixels_has_as_many_as_pixels(digits):
    model, _ = pca(digits[:, ::8, ::8], 512)
    assert model.components.shape == (16, 16)


def test_a_components_sign_does_not_depend_on_the_order_of_the_images(digits, photos):
    for images in (digits, torch.from_numpy(photos(160, 32, 3))):
        one, other = pca(images, 4)[0], pca(images.flip(0), 4)[0]
        torch.testing.assert_close(one.components, other.components, atol=2e-3, rtol=0)
        assert (one.components.gather(1, one.components.abs().argmax(1, keepdim=True)) > 0).all()


def test_of_too_many_images_every_mth_is_taken_and_the_mean_is_of_all():
    images = torch.arange(103.0)[:, None, None, None].expand(-1, 1, 2, 3)
    for sizes in ([103], [50, 53], [7] * 14 + [5], [1] * 103):
        mean, every, count = _thinned(images.split(sizes), 30)
        assert (every, count) == (4, 26)
        torch.testing.assert_close(mean, torch.full((6,), 51.0, dtype=torch.float64))
    assert _thinned(images.split(10), 103)[1:] == (1, 103)


def test_pca_of_every_mth_image_is_that_of_these_images(photos, monkeypatch):
    images = torch.from_numpy(photos(300, 32, 3))
    monkeypatch.setattr("ensemble_ad.families.pca._MOST_NUMBERS", 200 * 3 * 32 * 32)
    thinned, _ = pca(images, 8)
    pixels = flat(images)
    np.testing.assert_allclose(thinned.mean.detach(), pixels.mean(0), atol=1e-5)
    best = np.linalg.svd(pixels[::2] - pixels.mean(0), full_matrices=False)[2][:8]
    assert np.abs(np.sum(best * thinned.components.detach().numpy(), axis=1)).min() > 0.99
