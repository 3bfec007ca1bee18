"""Bottlenecks as one vector an image."""

import pytest
import torch

from ensemble_ad.families.latent import flat_latent


@pytest.mark.parametrize(
    ("shapes", "sizes"),
    [
        ([(48, 2, 4)], [384]),  # fits
        ([(48, 8, 8)], [48 * 3 * 3]),
        ([(48, 2, 32)], [48 * 2 * 5]),
        ([(600, 4, 4)], [512]),
        ([(2048,)], [2048]),  # a vector stays as it is
        ([(10,), (48, 8, 8), (48, 8, 8)], [10, 144, 144]),
    ],
    ids=str,
)
def test_a_latent_has_at_most_512_numbers_of_feature_maps(shapes, sizes):
    features = [torch.randn(3, *shape) for shape in shapes]
    latent = flat_latent(*features)
    assert latent.shape == (3, sum(sizes))
    for part, values in zip(latent.split(sizes, dim=1), features, strict=True):
        torch.testing.assert_close(part.mean(1), values.flatten(1).mean(1), rtol=0.2, atol=0.2)
