"""Variational autoencoder: the posterior, its divergence and its warm-up."""

import pytest
import torch

from ensemble_ad.families.vae import GaussianMap, VaeArchitecture, gaussian_kl, sample
from ensemble_ad.training.step import to_input

SHAPE = (1, 32, 32)


def test_the_divergence_is_that_of_torch_distributions():
    mean, log_variance = torch.randn(2, 4, 3, 5, 5)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum((1, 2, 3))
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected)


def test_a_sample_has_the_mean_and_the_variance_that_it_is_drawn_with():
    mean, log_variance = torch.tensor([-1.0, 2.0]), torch.tensor([0.5, -2.0])
    drawn = sample(mean.expand(20_000, 2), log_variance.expand(20_000, 2))
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.var(0), log_variance.exp(), atol=0.05, rtol=0)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.1, 0.25), (0.4, 1.0), (0.9, 1.0)])
def test_the_divergence_warms_up_with_the_progress_of_the_training(digits, progress, share):
    images = to_input(digits[:8])
    model = VaeArchitecture(kl_weight=0.5, kl_warmup=0.4).build(SHAPE)
    _, extra = model.training_pass(images, 0.0, torch.tensor(progress))
    kl = model(images).columns["kl"].mean() / (32 * 32)
    assert kl > 0
    torch.testing.assert_close(extra, share * 0.5 * kl)


def test_mean_and_log_variance_are_those_of_two_convolutions():
    layer = GaussianMap(6, 10)
    features = torch.randn(2, 6, 8, 8)
    mean, log_variance = layer(features)
    torch.testing.assert_close(mean, layer.mean(features))
    torch.testing.assert_close(log_variance, layer.log_variance(features).clamp(-20, 20))
    with torch.no_grad():
        layer.log_variance.bias.fill_(100.0)
    assert bool((layer(features)[1] == 20).all())
