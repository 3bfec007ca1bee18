"""Error vectors: the distances of bottlenecks and residuals."""

import numpy as np
import pytest
import torch

from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.training.error_vectors import error_vectors, fit_references


def test_latent_distances_are_finite_for_a_dead_bottleneck(dataset):
    torch.manual_seed(0)
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
