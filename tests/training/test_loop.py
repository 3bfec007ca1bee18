"""The training loop."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ensemble_ad.errors import UsageError
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.training.device import choose_device
from ensemble_ad.training.loop import DivergedError, train
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import schedule, to_input

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


def test_the_learning_rate_warms_up_linearly_and_falls_as_a_cosine():
    factors = [schedule(step, 100, 0.2) for step in range(100)]
    np.testing.assert_allclose(factors[:20], np.arange(1, 21) / 20)
    np.testing.assert_allclose(factors[60], 0.5)
    assert factors[20] == 1.0
    assert all(a > b for a, b in pairwise(factors[20:]))
    assert factors[-1] < 0.001


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_schedule_has_no_warm_up_or_nothing_else_at_its_ends(ratio):
    factors = [schedule(step, 10, ratio) for step in range(10)]
    assert factors[0] == (1.0 if ratio == 0 else 0.1)
    assert all(0 < factor <= 1 for factor in factors)


def test_pixels_become_minus_one_to_one_with_channels_first():
    batch = torch.tensor([0, 51, 255, 128], dtype=torch.uint8).reshape(1, 2, 2, 1).repeat(1, 1, 1, 3)
    values = to_input(batch)
    assert values.shape == (1, 3, 2, 2)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values[0, 0].flatten(), torch.tensor([-1.0, -0.6, 1.0, 128 / 127.5 - 1]))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("weight_decay", -1.0),
        ("warmup_ratio", 1.5),
        ("noise_scale", -0.1),
        ("latent_noise_scale", -0.1),
        ("loss", "huber"),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_rule(setting, value):
    with pytest.raises(UsageError, match=rf"{setting} must be .* not {value!r}"):
        replace(SETTINGS, **{setting: value})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_a_clear_error():
    with pytest.raises(UsageError, match="--device cpu"):
        choose_device("cuda")


@pytest.mark.gpu
def test_training_on_cuda_comes_close_to_the_cpu(digits):
    rows = torch.arange(200)
    on_cpu = train(build, digits, rows, replace(SETTINGS, epochs=10))
    on_gpu = train(build, digits.cuda(), rows.cuda(), replace(SETTINGS, epochs=10)).cpu()
    errors = [float((m(to_input(digits)).reconstruction - to_input(digits)).square().mean()) for m in (on_cpu, on_gpu)]
    assert errors[1] == pytest.approx(errors[0], rel=0.2)
