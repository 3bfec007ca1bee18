"""References: the shrunk covariance, and distances to training images' points."""

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from ensemble_ad.training.references import DISTANCES, Reference, column, is_distance

DIGITS = torch.tensor(load_digits().data, dtype=torch.float32)


@pytest.mark.parametrize("n", [40, 1000], ids=["fewer points than dimensions", "more"])
def test_distances_are_those_of_the_whole_shrunk_covariance(n):
    known, new = DIGITS[:n], DIGITS[1000:1200]
    found = Reference.fitted(known).distances(new)
    covariance, _ = ledoit_wolf(known.double().numpy())
    # Some pixels of the digits are always black; the floor for those takes part where there are points enough.
    floor = 1e-6 * np.linalg.eigvalsh(covariance).max()
    values, vectors = np.linalg.eigh(covariance)
    whitening = vectors / np.sqrt(np.maximum(values, floor))
    bank, white = ((each - known.mean(0)).double().numpy() @ whitening for each in (known, new))
    np.testing.assert_allclose(found["mahalanobis"], np.linalg.norm(white, axis=1), rtol=1e-3)
    near, places = NearestNeighbors(n_neighbors=5).fit(bank).kneighbors(white)
    np.testing.assert_allclose(found["knn"], near.mean(1), rtol=1e-3)
    around = NearestNeighbors(n_neighbors=5).fit(bank).kneighbors()[0].mean(1)
    np.testing.assert_allclose(found["lof"], near.mean(1) / around[places].mean(1), rtol=1e-2)


def test_numbers_are_apart_from_those_of_the_nearest_images():
    known, new = DIGITS[:1000], DIGITS[1000:1200]
    reference = Reference.fitted(known)
    covariance, _ = ledoit_wolf(known.double().numpy())
    values, vectors = np.linalg.eigh(covariance)
    whitening = vectors / np.sqrt(np.maximum(values, 1e-6 * values.max()))
    bank, white = ((each - known.mean(0)).double().numpy() @ whitening for each in (known, new))
    places = NearestNeighbors(n_neighbors=5).fit(bank).kneighbors(white, return_distance=False)
    away = (new[:, None] - known[places]).square().mean(1).sqrt() / torch.tensor(covariance).diag().sqrt()
    shown = known.std(0) > 0
    np.testing.assert_allclose(reference.apart(new)[:, shown], away[:, shown], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("d", [512, 2048])
def test_directions_beyond_the_axes_count_as_alike(d):
    products = (DIGITS[:, :, None] * DIGITS[:, None]).flatten(1)
    wide = products[:, products.var(0).argsort(descending=True)[:d]]
    reference = Reference.fitted(wide[:1200])
    assert reference.axes.shape == (d, 256)
    assert reference.bank.shape == (1200 if d == 512 else 1000, 257)
    off = reference.bank[:, -1]
    torch.testing.assert_close(off[::2].median(), off[1::2].median(), rtol=0.1, atol=0)  # alike, fitted to or not
    torch.testing.assert_close(reference.axes.T @ reference.axes, torch.eye(256), atol=1e-4, rtol=0)
    normal, odd = (reference.distances(points) for points in (wide[1200:1300], 255 - wide[1200:1300]))
    for kind in DISTANCES:
        assert bool(torch.isfinite(odd[kind]).all())
        assert odd[kind].min() > normal[kind].median()


@pytest.mark.parametrize("n", [2, 3, 30])
def test_equal_points_are_at_a_finite_distance(n):
    reference = Reference.fitted(torch.ones(n, 7))
    for points in (torch.ones(2, 7), torch.zeros(2, 7)):
        for kind, values in reference.distances(points).items():
            assert bool(torch.isfinite(values).all()), kind
        assert bool(torch.isfinite(reference.apart(points)).all())


def test_points_of_thin_regions_are_normal_by_lof_and_far_by_knn():
    generator = torch.Generator().manual_seed(0)
    dense, thin = torch.randn(500, 4, generator=generator) * 0.1, torch.randn(500, 4, generator=generator) + 20
    reference = Reference.fitted(torch.cat([dense, thin]))
    found = reference.distances(torch.stack([dense[0] + 0.5, thin.mean(0)]))
    assert found["knn"][1] > found["knn"][0]
    assert found["lof"][1] < found["lof"][0]


def test_columns_are_named_by_the_space_the_kind_and_the_encoder():
    assert [column(name, "knn") for name in ("latent", "latent.2", "residual")] == [
        "latent_knn",
        "latent_knn_2",
        "residual_knn",
    ]
    assert all(is_distance(column("latent.vae", kind)) for kind in DISTANCES)
    assert not is_distance("rss")
