"""ResNet autoencoder: torchvision's encoder, and the classifier of noisy reconstructions."""

import math

import pytest
import torch
from torchvision.models import resnet18

from ensemble_ad.families.resnet import ResnetArchitecture
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

SHAPE = (1, 32, 32)


def test_the_resnet_encoder_is_torchvisions_resnet18_without_its_head():
    torch.manual_seed(0)
    ours = ResnetArchitecture().build((3, 64, 64)).encoder.eval()
    theirs = resnet18(weights=None).eval()
    body = torch.nn.Sequential(*list(theirs.children())[:-2])
    body.load_state_dict(dict(zip(body.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), body(images))


@pytest.mark.slow
def test_the_resnet_classifier_learns_to_tell_noisy_reconstructions(digits):
    architecture = ResnetArchitecture(blocks=(1, 1, 1, 1), width=8, bottleneck=16, classifier_weight=1.0)
    settings = TrainSettings(epochs=12, batch_size=32, latent_noise_scale=3.0)
    model = train(lambda: architecture.build(SHAPE), digits, torch.arange(len(digits)), settings).train()
    cross_entropy = float(model.training_pass(to_input(digits), 3.0, torch.tensor(1.0))[1].detach())  # type: ignore[operator]
    assert cross_entropy < 0.9 * 2 * math.log(2)  # 2 ln 2 is what guessing costs
