"""The training loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ensemble_ad.errors import DivergedError
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

SHAPE = (1, 16, 16)
ARCHITECTURE = FcnArchitecture(widths=(32, 8))
SETTINGS = TrainSettings(epochs=3, batch_size=32)


def build():
    return ARCHITECTURE.build(SHAPE)


@pytest.fixture(scope="module")
def digits():
    images = np.rint(load_digits().images[:200] * (255 / 16)).astype(np.uint8)
    return torch.from_numpy(images.repeat(2, axis=1).repeat(2, axis=2)[..., None].copy())


def _losses(digits, settings, rows=None):
    losses = []
    rows = torch.arange(len(digits)) if rows is None else rows
    train(build, digits, rows, settings, after_epoch=lambda epoch, model: losses.append(epoch.loss) is None)
    return losses


def test_training_lowers_the_loss(digits):
    losses = _losses(digits, replace(SETTINGS, epochs=10))
    assert len(losses) == 10
    assert losses[-1] < 0.6 * losses[0]


def test_only_the_named_rows_are_trained_on(digits):
    rows = torch.arange(0, 200, 2)
    spoilt = digits.clone()
    spoilt[1::2] = 255 - spoilt[1::2]
    assert _losses(digits, SETTINGS, rows) == _losses(spoilt, SETTINGS, rows)
    spoilt[0] = 255 - spoilt[0]
    assert _losses(digits, SETTINGS, rows) != _losses(spoilt, SETTINGS, rows)


def test_the_callback_ends_the_training_and_sees_a_model_that_evaluates(digits):
    seen = []

    def stop_after_two(epoch, model):
        seen.append((epoch.number, model.training))
        assert epoch.images_per_second > 0
        return epoch.number < 2

    train(build, digits, torch.arange(200), replace(SETTINGS, epochs=9), after_epoch=stop_after_two)
    assert seen == [(1, False), (2, False)]


def test_training_leaves_the_callers_random_state_alone(digits):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(build, digits, torch.arange(200), SETTINGS)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_fewer_images_than_a_batch_are_one_batch(digits):
    assert len(_losses(digits, replace(SETTINGS, batch_size=10_000))) == 3


def test_a_loss_that_explodes_is_an_error_and_not_a_result(digits):
    with pytest.raises(DivergedError, match="lower the learning rate"):
        train(build, digits, torch.arange(200), replace(SETTINGS, learning_rate=1e30, epochs=20))


@pytest.mark.gpu
def test_training_on_cuda_comes_close_to_the_cpu(digits):
    rows = torch.arange(200)
    on_cpu = train(build, digits, rows, replace(SETTINGS, epochs=10))
    on_gpu = train(build, digits.cuda(), rows.cuda(), replace(SETTINGS, epochs=10)).cpu()
    errors = [float((m(to_input(digits)).reconstruction - to_input(digits)).square().mean()) for m in (on_cpu, on_gpu)]
    assert errors[1] == pytest.approx(errors[0], rel=0.2)
