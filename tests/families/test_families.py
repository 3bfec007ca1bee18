"""Contract tests over FAMILIES: a new family is tested by being in the dict."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from optuna.trial import FixedTrial
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torchvision.models import resnet18
from torchvision.transforms import functional as published

from ensemble_ad import families
from ensemble_ad.blend.of_members import _SHARED_KINDS
from ensemble_ad.data.preprocess import Preprocess, apply
from ensemble_ad.errors import UsageError
from ensemble_ad.families import FAMILIES, Decoder
from ensemble_ad.families._space import architecture_space, training_space
from ensemble_ad.families.base import (
    ClosedFormModel,
    CrossFittedModel,
    GradientModel,
    SearchRanges,
    architecture_from_json,
    architecture_json,
    count_parameters,
    flat_latent,
)
from ensemble_ad.families.cnn import CnnArchitecture
from ensemble_ad.families.contrast import ContrastArchitecture
from ensemble_ad.families.cutpaste import CutpasteArchitecture, jittered, paste_patch, paste_scar
from ensemble_ad.families.fcn import FcnArchitecture, FcnAutoencoder
from ensemble_ad.families.memory import Memory, MemoryArchitecture, entropy
from ensemble_ad.families.mesdnet import MesdnetArchitecture, consistency
from ensemble_ad.families.multi_encoder import MultiEncoderArchitecture
from ensemble_ad.families.pca import PcaArchitecture, _gather
from ensemble_ad.families.reconstruction import ERROR_KINDS
from ensemble_ad.families.resnet import ResnetArchitecture
from ensemble_ad.families.resnet_aux import ResnetAuxArchitecture
from ensemble_ad.families.vae import VaeArchitecture, gaussian_kl, sample
from ensemble_ad.training import cross_fitted as transductive
from ensemble_ad.training.cross_fitted import deal
from ensemble_ad.training.error_vectors import LatentReference, error_vectors, fit_latents
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

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
    asked = {}
    for last in (True, False):  # either corner may be where a conditional parameter is asked for
        recorder = Recorder(last=last)
        family.suggest(recorder, family.widths[:1])
        asked |= recorder.asked
    values = {name: choices[0] for name, choices in asked.items()}
    values |= {name: value for name, value in family.start[0].items() if name in asked and name != "width"}
    return family.suggest(FixedTrial(values), family.widths[:1])


def kind_of_model(family):
    with torch.device("meta"):
        return type(small(family).build(SHAPE))


def families_of(kind):
    mine = {name: family for name, family in FAMILIES.items() if issubclass(kind_of_model(family), kind)}
    return pytest.mark.parametrize("family", mine.values(), ids=mine.keys())


def trained(architecture, images, n, settings, after_epoch=None):
    """A model trained on the first `n` images, and on the others as unlabelled test images where it wants them."""
    rows = torch.arange(n)
    with torch.device("meta"):
        cross_fitted = isinstance(architecture.build(SHAPE), CrossFittedModel)
    if not cross_fitted:
        return train(lambda: architecture.build(SHAPE), images, rows, settings, after_epoch=after_epoch).eval()
    test = images[n:]
    folds = deal(0, len(test), architecture.folds, settings.seed, images.device)
    return transductive.train(
        lambda: architecture.build(SHAPE), images, rows, test, folds, settings, after_epoch
    ).eval()


def same(first, second):
    """Whether two results of `error_vectors` are equal."""
    assert first.keys() == second.keys()
    return all(np.array_equal(first[kind], second[kind]) for kind in first)


def test_every_model_is_trained_in_one_of_the_three_ways():
    ways = (GradientModel, ClosedFormModel, CrossFittedModel)
    for family in FAMILIES.values():
        kind = kind_of_model(family)
        assert [issubclass(kind, way) for way in ways].count(True) == 1
        assert family.transductive == issubclass(kind, CrossFittedModel)


@EVERY_FAMILY
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 32, 32), (3, 64, 64), (1, 32, 64)], ids=str)
def test_a_pass_keeps_shape_dtype_and_range(family, shape):
    model = small(family).build(shape).eval()
    images = torch.rand(5, *shape) * 2 - 1
    output = model(images)
    if family.reconstructs:
        assert output.reconstruction.shape == images.shape
        assert output.reconstruction.dtype == torch.float32
        assert output.reconstruction.abs().max() <= 1
    else:
        assert output.reconstruction is None
        assert output.columns
    for latent in (output.latent, *output.latents.values()):
        if latent is not None:
            assert latent.shape[0] == 5
            assert latent.ndim == 2
    for values in output.columns.values():
        assert values.shape == (5,)
        assert torch.isfinite(values).all()


@EVERY_FAMILY
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 32, 64)], ids=str)
@torch.inference_mode()
def test_what_reconstructs_can_be_looked_into_and_decodes_its_own_latent_to_the_reconstruction(family, shape):
    model = small(family).build(shape).eval()
    assert isinstance(model, Decoder) is family.reconstructs
    if family.reconstructs:
        images = torch.rand(5, *shape) * 2 - 1
        latent = model.encode(images)
        assert len(latent) == 5
        torch.testing.assert_close(model.decode(latent), model(images).reconstruction, rtol=0, atol=0)


@EVERY_FAMILY
@pytest.mark.parametrize("largest", [False, True], ids=["smallest", "largest"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_smallest_and_the_largest_side_are_taken(family, largest, channels):
    side = 256 if largest else family.least_side
    family.check_shape((channels, side, side))
    output = small(family).build((channels, side, side)).eval()(torch.zeros(2, channels, side, side))
    assert all(torch.isfinite(values).all() for values in output.columns.values())
    assert output.reconstruction is None or output.reconstruction.shape == (2, channels, side, side)


@families_of(GradientModel)
def test_every_parameter_gets_a_gradient(family, digits):
    model = small(family).build(SHAPE).train()
    images = to_input(digits[:16])
    reconstruction, loss = model.training_pass(images, 0.1, torch.tensor(1.0))
    assert (reconstruction is not None) is family.reconstructs
    if reconstruction is not None:
        loss = loss + (reconstruction - images).square().mean()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@families_of(CrossFittedModel)
def test_every_network_gets_a_gradient_from_its_own_loss_alone(family, digits):
    model = small(family).build(SHAPE).train()
    images, learnt = to_input(digits[:32]), []
    for number in range(model.folds):
        model.zero_grad(set_to_none=True)
        model.training_pass(number, images[:16], images[16:], 0.1).backward()
        learnt.append({n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0})
    assert set.union(*learnt) == {name for name, _ in model.named_parameters()}
    assert sum(map(len, learnt)) == len(set.union(*learnt))


@EVERY_FAMILY
@pytest.mark.parametrize("last", [False, True], ids=["lowest", "highest"])
def test_the_loss_is_finite_at_the_ends_of_the_search_space(family, digits, last):
    trial = Corner(last=last)
    architecture = family.suggest(trial, family.widths[:3])
    _, training = family.ranges.suggest(trial, 2)
    losses = []
    model = trained(
        architecture, digits, 120, TrainSettings(**training), lambda epoch, model: losses.append(epoch.loss) is None
    )
    assert losses
    assert all(map(math.isfinite, losses))
    for kind, values in error_vectors(model, digits, fit_latents(model, digits[:120])).items():
        assert np.isfinite(values).all(), kind


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
    assert not same(_scores(family, base, digits), _scores(family, changed, digits))


def _scores(family, values, digits):
    """Error vectors after a short training with these hyperparameters."""
    trial = FixedTrial({"taper": 1, **values})
    architecture = family.suggest(trial, family.widths[:2])
    crop, training = family.ranges.suggest(trial, 4)
    images = torch.from_numpy(apply(digits.numpy(), Preprocess(crop=(crop, crop), size=SHAPE[1:], channels=SHAPE[0])))
    n = 64 if family.transductive else 128  # the others are test images, which it takes as many of as of normal ones
    return error_vectors(trained(architecture, images, n, TrainSettings(**training)), images[n:])


@EVERY_FAMILY
def test_same_seed_same_result_and_another_seed_another(family, digits):
    settings = TrainSettings(epochs=2, batch_size=32, noise_scale=0.1, latent_noise_scale=0.1)

    def scores(seed):
        return error_vectors(trained(small(family), digits, 96, replace(settings, seed=seed)), digits[96:])

    first, again, other = scores(0), scores(0), scores(1)
    assert same(first, again)
    # What is computed in closed form owes nothing to chance.
    assert same(first, other) is issubclass(kind_of_model(family), ClosedFormModel)


@EVERY_FAMILY
def test_a_batch_scores_as_one_by_one(family, digits):
    model = trained(small(family), digits, 96, TrainSettings(epochs=1, batch_size=32))
    latents = fit_latents(model, digits[:96])
    batch = error_vectors(model, digits[96:106], latents)
    for i in range(10):
        for kind, values in error_vectors(model, digits[96 + i : 97 + i], latents).items():
            np.testing.assert_allclose(values[0], batch[kind][i], rtol=1e-3, atol=1e-4, err_msg=kind)


@EVERY_FAMILY
def test_flips_score_an_image_and_its_mirror_image_alike_by_the_mean_of_both(family, digits):
    model = trained(small(family), digits, 96, TrainSettings(epochs=1, batch_size=32))
    latents = fit_latents(model, digits[:96], flips=True)
    images, mirrored = digits[96:], digits[96:].flip(2)
    one, other = (error_vectors(model, each, latents) for each in (images, mirrored))
    both, both_of_mirrored = (error_vectors(model, each, latents, flips=True) for each in (images, mirrored))
    assert both.keys() == one.keys()
    for kind in one:
        np.testing.assert_allclose(both[kind], (one[kind] + other[kind]) / 2, rtol=1e-4, atol=1e-4, err_msg=kind)
        np.testing.assert_allclose(both[kind], both_of_mirrored[kind], rtol=1e-5, atol=1e-6, err_msg=kind)
    assert not same(one, both)


def test_flips_fit_the_latents_to_the_mirror_images_too(digits):
    model = small(FAMILIES["fcn"]).build(SHAPE).eval()
    with_flips = fit_latents(model, digits, flips=True)[""]
    by_hand = fit_latents(model, torch.cat([digits, digits.flip(2)]))[""]
    assert len(with_flips.bank) == 2 * len(digits)
    torch.testing.assert_close(with_flips.mean, by_hand.mean)


@pytest.mark.parametrize(("family", "names"), [("multi_encoder", ["1", "2", "3"]), ("mesdnet", ["fcn", "cnn", "vae"])])
def test_every_encoder_has_its_own_latent_distances(family, names, digits):
    model = trained(small(FAMILIES[family]), digits, 96, TrainSettings(epochs=1, batch_size=32))
    latents = fit_latents(model, digits[:96])
    assert list(latents) == ["", *names]
    scores = error_vectors(model, digits[96:], latents)
    known, new = (model(to_input(images)).latents for images in (digits[:96], digits[96:]))
    found = []
    for name in names:
        for kind, expected in LatentReference.fitted(known[name].detach()).distances(new[name].detach()).items():
            found.append(f"{kind}_{name}")
            np.testing.assert_allclose(scores[found[-1]], expected, rtol=1e-3, atol=1e-3, err_msg=found[-1])
    assert {kind for kind in scores if kind.startswith("latent_")} == {"latent_mahalanobis", "latent_knn", *found}
    vectors = [scores[kind] for kind in scores if kind.startswith("latent_mahalanobis")]
    assert not any(np.allclose(one, other) for one, other in pairwise(vectors))


def cross_fitted_on(architecture, digits, test, folds):
    return transductive.train(
        lambda: architecture.build(SHAPE), digits, torch.arange(80), test, folds, TrainSettings(epochs=2, batch_size=32)
    ).eval()


def networks(model):
    """The weights of each network of a contrast model."""
    return [
        {**model.features[number].state_dict(), **model.heads[number].state_dict()} for number in range(model.folds)
    ]


def unlike(one, other):
    return any(not torch.equal(one[name], other[name]) for name in one)


def test_a_network_has_not_seen_the_fold_that_it_judges(digits):
    architecture, test = ContrastArchitecture(width=8, stages=2, folds=3), digits[80:]
    folds = deal(40, len(test), 3, 0, digits.device)
    before = networks(cross_fitted_on(architecture, digits, test, folds))
    for number in range(3):
        spoilt = torch.where((folds.test == number)[:, None, None, None], 255 - test, test)
        after = networks(cross_fitted_on(architecture, digits, spoilt, folds))
        assert [unlike(one, other) for one, other in zip(before, after, strict=True)] == [i != number for i in range(3)]
    # Nor has any seen a normal image that is not named.
    spoilt = torch.cat([digits[:80], 255 - digits[80:]])
    after = networks(cross_fitted_on(architecture, spoilt, test, folds))
    assert not any(unlike(one, other) for one, other in zip(before, after, strict=True))


def test_folds_are_equal_parts_that_the_seed_deals():
    folds = deal(101, 203, 5, 7, torch.device("cpu"))
    for dealt, n in ((folds.reference, 101), (folds.test, 203)):
        sizes = torch.bincount(dealt, minlength=5)
        assert sizes.sum() == n
        assert sizes.max() - sizes.min() <= 1
    again, other = (deal(101, 203, 5, seed, torch.device("cpu")) for seed in (7, 8))
    assert torch.equal(folds.test, again.test)
    assert torch.equal(folds.reference, again.reference)
    assert not torch.equal(folds.test, other.test)


@families_of(CrossFittedModel)
def test_an_image_is_scored_by_the_network_of_its_fold_and_a_new_one_by_the_mean(family, digits):
    model = trained(small(family), digits, 80, TrainSettings(epochs=2, batch_size=32))
    images = digits.repeat(2, 1, 1, 1)  # more than one batch
    fold = deal(0, len(images), model.folds, 3, digits.device).test
    every = [error_vectors(model, images, fold=torch.full_like(fold, f))["logit"] for f in range(model.folds)]
    routed = error_vectors(model, images, fold=fold)["logit"]
    np.testing.assert_allclose(routed, np.choose(fold.numpy(), every), rtol=1e-4, atol=1e-5)
    assert not np.allclose(every[0], every[1])
    np.testing.assert_allclose(error_vectors(model, images)["logit"], np.mean(every, axis=0), rtol=1e-4, atol=1e-5)


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
    for side in set(range(16, 257)) - set(range(family.least_side, 257, family.side_multiple)):
        with pytest.raises(UsageError) as refused:
            family.check_shape((1, side, side))
        advised = int(str(refused.value).rpartition("--size ")[2])
        assert 16 <= advised <= 256
        family.check_shape((1, advised, advised))


PIXELS = 64 * 64 * 3


def linear(*units):
    return sum(a * b + b for a, b in pairwise(units))


def conv(*channels, kernel=4):
    """Convolutions with biases; transposed ones have as many parameters."""
    return sum(a * b * kernel**2 + b for a, b in pairwise(channels))


def norm(*channels):
    return 2 * sum(channels)


def fully_biased_block(before, after, *, shortcut=True):
    residual = conv(before, after, after, kernel=3) + norm(after, after)
    return residual + (conv(before, after, kernel=1) + norm(after) if shortcut else 0)


def unbiased_block(before, after):
    return (before + after) * after * 9 + before * after + norm(after, after, after)


def mesdnet_block(before, after):
    return conv(before, after, after, kernel=3) + norm(after, after) + conv(before, after, kernel=1)


MULTI_FCN_ENCODER = linear(PIXELS, 1024, 512, 256, 128, 32)
MULTI_CNN_ENCODER = conv(3, 64, 128, kernel=3)
RESNET_AUX_DECODER = linear(64, 1024) + norm(1024) + conv(64, 128, 128, 128, 3) + norm(128, 128, 128)
MEMORY = conv(3, 16, 32, 64) + norm(16, 32) + 500 * 64 + conv(64, 32, 16, 3) + norm(32, 16)
SMALL_CNN = 9 * (3 * 16 + 16 * 32 + 32 * 64) + norm(16, 32, 64)
PARAMETERS = {
    # A linear layer from a to b units has ab + b parameters, batch normalisation 2 a unit, a PReLU one.
    "fcn-sample": linear(PIXELS, 128, 64, 12, 3) + linear(3, 12, 64, 128, PIXELS),
    "fcn-medium": linear(PIXELS, 1024, 512, 256, 64, 10) + linear(10, 64, 256, 512, 1024, PIXELS),
    "fcn-strong": linear(PIXELS, 2048, 1024, 512, 256, 128) + linear(128, 256, 512, 1024, 2048, PIXELS),
    "fcn-boss": linear(PIXELS, 4096, 2048, 1024, 256, 128)
    + linear(128, 256, 1024, 2048, 4096, PIXELS)
    + 2 * (norm(4096, 2048, 1024, 256) + 4),
    "fcn-report": 117_483_520,
    "fcn-crop": linear(36 * 40 * 3, 1024, 32) + linear(32, 1024, 36 * 40 * 3) + 2 * (norm(1024) + 1),
    "cnn-sample": conv(3, 12, 24, 48) + conv(48, 24, 12, 3),
    "vae-sample": conv(3, 12, 24) + 2 * conv(24, 48) + conv(48, 24, 12, 3),
    # torchvision's ResNet-18 has 11,689,512 parameters, its head 512,000 weights and 1,000 biases of them.
    "resnet-boss": 11_689_512 - 513_000
    + linear(2048, 256, 2048)
    + conv(512, 256) + conv(128, 128) + conv(64, 64, 32, 3) + norm(256, 128, 64, 32)
    + unbiased_block(256, 128) + unbiased_block(128, 64)
    + conv(3, 32, 64, 128, kernel=3) + norm(32, 64, 128) + linear(128, 2),
    "resnet-aux": 3 * 32 * 9 + norm(32)
    + fully_biased_block(32, 64) + fully_biased_block(64, 64, shortcut=False)
    + fully_biased_block(64, 128) + fully_biased_block(128, 128) + fully_biased_block(128, 64)
    + linear(64 * 4 * 4, 64) + norm(64)
    + 2 * RESNET_AUX_DECODER,
    "multi-fcn": 3 * MULTI_FCN_ENCODER + linear(3 * 32, 1024, PIXELS),
    "multi-cnn": 3 * MULTI_CNN_ENCODER
    + conv(3 * 128, 512, kernel=3) + conv(512, 256, 128, kernel=3) + conv(128, 64, 3),
    "multi-mixed": 2 * MULTI_FCN_ENCODER + MULTI_CNN_ENCODER + linear(2 * 32 + 128 * 16 * 16, 1024, PIXELS),
    "mesdnet": linear(PIXELS, 2048, 1024, 512, 256, 64, 10) + norm(2048, 1024, 512, 256, 64)
    + linear(10, 128, 256, 48 * 8 * 8)
    + conv(3, 12, 24) + norm(12, 24) + mesdnet_block(24, 48) + conv(48, 48) + norm(48)
    + conv(3, 12, 24) + norm(12, 24) + 2 * conv(24, 48)
    + conv(144, 144, kernel=1) + norm(144)
    + mesdnet_block(144, 128) + conv(128, 128) + norm(128)
    + mesdnet_block(128, 64) + conv(64, 64) + norm(64)
    + mesdnet_block(64, 32) + conv(32, 32) + norm(32)
    + conv(32, 3, kernel=3),
    "memory-sparse": MEMORY,
    "memory-dense": MEMORY,
    "pca-10": PIXELS + 10 * (PIXELS + 2),
    "pca-64": PIXELS + 64 * (PIXELS + 2),
    "pca-256": PIXELS + 256 * (PIXELS + 2),
    "cutpaste-3way": 11_689_512 - 513_000 + linear(512, 512, 128, 3) + norm(512, 128),
    "cutpaste-small": SMALL_CNN + linear(64, 128, 3) + norm(128),
    "contrast-small": 5 * (SMALL_CNN + linear(64, 1)),
}  # fmt: skip


def test_every_preset_is_counted():
    assert PARAMETERS.keys() == {name for family in FAMILIES.values() for name in family.presets}


@pytest.mark.parametrize("name", PARAMETERS)
def test_presets_have_the_published_parameters(name):
    preset = families.preset(name)[1]
    with torch.device("meta"):
        model = preset.architecture.build((3, *(preset.size or (64, 64))))
    assert count_parameters(model) == PARAMETERS[name]


def test_the_crop_of_fcn_crop_is_not_resized():
    preset = families.preset("fcn-crop")[1]
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    assert preset.size is not None
    cropped = apply(images, Preprocess(crop=preset.crop, size=preset.size, channels=3))
    np.testing.assert_array_equal(cropped, images[:, 14:50, 12:52])


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


def test_the_divergence_is_that_of_torch_distributions():
    mean, log_variance = torch.randn(2, 4, 3, 5, 5)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum((1, 2, 3))
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected)


def test_a_sample_has_the_mean_and_the_variance_that_it_is_drawn_with():
    torch.manual_seed(0)
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


def test_training_tells_the_model_how_far_it_is(digits):
    class Listening(FcnAutoencoder):
        def training_pass(self, images, latent_noise_scale, progress):
            heard.append(float(progress))
            return super().training_pass(images, latent_noise_scale, progress)

    heard: list[float] = []
    settings = TrainSettings(epochs=2, batch_size=40)
    train(lambda: Listening(SHAPE, FcnArchitecture(widths=(8,))), digits, torch.arange(160), settings)
    assert heard == pytest.approx([i / 8 for i in range(8)])


def test_the_auxiliary_decoder_learns_the_first_ones_output_and_leaves_the_resnet_alone(digits):
    images = to_input(digits[:16])
    model = small(FAMILIES["resnet_aux"]).build(SHAPE).train()
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


def test_the_encoders_of_a_multi_encoder_are_not_one(digits):
    model = MultiEncoderArchitecture(widths=(16, 4), decoder_width=16).build(SHAPE)
    first, second, third = (encoder(to_input(digits[:8])) for encoder in model.encoders)
    assert not torch.allclose(first, second)
    assert not torch.allclose(second, third)


def test_the_consistency_loss_reaches_both_encoders(digits):
    images = to_input(digits[:16])
    model = small(FAMILIES["mesdnet"]).build(SHAPE).train()
    consistency(model.fcn_map(model.fcn(images.flatten(1))), model.cnn(images)).backward()
    for encoder in (model.fcn, model.fcn_map, model.cnn):
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_mesdnets_further_losses_have_the_published_ratio_to_a_summed_reconstruction_loss(digits):
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


@pytest.mark.parametrize(("shrinkage", "sparse"), [(0.0, False), (1.0, True), (3.0, True), (1000.0, True)])
def test_addressing_weights_sum_to_one_and_only_sparse_ones_have_zeros(shrinkage, sparse):
    torch.manual_seed(0)
    memory = Memory(MemoryArchitecture(bottleneck=8, slots=50, shrinkage=shrinkage, temperature=0.2))
    queries = torch.randn(4, 6, 8, requires_grad=True)
    read, weights = memory(queries)
    assert weights.shape == (4, 6, 50)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 6))
    assert bool((weights == 0).any(-1).all()) is sparse
    if 0 < shrinkage < 1000:
        dense = (torch.cosine_similarity(queries[..., None, :], memory.slots, dim=-1) / 0.2).softmax(-1)
        above = dense >= torch.minimum(torch.tensor(shrinkage / 50), dense.amax(-1, keepdim=True))
        torch.testing.assert_close(weights > 0, above)
    torch.testing.assert_close(read, weights @ memory.slots)
    (read.square().sum() + entropy(weights).sum()).backward()
    assert queries.grad is not None
    assert torch.isfinite(queries.grad).all()


def test_entropy_is_that_of_torch_distributions():
    weights = torch.tensor([[0.5, 0.25, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0]])
    expected = [torch.distributions.Categorical(probs=row[row > 0]).entropy() for row in weights]
    torch.testing.assert_close(entropy(weights), torch.stack(expected))


@EVERY_FAMILY
def test_the_search_space_that_is_listed_is_the_one_that_is_searched(family):
    listed = architecture_space(family) | training_space(family.ranges, 4)
    assert listed.keys() == searched(family).keys()  # so that each is shown to change the result
    assert listed["width"] == ", ".join(map(str, family.widths))


def test_the_listed_ranges_say_how_they_are_drawn():
    listed = training_space(SearchRanges(), 20)
    assert listed["crop"] == "0.4375 to 1 by 0.0625"
    assert listed["learning_rate"] == "0.0002 to 0.005 (log)"
    assert listed["epochs"] == "5 to 20"


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


@pytest.mark.parametrize(
    "broken",
    [
        lambda: FcnArchitecture(widths=()),
        lambda: FcnArchitecture(widths=(8, 0)),
        lambda: FcnArchitecture(widths=(8,), activation="tanh"),  # type: ignore[arg-type]
        lambda: ResnetArchitecture(blocks=(1, 1)),
        lambda: ResnetArchitecture(width=1),
        lambda: ResnetArchitecture(classifier_weight=-1.0),
        lambda: CnnArchitecture(channels=(8, 8)),  # type: ignore[arg-type]
        lambda: CnnArchitecture(bottleneck=0),
        lambda: VaeArchitecture(channels=(0, 8, 8)),
        lambda: VaeArchitecture(kl_weight=-1.0),
        lambda: VaeArchitecture(kl_warmup=1.5),
        lambda: ResnetAuxArchitecture(blocks=(0, 1, 1, 1)),
        lambda: ResnetAuxArchitecture(bottleneck=0),
        lambda: ResnetAuxArchitecture(dropout=1.0),
        lambda: ResnetAuxArchitecture(auxiliary_target="latent"),  # type: ignore[arg-type]
        lambda: MultiEncoderArchitecture(encoders=()),
        lambda: MultiEncoderArchitecture(encoders=("fcn", "vae")),  # type: ignore[arg-type]
        lambda: MultiEncoderArchitecture(widths=(8, 0)),
        lambda: MultiEncoderArchitecture(channels=(8,)),  # type: ignore[arg-type]
        lambda: MesdnetArchitecture(fcn_widths=()),
        lambda: MesdnetArchitecture(decoder_channels=(8, 8)),  # type: ignore[arg-type]
        lambda: MesdnetArchitecture(consistency_weight=-1.0),
        lambda: MemoryArchitecture(encoder="rnn"),  # type: ignore[arg-type]
        lambda: MemoryArchitecture(slots=0),
        lambda: MemoryArchitecture(temperature=0.0),
        lambda: MemoryArchitecture(shrinkage=-1.0),
        lambda: PcaArchitecture(components=0),
        lambda: CutpasteArchitecture(backbone="vit"),  # type: ignore[arg-type]
        lambda: CutpasteArchitecture(stages=6),
        lambda: CutpasteArchitecture(width=0),
        lambda: CutpasteArchitecture(head=(8, 0)),
        lambda: CutpasteArchitecture(jitter=1.5),
        lambda: ContrastArchitecture(folds=1),
        lambda: ContrastArchitecture(stages=5),
    ],
)
def test_impossible_architectures_are_refused(broken):
    with pytest.raises(UsageError):
        broken()


@pytest.mark.parametrize("look_up", [families.family, families.preset])
def test_an_unknown_name_lists_the_known(look_up):
    with pytest.raises(UsageError, match=r"unknown (family|preset) 'nope'.*fcn"):
        look_up("nope")


@EVERY_FAMILY
def test_a_blend_knows_which_columns_are_a_familys_own(family, digits):
    model = small(family).build(SHAPE).eval()
    output = model(to_input(digits[:4]))
    latents = ("latent_mahalanobis", "latent_knn")
    own = set(output.columns) | {f"{kind}_{name}" for kind in latents for name in output.latents}
    shared = set(ERROR_KINDS if family.reconstructs else ()) | set(latents if output.latent is not None else ())
    every = set(error_vectors(model, digits[:40], fit_latents(model, digits[:40])))
    assert shared <= set(_SHARED_KINDS)
    assert every & set(_SHARED_KINDS) == shared
    assert every - shared == own


def pca(images, components, *, noise_scale=0.0, latent_noise_scale=0.0):
    """A solved model, and its loss."""
    height, width, channels = images.shape[1:]
    model = PcaArchitecture(components=components).build((channels, height, width))
    batches = (to_input(part) for part in torch.split(images, 64))
    return model.eval(), model.solve(batches, noise_scale, latent_noise_scale)


def flat(images):
    return to_input(images).flatten(1).double().numpy()


@pytest.mark.parametrize("components", [1, 10, 64])
def test_pca_reconstructs_as_scikit_learn_does(digits, components):
    model, loss = pca(digits[:120], components)
    theirs = PCA(components, svd_solver="full").fit(flat(digits[:120]))
    expected = theirs.inverse_transform(theirs.transform(flat(digits[120:])))
    with torch.inference_mode():
        ours = model(to_input(digits[120:])).reconstruction.flatten(1)
    np.testing.assert_allclose(ours, expected.clip(-1, 1), atol=1e-4)
    known = theirs.inverse_transform(theirs.transform(flat(digits[:120])))
    assert loss == pytest.approx(np.square(known - flat(digits[:120])).mean(), rel=1e-4)


@pytest.mark.parametrize("components", [8, 40])
def test_pca_of_many_pixels_reconstructs_nearly_as_well_as_the_best(photos, components):
    images = torch.from_numpy(photos(300, 32, 3))
    model, loss = pca(images, components)
    theirs = PCA(components, svd_solver="full").fit(flat(images))
    error = np.square(theirs.inverse_transform(theirs.transform(flat(images))) - flat(images)).mean()
    assert error <= loss <= 1.005 * error
    with torch.inference_mode():
        latent = model(to_input(images)).latent
    torch.testing.assert_close(latent.T @ latent / len(latent), torch.eye(components), atol=0.02, rtol=0)


def expected_error(covariance, encoder, decoder, noise_scale, latent_noise_scale):
    """Mean over images and noise of the squared error of x' = D (E (x + s e) + t n), for centred images."""
    identity = torch.eye(len(covariance), dtype=covariance.dtype)
    whole = identity - decoder @ encoder
    noise = noise_scale**2 * (decoder @ encoder).square().sum() + latent_noise_scale**2 * decoder.square().sum()
    return float((whole @ covariance @ whole.T).trace() + noise)


@pytest.mark.parametrize(("noise_scale", "latent_noise_scale"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.5), (1.5, 0.4)])
def test_no_white_linear_autoencoder_does_better_than_pca(digits, noise_scale, latent_noise_scale):
    small_digits = digits[:, ::4, ::4]
    images = torch.from_numpy(flat(small_digits))
    centred = images - images.mean(0)
    covariance = centred.T @ centred / len(images)
    model, _ = pca(small_digits, 6, noise_scale=noise_scale, latent_noise_scale=latent_noise_scale)
    encoder = (model.components * model.scale[:, None]).detach().double()
    decoder = (model.components * model.gain[:, None]).detach().double().T
    noisy = covariance + noise_scale**2 * torch.eye(len(covariance))
    torch.testing.assert_close(encoder @ noisy @ encoder.T, torch.eye(6).double(), atol=1e-4, rtol=0)
    best = expected_error(covariance, encoder, decoder, noise_scale, latent_noise_scale)
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-2, 0.1, 1.0, 10.0):
        for _ in range(5):
            drawn = torch.randn(encoder.shape, generator=generator, dtype=torch.float64)
            other = encoder + size * encoder.norm(dim=1, keepdim=True) * drawn / drawn.norm(dim=1, keepdim=True)
            values, vectors = torch.linalg.eigh(other @ noisy @ other.T)
            other = vectors / values.sqrt() @ vectors.T @ other  # white again
            refitted = torch.linalg.solve(
                other @ noisy @ other.T + latent_noise_scale**2 * torch.eye(6), other @ covariance
            ).T
            assert best <= expected_error(covariance, other, refitted, noise_scale, latent_noise_scale) + 1e-6


def test_pcas_shrinkage_is_that_of_a_regression_on_noisy_copies(digits):
    small_digits, copies = digits[:, ::4, ::4], 400
    model, _ = pca(small_digits, 5, noise_scale=0.8, latent_noise_scale=0.5)
    images = to_input(small_digits).repeat(copies, 1, 1, 1)
    torch.manual_seed(0)
    with torch.inference_mode():
        latent = model(images + 0.8 * torch.randn_like(images)).latent
    latent = latent + 0.5 * torch.randn_like(latent)
    target = images.flatten(1) - model.mean.detach()
    decoder = torch.linalg.lstsq(latent, target).solution
    torch.testing.assert_close(decoder, (model.components * model.gain[:, None]).detach(), atol=0.02, rtol=0)


def test_pca_of_fewer_images_than_components_leaves_the_rest_at_zero(digits, photos):
    for images in (digits[:12], torch.from_numpy(photos(12, 32, 3))):
        model, loss = pca(images, 40)
        with torch.inference_mode():
            output = model(to_input(images))
        assert loss == pytest.approx(0, abs=1e-6)
        torch.testing.assert_close(output.reconstruction, to_input(images), atol=1e-3, rtol=0)
        assert output.latent.shape == (12, 40)
        assert (output.latent[:, :11].std(0) > 0.5).all()
        assert (output.latent[:, 11:] == 0).all()
    alike, loss = pca(digits[:1].repeat(20, 1, 1, 1), 3, noise_scale=0.1)
    assert loss == pytest.approx(0, abs=1e-9)
    assert torch.isfinite(alike(to_input(digits)).latent).all()


def test_pca_of_more_components_than_pixels_has_as_many_as_pixels(digits):
    model, _ = pca(digits[:, ::8, ::8], 512)
    assert model.components.shape == (16, 16)


def test_the_sign_of_a_component_does_not_depend_on_the_order_of_the_images(digits, photos):
    for images in (digits, torch.from_numpy(photos(160, 32, 3))):
        one, other = pca(images, 4)[0], pca(images.flip(0), 4)[0]
        torch.testing.assert_close(one.components, other.components, atol=2e-3, rtol=0)
        assert (one.components.gather(1, one.components.abs().argmax(1, keepdim=True)) > 0).all()


def test_of_more_images_than_fit_every_mth_is_kept_and_the_mean_is_of_all():
    images = torch.arange(103.0)[:, None, None, None].expand(-1, 1, 2, 3)
    for sizes in ([103], [50, 53], [7] * 14 + [5], [1] * 103):
        mean, kept = _gather(images.split(sizes), 30)
        assert kept[:, 0].tolist() == list(range(0, 103, 4))
        torch.testing.assert_close(mean, torch.full((6,), 51.0, dtype=torch.float64))
    assert len(_gather(images.split(10), 103)[1]) == 103


def numbered(n, shape):
    """Images whose every pixel says where it is, so that a pasted one says where it came from."""
    channels, height, width = shape
    place = torch.arange(height * width).view(1, 1, height, width)
    return (place / (height * width) * 2 - 1).expand(n, channels, -1, -1), place


def moved(paste, shape, n=300):
    """For each image the pixels that were pasted, as (row, column) of where to and where from."""
    torch.manual_seed(0)
    images, place = numbered(n, shape)
    found = ((paste(images, 0.0) + 1) / 2 * shape[1] * shape[2]).round().long()
    assert (found == found[:, :1]).all()  # all channels alike
    for each in found[:, 0]:
        to = (each != place[0, 0]).nonzero()
        source = each[to[:, 0], to[:, 1]]
        yield to, torch.stack([source // shape[2], source % shape[2]], 1)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 16, 16), (1, 32, 64)], ids=str)
def test_a_patch_is_an_upright_rectangle_from_elsewhere_in_the_image(shape):
    shares, aspects, seen = [], [], set()
    for to, source in moved(paste_patch, shape):
        if len(to) == 0:  # pasted where it came from
            continue
        assert ((to - source) == (to - source)[0]).all()
        height, width = (to.amax(0) - to.amin(0) + 1).tolist()
        assert len(to) == height * width
        shares.append(height * width / (shape[1] * shape[2]))
        aspects.append(height / width)
        seen.add(tuple(to[0].tolist()))
    assert len(shares) > 290
    assert len(seen) > 50
    step = 1 / min(shape[1:])
    assert 0.02 - step < min(shares) < 0.04
    assert 0.13 < max(shares) < 0.15 + step
    assert 0.15 < min(aspects) < 0.5
    assert 2 < max(aspects) < 4.5


@pytest.mark.parametrize("side", [16, 64, 256])
def test_a_scar_is_a_thin_turned_strip_from_elsewhere_in_the_image(side):
    sizes, turned = [], 0
    for to, source in moved(paste_scar, (1, side, side)):
        sizes.append(len(to))
        if len(to):
            turned += bool(((to - source) != (to - source)[0]).any())
            longest = 1 + math.hypot(max(2, 25 * side / 256 + 0.5), max(1, 16 * side / 256 + 0.5))
            assert ((to.amax(0) - to.amin(0) + 1) <= longest).all()
    assert sum(size > 0 for size in sizes) > 285
    assert max(sizes) <= max(6, 1.2 * 25 * 16 * (side / 256) ** 2)
    if side == 256:
        assert min(sizes) >= 15
        assert turned > 250


def test_jitter_is_torchvisions_and_none_changes_nothing(photos):
    # Photographs in the middle of the range, where torchvision's clamping between the steps changes nothing.
    images = to_input(torch.from_numpy(photos(6, 32, 3))) * 0.4
    assert jittered(images, 0.0) is images
    torch.manual_seed(0)
    ours = jittered(images, 0.3)
    torch.manual_seed(0)
    factors = [0.7 + 0.6 * torch.rand(6) for _ in range(3)]
    for i in range(6):
        expected = (images[i] + 1) / 2
        for step, factor in zip(("brightness", "contrast", "saturation"), factors, strict=True):
            expected = getattr(published, f"adjust_{step}")(expected, float(factor[i]))
        torch.testing.assert_close((ours[i] + 1) / 2, expected, atol=1e-3, rtol=0)


def test_jitter_stays_in_range_and_is_about_the_mean_of_what_is_inside(photos):
    images = to_input(torch.from_numpy(photos(8, 32, 3)))
    assert jittered(images + torch.randn_like(images), 1.0).abs().max() <= 1
    inside = torch.zeros(8, 32, 32, dtype=torch.bool)
    inside[:, 3:9, 4:20] = True
    torch.manual_seed(0)
    part = jittered(images[:, :, 3:9, 4:20], 0.3)
    torch.manual_seed(0)
    torch.testing.assert_close(jittered(images, 0.3, inside)[:, :, 3:9, 4:20], part, atol=1e-4, rtol=0)


def test_the_classifiers_logit_is_the_log_odds_of_not_being_normal(digits):
    model = small(FAMILIES["cutpaste"]).build(SHAPE).eval()
    images = to_input(digits[:8])
    output = model(images)
    normal = model.head(model.features(images)).softmax(1)[:, 0]
    torch.testing.assert_close(output.columns["logit"], ((1 - normal) / normal).log(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.latent, model.features(images))


@pytest.mark.slow
def test_cutpaste_learns_to_tell_pasted_images(digits):
    architecture = CutpasteArchitecture(width=16, stages=3, jitter=0.1)
    model = trained(architecture, digits, 128, TrainSettings(epochs=60, batch_size=32, learning_rate=3e-3))
    images = to_input(digits[128:])
    torch.manual_seed(0)
    with torch.inference_mode():
        normal, pasted = (model(each).columns["logit"] for each in (images, paste_patch(images, 0.1)))
    assert (pasted[:, None] > normal[None]).float().mean() > 0.8
