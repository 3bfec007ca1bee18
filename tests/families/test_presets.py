"""Presets: each has the parameters of the published system, counted by hand."""

from itertools import pairwise

import pytest
import torch

from ensemble_ad import families
from ensemble_ad.families import FAMILIES
from ensemble_ad.families.model import count_parameters

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


def group_norm_block(before, after):
    return conv(before, after, after, kernel=3) + norm(after, after)


def vqvae(length, blocks, *channels):
    """An encoder and a decoder of these channels; codes are no parameters."""
    width = channels[-1]
    residual = conv(width, width // 4, kernel=3) + conv(width // 4, width, kernel=1)
    return (
        conv(*channels) + conv(width, width, kernel=3) + conv(width, length, kernel=1)
        + conv(length, width, kernel=3) + conv(*channels[::-1]) + 2 * blocks * residual
    )  # fmt: skip


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
    "vqvae-sonnet": vqvae(64, 2, 3, 64, 128),
    "vqvae-small": vqvae(16, 1, 3, 8, 16, 32),
    "pca-10": PIXELS + 10 * (PIXELS + 2),
    "pca-64": PIXELS + 64 * (PIXELS + 2),
    "pca-256": PIXELS + 256 * (PIXELS + 2),
    "cutpaste-3way": 11_689_512 - 513_000 + linear(512, 512, 128, 3) + norm(512, 128),
    "cutpaste-small": SMALL_CNN + linear(64, 128, 3) + norm(128),
    # The images have three channels, a small patch 8 x 8 pixels, its vector 64 numbers.
    "patchsvdd": conv(3, 128, kernel=8) + conv(128, 128, 64, kernel=1)
    + conv(64, 128, kernel=2) + conv(128, 64, kernel=1) + 2 * linear(64, 128, 128, 8),
    "patchsvdd-small": conv(3, 128, kernel=4) + conv(128, 128, 32, kernel=1)
    + conv(32, 128, kernel=2) + conv(128, 32, kernel=1) + 2 * linear(32, 128, 128, 8),
    # Nine blocks of 8 x 8 pixels of three channels, each predicted from all 16 x 16 pixels.
    "inpaint-gauss": 16 * 16 * 3 * (1 + 9 * 8 * 8 * 3),
    # The network sees three channels and the mask.
    "inpaint-mlp": linear(24 * 24 * 4, 768, 768, 24 * 24 * 3),
    "inpaint-conv": group_norm_block(4, 24) + group_norm_block(24, 48) + group_norm_block(48, 96)
    + group_norm_block(96 + 48, 48) + group_norm_block(48 + 24, 24) + conv(24, 3, kernel=1),
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
