"""MESDnet: its further losses."""

import torch

from ensemble_ad.families.mesdnet import MesdnetArchitecture, consistency
from ensemble_ad.training.step import to_input

SHAPE = (1, 32, 32)


def test_the_consistency_loss_reaches_both_encoders(digits):
    images = to_input(digits[:16])
    architecture = MesdnetArchitecture(fcn_widths=(256, 64, 10), width=2, decoder_channels=(32, 16, 8))
    model = architecture.build(SHAPE).train()
    consistency(model.fcn_map(model.fcn(images.flatten(1))), model.cnn(images)).backward()
    for encoder in (model.fcn, model.fcn_map, model.cnn):
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_the_further_losses_have_the_published_ratio_to_a_summed_loss(digits):
    images = to_input(digits[:16])
    architecture = MesdnetArchitecture(fcn_widths=(16, 4), map_widths=(8,), width=2, decoder_channels=(8, 4, 4))
    model = architecture.build(SHAPE).train()
    torch.manual_seed(0)
    reconstruction, extra = model.training_pass(images, 0.0, torch.tensor(0.5))
    mean, log_variance = model.posterior(model.vae(images))
    fcn_map, cnn_map = model.fcn_map(model.fcn(images.flatten(1))), model.cnn(images)
    published = (
        (reconstruction - images).square().sum()
        - 0.1 * 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
        + 0.05 * (fcn_map.mean((2, 3)) - cnn_map.mean((2, 3))).square().mean()
    )
    torch.testing.assert_close((reconstruction - images).square().mean() + extra, published / images.numel())
