"""ResNet autoencoder: torchvision's encoders, and the classifier of noisy reconstructions."""

import math

import pytest
import torch
import torchvision
from torchvision.models import resnet18

from ensemble_ad.errors import UsageError
from ensemble_ad.families import FAMILIES
from ensemble_ad.families.architecture import architecture_from_json, architecture_json
from ensemble_ad.families.encoders import ENCODERS
from ensemble_ad.families.resnet import ResnetArchitecture
from ensemble_ad.families.resnet_aux import ResnetAuxArchitecture
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

SHAPE = (1, 32, 32)


def test_the_resnet_encoder_is_torchvisions_resnet18_without_its_head():
    ours = ResnetArchitecture().build((3, 64, 64)).encoder.eval()
    theirs = resnet18(weights=None).eval()
    body = torch.nn.Sequential(*list(theirs.children())[:-2])
    body.load_state_dict(dict(zip(body.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), body(images))


EVERY_ENCODER = pytest.mark.parametrize("name", ENCODERS)


def with_encoder(name, kind=ResnetArchitecture):
    return kind(encoder=name, width=8, bottleneck=6)


@EVERY_ENCODER
@pytest.mark.parametrize(
    ("kind", "shape"),
    [(ResnetArchitecture, (1, 32, 32)), (ResnetArchitecture, (3, 32, 64))]
    + [(ResnetAuxArchitecture, shape) for shape in ((3, 16, 16), (1, 16, 48), (1, 80, 64))],
)
def test_every_encoder_keeps_shape_and_range(name, kind, shape):
    model = with_encoder(name, kind).build(shape).eval()
    images = torch.rand(3, *shape) * 2 - 1
    with torch.inference_mode():
        output = model(images)
        torch.testing.assert_close(model.decode(model.encode(images)), output.reconstruction, rtol=0, atol=0)
    assert output.reconstruction.shape == images.shape
    assert output.reconstruction.abs().max() <= 1
    assert output.latent.shape == (3, 6)


@EVERY_ENCODER
def test_every_encoder_is_torchvisions_but_for_its_head(name):
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(weights=None).eval().double()
    torch.manual_seed(0)
    ours = with_encoder(name).build((3, 64, 64)).encoder.eval().double()
    images, pooled = torch.randn(2, 3, 64, 64, dtype=torch.float64), []
    theirs.avgpool.register_forward_hook(lambda module, given, found: pooled.append(given[0]))
    with torch.inference_mode():
        theirs(images)
        torch.testing.assert_close(ours(images), pooled[0])


@EVERY_ENCODER
@pytest.mark.parametrize("kind", [ResnetArchitecture, ResnetAuxArchitecture])
def test_every_parameter_of_every_encoder_gets_a_gradient(name, kind, digits):
    model = with_encoder(name, kind).build(SHAPE).to(memory_format=torch.channels_last).train()
    images = to_input(digits[:16])
    reconstruction, loss = model.training_pass(images, 0.1, torch.tensor(1.0))
    (loss + (reconstruction - images).square().mean()).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert without == []


@EVERY_ENCODER
@pytest.mark.parametrize("kind", [ResnetArchitecture, ResnetAuxArchitecture])
def test_every_encoder_survives_json_and_blocks_are_not_said(name, kind):
    architecture = with_encoder(name, kind)
    assert architecture_from_json(kind, architecture_json(architecture)) == architecture
    # Members that were made before there was a choice keep their keys.
    assert "encoder" not in architecture_json(kind())


def test_a_study_on_a_cpu_tries_the_encoders_that_it_can_afford():
    def tried(widths, family="resnet"):
        asked = {}

        class Asking:
            def suggest_categorical(self, name, choices):
                asked[name] = list(choices)
                return choices[-1]

            def suggest_int(self, name, low, high, *, step=1, log=False):
                return low

            suggest_float = suggest_int

        FAMILIES[family].suggest(Asking(), widths)
        return asked["encoder"]

    assert set(tried(FAMILIES["resnet"].widths)) == {"blocks", *ENCODERS}
    assert tried(FAMILIES["resnet"].widths_up_to(16)) == ["regnet_y_400mf", "blocks"]
    assert tried((8,)) == ["blocks"]
    assert set(tried(FAMILIES["resnet_aux"].widths, "resnet_aux")) == {"blocks", *ENCODERS}
    assert tried((4, 8), "resnet_aux") == ["regnet_y_400mf", "blocks"]


def test_an_unknown_encoder_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"must be one of blocks, regnet_y_400mf, .*, not 'vgg11'"):
        with_encoder("vgg11")


@pytest.mark.slow
def test_the_resnet_classifier_learns_to_tell_noisy_reconstructions(digits):
    architecture = ResnetArchitecture(blocks=(1, 1, 1, 1), width=8, bottleneck=16, classifier_weight=1.0)
    settings = TrainSettings(epochs=12, batch_size=32, latent_noise_scale=3.0)
    model = train(lambda: architecture.build(SHAPE), digits, torch.arange(len(digits)), settings).train()
    cross_entropy = float(model.training_pass(to_input(digits), 3.0, torch.tensor(1.0))[1].detach())  # type: ignore[operator]
    assert cross_entropy < 0.9 * 2 * math.log(2)  # 2 ln 2 is what guessing costs
