"""Contract tests over FAMILIES: a new family is tested by being in the dict."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from optuna.trial import FixedTrial

from ensemble_ad import families
from ensemble_ad.blend.of_members import _SHARED_KINDS
from ensemble_ad.data.preprocess import Preprocess, apply
from ensemble_ad.errors import UsageError
from ensemble_ad.families import FAMILIES, Decoder
from ensemble_ad.families.architecture import architecture_from_json, architecture_json
from ensemble_ad.families.catalogue import architecture_space, training_space
from ensemble_ad.families.fcn import FcnArchitecture, FcnAutoencoder
from ensemble_ad.families.model import ClosedFormModel, CrossFittedModel, GradientModel
from ensemble_ad.families.ranges import USUAL_RANGES
from ensemble_ad.families.reconstruction import ERROR_KINDS, mean_absolute
from ensemble_ad.training import cross_fitted
from ensemble_ad.training.anomaly_maps import anomaly_maps
from ensemble_ad.training.cross_fitted import deal
from ensemble_ad.training.error_vectors import error_vectors, fit_references
from ensemble_ad.training.loop import train
from ensemble_ad.training.references import DISTANCES, Reference, column
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input


class Forced:
    """A trial that draws what another draws, except of one hyperparameter, which has its value."""

    def __init__(self, trial, name, value):
        self._trial, self._name, self._value = trial, name, value

    def __getattr__(self, method):
        return getattr(self._trial, method)

    def suggest_categorical(self, name, choices):
        return self._value if name == self._name else self._trial.suggest_categorical(name, choices)


def inpaint_with(predictor):
    """The family inpaint as if it had one predictor."""
    family = FAMILIES["inpaint"]
    return replace(
        family,
        start=tuple(start for start in family.start if start["predictor"] == predictor),
        suggest=lambda trial, widths: family.suggest(Forced(trial, "predictor", predictor), widths),
    )


# The contracts hold for each way in which a family of several kinds of model is trained.
KINDS = FAMILIES | {f"inpaint-{predictor}": inpaint_with(predictor) for predictor in ("mlp", "conv")}
EVERY_FAMILY = pytest.mark.parametrize("family", KINDS.values(), ids=KINDS.keys())


SHAPE = (1, 32, 32)


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
    mine = {name: family for name, family in KINDS.items() if issubclass(kind_of_model(family), kind)}
    return pytest.mark.parametrize("family", mine.values(), ids=mine.keys())


def trained(architecture, images, n, settings, after_epoch=None):
    """A model trained on the first `n` images, and on the others as unlabelled test images where it wants them."""
    rows = torch.arange(n)
    shape = (images.shape[3], *images.shape[1:3])
    with torch.device("meta"):
        has_folds = isinstance(architecture.build(shape), CrossFittedModel)
    if not has_folds:
        return train(lambda: architecture.build(shape), images, rows, settings, after_epoch=after_epoch).eval()
    test = images[n:]
    folds = deal(0, len(test), architecture.folds, settings.seed, images.device)
    model = cross_fitted.train(lambda: architecture.build(shape), images, rows, test, folds, settings, after_epoch)
    return model.eval()


def same(first, second):
    """Whether two results of `error_vectors` are equal."""
    assert first.keys() == second.keys()
    return all(np.array_equal(first[kind], second[kind]) for kind in first)


def test_every_model_is_trained_in_one_of_the_three_ways():
    ways = (GradientModel, ClosedFormModel, CrossFittedModel)
    for family in KINDS.values():
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
def test_what_reconstructs_decodes_its_own_latent_to_the_reconstruction(family, shape):
    model = small(family).build(shape).eval()
    images = torch.rand(5, *shape) * 2 - 1
    output = model(images)
    assert isinstance(model, Decoder) is (family.reconstructs and output.latent is not None)
    if isinstance(model, Decoder):
        latent = model.encode(images)
        assert len(latent) == 5
        torch.testing.assert_close(model.decode(latent), output.reconstruction, rtol=0, atol=0)


@EVERY_FAMILY
@pytest.mark.parametrize("largest", [False, True], ids=["smallest", "largest"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_smallest_and_the_largest_side_are_taken(family, largest, channels):
    side = 256 if largest else family.least_side
    family.check_shape((channels, side, side))
    output = small(family).build((channels, side, side)).eval()(torch.zeros(2, channels, side, side))
    assert all(torch.isfinite(values).all() for values in output.columns.values())
    assert output.reconstruction is None or output.reconstruction.shape == (2, channels, side, side)


@EVERY_FAMILY
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 32, 64)], ids=str)
@torch.inference_mode()
def test_a_map_has_a_number_a_pixel_and_the_mean_of_its_column(family, shape):
    model = small(family).build(shape).eval()
    if model.map_column is None:
        assert not family.reconstructs
        return
    images = torch.rand(5, *shape) * 2 - 1
    found = model.anomaly_map(images)
    assert found.shape == (5, *shape[1:])
    assert found.dtype == torch.float32
    assert (found >= 0).all()
    output = model(images)
    mae = {"mae": mean_absolute(images, output.reconstruction)} if family.reconstructs else {}
    # Of patches the pixels at the borders are in fewer than those in the middle.
    mean = found.mean((1, 2))
    columns = {**output.columns, **mae}
    torch.testing.assert_close(mean, columns[model.map_column], rtol=1e-5 if family.reconstructs else 0.2, atol=1e-6)
    torch.testing.assert_close(model.anomaly_map(images[:1]), found[:1], rtol=1e-3, atol=1e-4)


@EVERY_FAMILY
def test_a_map_is_high_where_an_image_is_damaged(family, digits):
    if kind_of_model(family).map_column is None:
        return
    model = trained(small(family), digits, 64, TrainSettings(epochs=1, batch_size=32))
    damaged = digits[96:104].clone()
    damaged[:, 2:10, 20:28] = 255
    clean, found = (anomaly_maps(model, images, flips=False) for images in (digits[96:104], damaged))
    higher = (found - clean).mean(0)
    assert higher[2:10, 20:28].mean() > 4 * np.abs(higher[16:, :16]).mean()


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
    training = family.ranges_of(architecture).suggest(trial, 2).training
    losses = []
    model = trained(
        architecture, digits[:96], 64, TrainSettings(**training), lambda epoch, model: losses.append(epoch.loss) is None
    )
    assert losses
    assert all(map(math.isfinite, losses))
    for kind, values in error_vectors(model, digits[:96], fit_references(model, digits[:64])).items():
        assert np.isfinite(values).all(), kind


def searched(family):
    """What a study asks for in the deep corner of the search space, where the conditional parameters are asked too."""
    recorder = Recorder(last=True)
    architecture = family.suggest(recorder, family.widths[:2])
    family.ranges_of(architecture).suggest(recorder, 4, sizes=family.sizes_up_to(64))
    return recorder.asked


@pytest.fixture(scope="module")
def scored(digits):
    """Gives error vectors after a short training with these hyperparameters; what is asked for again is known."""
    known = {}

    def scores(family, values):
        trial = FixedTrial({"taper": 1, **values})
        architecture = family.suggest(trial, family.widths[:2])
        crop, size, training = family.ranges_of(architecture).suggest(trial, 4, sizes=family.sizes_up_to(64))
        preprocess = Preprocess(crop=(crop, crop), size=(size, size), channels=SHAPE[0])
        images = torch.from_numpy(apply(digits.numpy(), preprocess))
        # The others are test images, of which a transductive family takes as many as of normal ones.
        n = 64 if family.transductive else 128
        return error_vectors(trained(architecture, images, n, TrainSettings(**training)), images[n:])

    def known_scores(family, values):
        key = (id(family), *sorted(values.items()))
        if key not in known:
            known[key] = scores(family, values)
        return known[key]

    return known_scores


# Two epochs of small batches suffice to tell two runs apart.
QUICK = {"epochs": 2, "batch_size": 64, "warmup_ratio": 0.0, "noise_scale": 0.1, "latent_noise_scale": 0.1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "name"),
    [pytest.param(family, name, id=f"{key}-{name}") for key, family in KINDS.items() for name in searched(family)],
)
def test_every_hyperparameter_changes_the_result(family, name, scored):
    asked = searched(family)
    fullest = sorted(family.start, key=lambda start: len(start))[-1]
    base = {parameter: choices[-1] for parameter, choices in asked.items()} | dict(fullest) | QUICK
    if name == "warmup_ratio":
        base["epochs"] = 4  # of fewer steps it is one step, which has the whole rate, as without
    changed = base | {name: next(choice for choice in asked[name] if choice != base[name])}
    assert not same(scored(family, base), scored(family, changed))


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
    latents = fit_references(model, digits[:96])
    batch = error_vectors(model, digits[96:106], latents)
    for i in range(10):
        for kind, values in error_vectors(model, digits[96 + i : 97 + i], latents).items():
            np.testing.assert_allclose(values[0], batch[kind][i], rtol=1e-3, atol=1e-4, err_msg=kind)


@EVERY_FAMILY
def test_flips_score_an_image_by_the_mean_with_its_mirror_image(family, digits):
    model = trained(small(family), digits, 96, TrainSettings(epochs=1, batch_size=32))
    latents = fit_references(model, digits[:96], flips=True)
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
    with_flips = fit_references(model, digits, flips=True)["latent"]
    by_hand = fit_references(model, torch.cat([digits, digits.flip(2)]))["latent"]
    assert len(with_flips.bank) == 2 * len(digits)
    torch.testing.assert_close(with_flips.mean, by_hand.mean)


@pytest.mark.parametrize(("family", "names"), [("multi_encoder", ["1", "2", "3"]), ("mesdnet", ["fcn", "cnn", "vae"])])
def test_every_encoder_has_its_own_latent_distances(family, names, digits):
    model = trained(small(FAMILIES[family]), digits, 96, TrainSettings(epochs=1, batch_size=32))
    latents = fit_references(model, digits[:96])
    assert list(latents) == ["latent", *(f"latent.{name}" for name in names), "residual"]
    scores = error_vectors(model, digits[96:], latents)
    known, new = (model(to_input(images)).latents for images in (digits[:96], digits[96:]))
    found = []
    for name in names:
        for kind, expected in Reference.fitted(known[name].detach()).distances(new[name].detach()).items():
            found.append(column(f"latent.{name}", kind))
            np.testing.assert_allclose(scores[found[-1]], expected, rtol=1e-3, atol=1e-3, err_msg=found[-1])
    whole = {column("latent", kind) for kind in DISTANCES}
    assert {kind for kind in scores if kind.startswith("latent_")} == {*whole, *found}
    vectors = [scores[kind] for kind in scores if kind.startswith("latent_mahalanobis")]
    assert not any(np.allclose(one, other) for one, other in pairwise(vectors))


@families_of(CrossFittedModel)
def test_the_network_of_its_fold_scores_an_image_and_all_a_new_one(family, digits):
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


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_the_start_of_a_study_lies_in_its_search_space(family):
    recorder = Recorder(last=True)
    family.suggest(recorder, family.widths)
    family.ranges.suggest(recorder, 20, sizes=family.sizes_up_to(64))
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


@EVERY_FAMILY
def test_a_study_tries_only_sizes_that_a_family_takes(family):
    for side in (16, 40, 64, 100, 256):
        if side < family.least_side:
            with pytest.raises(UsageError, match=f"not {side}x{side}; resize with --size"):
                family.sizes_up_to(side)
            continue
        sizes = family.sizes_up_to(side)
        assert list(sizes) == sorted(set(sizes))
        assert sizes[0] == family.least_side
        assert sizes[-1] == side or side % family.side_multiple
        for size in sizes:
            family.check_shape((1, size, size))


@pytest.mark.parametrize(
    ("device", "images", "sizes"),
    [
        ("cpu", 100_000, (64, 128, 256, 512)),
        ("cuda", 100_000, (128, 256, 512, 1024)),
        ("cpu", 7_621, (64, 128)),
        ("cuda", 7_621, (64, 128)),
        ("cpu", 550, (8, 16)),
        ("cuda", 550, (8, 16)),
        ("cpu", 40, (8,)),
    ],
)
def test_few_images_are_trained_on_in_small_batches(device, images, sizes):
    assert USUAL_RANGES.batch_sizes(device, images) == sizes


@EVERY_FAMILY
def test_no_device_trains_few_images_in_large_batches(family):
    for images in (500, 2_000, 20_000):
        cpu, gpu = (family.ranges.batch_sizes(device, images) for device in ("cpu", "cuda"))
        if len(cpu) > 1:
            assert max(*cpu, *gpu) <= max(8, images // 32)
            assert images > 2_000 or max(gpu) <= 2 * max(cpu)


def test_what_has_one_batch_size_keeps_it():
    assert FAMILIES["pca"].ranges.batch_sizes("cpu", 40) == (256,)


def test_training_tells_the_model_how_far_it_is(digits):
    class Listening(FcnAutoencoder):
        def training_pass(self, images, latent_noise_scale, progress):
            heard.append(float(progress))
            return super().training_pass(images, latent_noise_scale, progress)

    heard: list[float] = []
    settings = TrainSettings(epochs=2, batch_size=40)
    train(lambda: Listening(SHAPE, FcnArchitecture(widths=(8,))), digits, torch.arange(160), settings)
    assert heard == pytest.approx([i / 8 for i in range(8)])


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_the_search_space_that_is_listed_is_the_one_that_is_searched(family):
    listed = architecture_space(family) | training_space(family.ranges, 4)
    assert listed.keys() == searched(family).keys()  # so that each is shown to change the result
    assert listed["width"] == ", ".join(map(str, family.widths))


@pytest.mark.parametrize("look_up", [families.family, families.preset])
def test_an_unknown_name_lists_the_known(look_up):
    with pytest.raises(UsageError, match=r"unknown (family|preset) 'nope'.*fcn"):
        look_up("nope")


@EVERY_FAMILY
def test_a_blend_knows_which_columns_are_a_familys_own(family, digits):
    model = small(family).build(SHAPE).eval()
    output = model(to_input(digits[:4]))
    latents, residuals = ([column(space, kind) for kind in DISTANCES] for space in ("latent", "residual"))
    own = set(output.columns) | {f"{kind}_{name}" for kind in latents for name in output.latents}
    shared = set(latents if output.latent is not None else ())
    shared |= {*ERROR_KINDS, *residuals} if family.reconstructs else set()
    every = set(error_vectors(model, digits[:40], fit_references(model, digits[:40])))
    assert shared <= set(_SHARED_KINDS)
    assert every & set(_SHARED_KINDS) == shared
    assert every - shared == own
