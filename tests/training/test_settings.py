"""Settings of a training: each has a range."""

import math
from dataclasses import replace

import pytest

from ensemble_ad.errors import UsageError
from ensemble_ad.training.settings import TrainSettings

SETTINGS = TrainSettings(epochs=3, batch_size=32)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("passes", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("weight_decay", -1.0),
        ("warmup_ratio", 1.5),
        ("noise_scale", -0.1),
        ("latent_noise_scale", -0.1),
        ("mirror", 1),
        ("loss", "huber"),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_rule(setting, value):
    with pytest.raises(UsageError, match=rf"{setting} must be .* not {value!r}"):
        replace(SETTINGS, **{setting: value})
