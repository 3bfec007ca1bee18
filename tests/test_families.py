"""Contract tests over FAMILIES: a new family is tested by being in the dict."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from optuna.trial import FixedTrial
from sklearn.datasets import load_digits
from torchvision.models import resnet18

from ensemble_ad import families
from ensemble_ad.errors import UsageError
from ensemble_ad.families import FAMILIES
from ensemble_ad.families._base import architecture_from_json, architecture_json, count_parameters
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.families.resnet import ResnetArchitecture
from ensemble_ad.preprocess import Preprocess, apply
from ensemble_ad.score import error_vectors
from ensemble_ad.train import TrainSettings, to_input, train

EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
SHAPE = (1, 32, 32)


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    """160 real handwritten digits, uint8 (160, 32, 32, 1)."""
    images = np.rint(load_digits().images[:160] * (255 / 16)).astype(np.uint8)
    return torch.from_numpy(images.repeat(4, axis=1).repeat(4, axis=2)[..., None].copy())


class Corner:
    """A trial that takes the first or the last value of every range."""

    def __init__(self, *, last: bool) -> None:
        self.last = last

    def suggest_float(self, name, low, high, *, step=None, log=False):
        return high if self.last else low

    def suggest_int(self, name, low, high, *, step=1, log=False):
        return high if self.last else low

    def suggest_categorical(self, name, choices):
        return list(choices)[-1 if self.last else 0]


class Recorder(Corner):
    """A corner trial that remembers what it was asked for."""

    def __init__(self, *, last: bool) -> None:
        super().__init__(last=last)
        self.asked: dict[str, tuple] = {}

    def suggest_float(self, name, low, high, *, step=None, log=False):
        self.asked[name] = (low, high)
        return super().suggest_float(name, low, high)

    def suggest_int(self, name, low, high, *, step=1, log=False):
        self.asked[name] = (low, high)
        return super().suggest_int(name, low, high)

    def suggest_categorical(self, name, choices):
        self.asked[name] = tuple(choices)
        return super().suggest_categorical(name, choices)


def small(family, shape=SHAPE):
    """The narrowest model that the family's search starts from."""
    recorder = Recorder(last=False)
    family.suggest(recorder, family.widths[:1])
    values = {name: choices[0] for name, choices in recorder.asked.items()}
    for name, value in family.start[0].items():
        if name in recorder.asked and (name != "width"):
            values[name] = value
    return family.suggest(FixedTrial(values), family.widths[:1])


@EVERY_FAMILY
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 32, 32), (3, 64, 64), (1, 32, 64)], ids=str)
def test_a_pass_keeps_shape_dtype_and_range(family, shape):
    model = small(family).build(shape).eval()
    images = torch.rand(5, *shape) * 2 - 1
    output = model(images)
    assert output.reconstruction.shape == images.shape
    assert output.reconstruction.dtype == torch.float32
    assert output.reconstruction.abs().max() <= 1
    assert output.latent.shape[0] == 5
    assert output.latent.ndim == 2
    for values in output.columns.values():
        assert values.shape == (5,)
        assert torch.isfinite(values).all()


@EVERY_FAMILY
def test_every_parameter_gets_a_gradient(family, digits):
    model = small(family).build(SHAPE).train()
    images = to_input(digits[:16])
    reconstruction, extra = model.training_pass(images, 0.1)
    ((reconstruction - images).square().mean() + extra).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@EVERY_FAMILY
@pytest.mark.parametrize("last", [False, True], ids=["lowest", "highest"])
def test_the_loss_is_finite_at_the_ends_of_the_search_space(family, digits, last):
    trial = Corner(last=last)
    architecture = family.suggest(trial, family.widths[:3])
    _, training = family.ranges.suggest(trial, 2)
    losses = []
    train(
        lambda: architecture.build(SHAPE),
        digits,
        torch.arange(len(digits)),
        TrainSettings(**training),
        after_epoch=lambda epoch, model: losses.append(epoch.loss) is None,
    )
    assert losses
    assert all(map(math.isfinite, losses))


def searched(family):
    """What a study asks for in the deep corner of the search space, where the conditional parameters are asked too."""
    recorder = Recorder(last=True)
    family.suggest(recorder, family.widths[:2])
    family.ranges.suggest(recorder, 4)
    return recorder.asked


# Two epochs of small batches suffice to tell two runs apart.
QUICK = {"epochs": 2, "batch_size": 64, "warmup_ratio": 0.0, "noise_scale": 0.1, "latent_noise_scale": 0.1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "name"),
    [pytest.param(family, name, id=f"{key}-{name}") for key, family in FAMILIES.items() for name in searched(family)],
)
def test_every_hyperparameter_changes_the_result(family, name, digits):
    asked = searched(family)
    base = {parameter: choices[-1] for parameter, choices in asked.items()} | dict(family.start[-1]) | QUICK
    changed = base | {name: next(choice for choice in asked[name] if choice != base[name])}
    assert not np.array_equal(_rss(family, base, digits), _rss(family, changed, digits))


def _rss(family, values, digits):
    """Error vector after a short training with these hyperparameters."""
    trial = FixedTrial({"taper": 1, **values})
    architecture = family.suggest(trial, family.widths[:2])
    crop, training = family.ranges.suggest(trial, 4)
    images = torch.from_numpy(apply(digits.numpy(), Preprocess(crop=(crop, crop), size=SHAPE[1:], channels=SHAPE[0])))
    model = train(lambda: architecture.build(SHAPE), images, torch.arange(128), TrainSettings(**training))
    return error_vectors(model.eval(), images[128:])["rss"]


@EVERY_FAMILY
def test_same_seed_same_result_and_another_seed_another(family, digits):
    settings = TrainSettings(epochs=2, batch_size=32, noise_scale=0.1, latent_noise_scale=0.1)
    rows = torch.arange(96)

    def scores(seed):
        model = train(lambda: small(family).build(SHAPE), digits, rows, replace(settings, seed=seed))
        return error_vectors(model.eval(), digits[96:])

    first, again, other = scores(0), scores(0), scores(1)
    for kind in first:
        np.testing.assert_array_equal(first[kind], again[kind], err_msg=kind)
    assert not np.array_equal(first["rss"], other["rss"])


@EVERY_FAMILY
def test_a_batch_scores_as_one_by_one(family, digits):
    model = train(lambda: small(family).build(SHAPE), digits, torch.arange(96), TrainSettings(epochs=1, batch_size=32))
    model.eval()
    batch = error_vectors(model, digits[96:106])
    for i in range(10):
        for kind, values in error_vectors(model, digits[96 + i : 97 + i]).items():
            np.testing.assert_allclose(values[0], batch[kind][i], rtol=1e-4, atol=1e-5, err_msg=kind)


@EVERY_FAMILY
def test_architectures_survive_json(family):
    for architecture in (small(family), *(p.architecture for p in family.presets.values())):
        assert architecture_from_json(family.architecture, architecture_json(architecture)) == architecture


@EVERY_FAMILY
def test_presets_are_valid_training_settings(family):
    for name, preset in family.presets.items():
        assert TrainSettings(**preset.training).epochs >= 1, name
        assert preset.source


@EVERY_FAMILY
def test_the_start_of_a_study_lies_in_its_search_space(family):
    recorder = Recorder(last=True)
    family.suggest(recorder, family.widths)
    family.ranges.suggest(recorder, 20)
    for start in family.start:
        assert start.keys() <= recorder.asked.keys()
        for name, value in start.items():
            choices = recorder.asked[name]
            assert value in choices or (not isinstance(value, str) and choices[0] <= value <= choices[-1]), name


@EVERY_FAMILY
def test_a_width_below_the_least_is_refused(family):
    assert family.widths_up_to(family.widths[1]) == family.widths[:2]
    with pytest.raises(UsageError, match=f"--max-width must be {family.widths[0]} or more"):
        family.widths_up_to(family.widths[0] - 1)


@EVERY_FAMILY
def test_a_side_that_a_family_cannot_take_is_refused_with_those_it_can(family):
    if family.side_multiple == 1:
        family.check_shape((1, 17, 17))
        return
    family.check_shape((1, 2 * family.side_multiple, family.side_multiple))
    with pytest.raises(UsageError, match=rf"multiples of {family.side_multiple}.*not 17x17"):
        family.check_shape((1, 17, 17))


PIXELS = 64 * 64 * 3


def linear(*units):
    return sum(a * b + b for a, b in pairwise(units))


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        # A linear layer from a to b units has ab + b parameters, batch normalisation 2 a unit, a PReLU one.
        ("fcn-sample", linear(PIXELS, 128, 64, 12, 3) + linear(3, 12, 64, 128, PIXELS)),
        ("fcn-medium", linear(PIXELS, 1024, 512, 256, 64, 10) + linear(10, 64, 256, 512, 1024, PIXELS)),
        ("fcn-strong", linear(PIXELS, 2048, 1024, 512, 256, 128) + linear(128, 256, 512, 1024, 2048, PIXELS)),
        (
            "fcn-boss",
            linear(PIXELS, 4096, 2048, 1024, 256, 128)
            + linear(128, 256, 1024, 2048, 4096, PIXELS)
            + 2 * (2 * (4096 + 2048 + 1024 + 256) + 4),
        ),
    ],
)
def test_presets_have_the_published_parameters(preset, expected):
    with torch.device("meta"):
        model = families.preset(preset)[1].architecture.build((3, 64, 64))
    assert count_parameters(model) == expected


def test_an_activated_bottleneck_has_the_parameters_of_the_published_report():
    with torch.device("meta"):
        model = FcnArchitecture(widths=(4096, 2048), batch_norm=True, activate_bottleneck=True).build((3, 64, 64))
    assert count_parameters(model) == 117_483_520


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
    cross_entropy = float(model.training_pass(to_input(digits), 3.0)[1].detach())
    assert cross_entropy < 0.9 * 2 * math.log(2)  # 2 ln 2 is what guessing costs


@pytest.mark.parametrize(
    "broken",
    [
        lambda: FcnArchitecture(widths=()),
        lambda: FcnArchitecture(widths=(8, 0)),
        lambda: FcnArchitecture(widths=(8,), activation="tanh"),  # type: ignore[arg-type]
        lambda: ResnetArchitecture(blocks=(1, 1)),
        lambda: ResnetArchitecture(width=1),
        lambda: ResnetArchitecture(classifier_weight=-1.0),
    ],
)
def test_impossible_architectures_are_refused(broken):
    with pytest.raises(UsageError):
        broken()


@pytest.mark.parametrize("look_up", [families.family, families.preset])
def test_an_unknown_name_lists_the_known(look_up):
    with pytest.raises(UsageError, match=r"unknown (family|preset) 'nope'.*fcn"):
        look_up("nope")
