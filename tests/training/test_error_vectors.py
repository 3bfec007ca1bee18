"""Error vectors: the distances of bottlenecks and residuals."""

import numpy as np
import pytest
import torch

from ensemble_ad.families import preset
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.training.error_vectors import batch_size, error_vectors, fit_references


def test_latent_distances_are_finite_for_a_dead_bottleneck(dataset):
    model = FcnArchitecture(widths=(16, 6)).build((1, 32, 32)).eval()
    with torch.no_grad():
        model.encoder[-1].weight[2] = 0.0  # type: ignore[operator]
        model.encoder[-1].bias[2] = 0.0  # type: ignore[operator]
    images = torch.from_numpy(np.asarray(dataset.train.images[:100]))
    latent = fit_references(model, images)
    near = error_vectors(model, images, latent)
    far = error_vectors(model, 255 - images, latent)
    for kind in ("latent_mahalanobis", "latent_knn", "residual_mahalanobis", "residual_knn"):
        assert np.isfinite(near[kind]).all()
        assert far[kind].mean() > near[kind].mean()
    assert float(np.mean(near["latent_mahalanobis"] ** 2)) == pytest.approx(5, rel=0.4)


@pytest.mark.parametrize(
    ("side", "channels", "wide", "size"),
    [
        (8, 1, False, 128),
        (32, 1, False, 128),
        (64, 1, False, 64),
        (64, 3, False, 64),
        (256, 3, False, 5),
        (8, 1, True, 64),
        (32, 1, True, 64),
        (64, 1, True, 16),
        (64, 3, True, 8),
        (256, 3, True, 5),
        (2000, 3, True, 1),
    ],
)
def test_a_cpu_scores_the_more_images_at_a_time_the_smaller_they_are(side, channels, wide, size):
    images = torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(1, side, side, channels)
    assert batch_size(images, wide=wide) == size
    assert batch_size(images, 4, wide=wide) == min(4, size)


def test_a_network_of_wide_maps_scores_alike_a_few_and_many_at_a_time(dataset):
    model = preset("inpaint-conv")[1].architecture.build((1, 32, 32)).eval()
    plain = preset("inpaint-mlp")[1].architecture.build((1, 32, 32))
    assert (model.wide, plain.wide) == (True, False)
    images = torch.from_numpy(np.array(dataset.train.images[:70]))
    found = error_vectors(model, images)
    model.wide = False
    for kind, values in error_vectors(model, images).items():
        np.testing.assert_allclose(values, found[kind], rtol=1e-4, atol=1e-5)
