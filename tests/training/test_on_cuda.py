"""What a GPU would be given, on fake CUDA tensors: one device, nothing that waits for the host, any machine.

`conftest.fake_cuda` says what is fake. The backward pass is in `test_budgets.py`, streams and graphs in
`test_graphed.py`.
"""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    unset_fake_temporarily,
)

from ensemble_ad.families import FAMILIES, preset
from ensemble_ad.families.encoders import ENCODERS
from ensemble_ad.families.model import ClosedFormModel
from ensemble_ad.families.reconstruction import ERROR_KINDS, LOSSES, residual_grid
from ensemble_ad.families.resnet import ResnetArchitecture
from ensemble_ad.training.cross_fitted import Folds
from ensemble_ad.training.cross_fitted import train as train_cross_fitted
from ensemble_ad.training.loop import train
from ensemble_ad.training.references import Reference
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

pytestmark = pytest.mark.usefixtures("fake_cuda")
BATCH = 32
SETTINGS = TrainSettings(
    epochs=2, batch_size=BATCH, noise_scale=0.1, latent_noise_scale=0.1, mirror=True, precision="bf16"
)
PRESETS = [(name, each) for name, kind in FAMILIES.items() if not kind.transductive for each in kind.presets]


def pictures(n, side, channels):
    return torch.zeros((n, side, side, channels), dtype=torch.uint8, device="cuda")


def trained(architecture, images, settings=SETTINGS):
    """The model after two epochs of a step each."""
    _, height, width, channels = images.shape
    rows = torch.arange(BATCH, device="cuda")
    return train(lambda: architecture.build((channels, height, width)), images, rows, settings)


def scored(model, images):
    """As `training.error_vectors` scores a batch: the errors, and the distances of all bottlenecks to references."""
    clean = to_input(images)
    output = model(clean)
    found = dict(output.columns)
    points = {} if output.latent is None else {"latent": output.latent.flatten(1)}
    if output.reconstruction is not None:
        found |= {kind: error(clean, output.reconstruction) for kind, error in ERROR_KINDS.items()}
        points["residual"] = residual_grid(clean, output.reconstruction)
    for name, place in points.items():
        found |= {f"{name}_{kind}": values for kind, values in reference(place.shape[1]).distances(place).items()}
    return found


def reference(d, k=16, n=64):
    """A reference of training images, on the device."""
    shapes = {"mean": (d,), "axes": (d, k), "scale": (k + 1,), "bank": (n, k + 1), "spacing": (n,)}
    return Reference(**{part: torch.zeros(shape, device="cuda") for part, shape in shapes.items()})


def scores_on_the_device(model, images, one_device):
    with torch.inference_mode(), one_device():
        found = scored(model.eval(), images)
    assert found
    assert {(values.shape, values.device.type) for values in found.values()} == {((len(images),), "cuda")}


@pytest.mark.parametrize(("name", "each"), PRESETS)
def test_every_preset_trains_and_scores_on_one_device(one_device, name, each):
    architecture, images = preset(each)[1].architecture, pictures(BATCH + 8, 64, 3)
    model = architecture.build((3, 64, 64))
    model = model.to("cuda") if isinstance(model, ClosedFormModel) else trained(architecture, images)
    scores_on_the_device(model, images[BATCH:], one_device)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ("pca", "contrast")])
def test_grey_images_train_on_one_device_in_float16(one_device, small, name):
    images = pictures(BATCH + 8, 32, 1)
    model = trained(small[name], images, replace(SETTINGS, precision="fp16"))
    scores_on_the_device(model, images[BATCH:], one_device)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_computed_on_the_device(small, loss):
    trained(small["cnn"], pictures(BATCH, 32, 3), replace(SETTINGS, loss=loss, precision="fp32"))


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_trains_on_one_device(name):
    with unset_fake_temporarily():  # torchvision's constructors ask for numbers
        model = ResnetArchitecture(encoder=name, width=8).build((1, 32, 32))
    rows = torch.arange(BATCH, device="cuda")
    train(lambda: model, pictures(BATCH, 32, 1), rows, SETTINGS)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_transductive_training_is_on_one_device(monkeypatch, one_device, small, precision):
    # Which test images a network may see is asked of the folds once, before the first step.
    monkeypatch.setattr(torch, "nonzero", lambda mask: torch.zeros((24, 1), dtype=torch.int64, device="cuda"))
    images, fold = pictures(30, 32, 3), torch.zeros(30, dtype=torch.int64, device="cuda")
    rows = torch.arange(24, device="cuda")
    settings = replace(SETTINGS, passes=2, precision=precision)
    build, folds = partial(small["contrast"].build, (3, 32, 32)), Folds(fold, fold)
    model = train_cross_fitted(build, images, rows, images, folds, settings).eval()
    with torch.inference_mode(), one_device():
        for number in (None, 1):
            assert model(to_input(images), number).columns["logit"].shape == (30,)


def test_rows_on_the_host_are_found(small):
    with pytest.raises(RuntimeError, match="device"):
        train(lambda: small["fcn"].build((1, 32, 32)), pictures(40, 32, 1), torch.arange(BATCH), SETTINGS)


def test_what_the_host_copies_into_a_step_is_found(one_device):
    with one_device(), pytest.raises(AssertionError, match="cpu"):
        torch.tensor([1, 2], device="cuda")


def test_what_waits_for_the_device_is_found(one_device):
    values = torch.zeros(5, device="cuda")
    with pytest.raises(DataDependentOutputException), one_device():
        float(values.sum())
    with pytest.raises(DynamicOutputShapeException), one_device():
        values[values > 0]
