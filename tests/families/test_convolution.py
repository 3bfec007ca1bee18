"""The transposed convolution that is computed as a convolution of blocks, on CPUs with bfloat16."""

import pytest
import torch
from torch import nn

from ensemble_ad.families.convolution import Doubling

SIZES = [(12, 3, 5, 7), (4, 8, 1, 1), (24, 12, 8, 8), (3, 1, 2, 6)]


def both(channels_in, channels_out):
    torch.manual_seed(5)
    plain = nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1).to(memory_format=torch.channels_last)
    folded = Doubling(channels_in, channels_out).to(memory_format=torch.channels_last)
    folded.load_state_dict(plain.state_dict())
    return plain, folded


def maps_of(channels, high, wide, dtype=torch.float64):
    torch.manual_seed(6)
    maps = torch.randn(3, channels, high, wide, dtype=dtype).to(memory_format=torch.channels_last)
    return maps.requires_grad_()


def gradients(layer, maps, output):
    weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).reshape(output.shape)
    return torch.autograd.grad((output * weights).sum(), [maps, *layer.parameters()])


@pytest.mark.parametrize("sizes", SIZES)
def test_blocks_give_the_sums_and_gradients_of_a_transposed_convolution(sizes):
    channels_in, channels_out, high, wide = sizes
    plain, folded = (layer.double() for layer in both(channels_in, channels_out))
    maps = maps_of(channels_in, high, wide)
    expected, found = plain(maps), folded._folded(maps)
    assert found.shape == (3, channels_out, 2 * high, 2 * wide)
    torch.testing.assert_close(found, expected)
    for mine, their in zip(gradients(folded, maps, found), gradients(plain, maps, expected), strict=True):
        torch.testing.assert_close(mine, their)


@pytest.mark.parametrize(("channels_out", "folds"), [(12, True), (64, True), (65, False)])
def test_it_folds_in_bfloat16_where_channels_are_few(channels_out, folds, monkeypatch):
    called = []
    inner = Doubling._folded
    monkeypatch.setattr(Doubling, "_folded", lambda self, maps: (called.append(1), inner(self, maps))[1])
    plain, folded = both(8, channels_out)
    maps = maps_of(8, 6, 6, torch.float32)
    torch.testing.assert_close(folded(maps), plain(maps), rtol=0, atol=0)
    assert not called
    with torch.autocast("cpu", torch.bfloat16):
        found = folded(maps)
    assert found.dtype == torch.bfloat16
    assert bool(called) == folds
    # A bfloat16 has 8 bits: half a unit in the last place of the inputs, and of the sum.
    torch.testing.assert_close(found.float(), plain(maps), rtol=2**-7, atol=0.02)
