"""ResNet autoencoder with an auxiliary decoder: who learns from which loss."""

import torch

from ensemble_ad.families.resnet_aux import ResnetAuxArchitecture
from ensemble_ad.training.step import to_input

SHAPE = (1, 32, 32)


def test_the_auxiliary_decoder_learns_and_leaves_the_resnet_alone(digits):
    images = to_input(digits[:16])
    model = ResnetAuxArchitecture(width=4, bottleneck=32).build(SHAPE).train()
    _, extra = model.training_pass(images, 0.0, torch.tensor(0.5))
    extra.backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learning == {f"auxiliary.{name}" for name, _ in model.auxiliary.named_parameters()}
    model.eval()
    output = model(images)
    first, second = (decoder(model.encoder(images)) for decoder in (model.decoder, model.auxiliary))
    torch.testing.assert_close(output.reconstruction, second)
    torch.testing.assert_close(output.columns["decoder_gap"], (first - second).square().sum((1, 2, 3)).sqrt())
    torch.testing.assert_close(output.columns["first_rss"], (images - first).square().sum((1, 2, 3)).sqrt())
