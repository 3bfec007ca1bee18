"""Convolutions that are computed in other ways on a CPU: blocks of pixels, and matrices for small maps."""

from itertools import product

import pytest
import torch
from torch import nn

from ensemble_ad.families import preset
from ensemble_ad.families.convolution import Convolution, Doubling, fast_on_small_maps
from ensemble_ad.families.encoders import encoder

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


def test_blocks_lie_without_gaps():
    _, folded = both(8, 4)
    maps = maps_of(8, 6, 6, torch.float32)
    assert folded._folded(maps).is_contiguous(memory_format=torch.channels_last)


def test_a_map_of_one_place_takes_the_middle_of_the_kernel(monkeypatch):
    plain, doubling = (layer.double() for layer in both(6, 5))
    maps = maps_of(6, 1, 1)
    expected = plain(maps)
    monkeypatch.setattr(nn.ConvTranspose2d, "forward", None)
    found = doubling(maps)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected)
    for mine, their in zip(gradients(doubling, maps, found), gradients(plain, maps, expected), strict=True):
        torch.testing.assert_close(mine, their)


def convolutions():
    """Kernel, stride, padding, height and width of convolutions whose padded maps are no smaller than the kernel."""
    for kernel, stride, padding, high, wide in product((1, 2, 3, 4, 7), (1, 2, 3), (0, 1, 3), (1, 2, 4), (1, 2, 3)):
        if padding < kernel <= min(high, wide) + 2 * padding:
            yield kernel, stride, padding, high, wide


@pytest.mark.parametrize("bias", [True, False])
def test_small_maps_give_the_sums_and_gradients_of_a_convolution(bias, monkeypatch):
    laid_out, inner = [], Convolution._laid_out
    monkeypatch.setattr(Convolution, "_laid_out", lambda self, maps: (laid_out.append(1), inner(self, maps))[1])
    sizes = list(convolutions())
    for kernel, stride, padding, high, wide in sizes:
        torch.manual_seed(5)
        plain = nn.Conv2d(64, 64, kernel, stride, padding, bias=bias).double()
        layer = Convolution(64, 64, kernel, stride, padding, bias=bias).double()
        layer.load_state_dict(plain.state_dict())
        maps = maps_of(64, high, wide)
        found, expected = layer(maps), plain(maps)
        torch.testing.assert_close(found, expected)
        for mine, their in zip(gradients(layer, maps, found), gradients(plain, maps, expected), strict=True):
            torch.testing.assert_close(mine, their)
    assert 0 < len(laid_out) < len(sizes)


@pytest.mark.parametrize(
    ("channels", "side", "kernel", "stride", "laid_out"),
    [
        (4, 1, 3, 1, True),
        (4, 2, 3, 2, True),
        (4, 2, 3, 1, False),  # four places do not pay where channels are few
        (64, 2, 3, 1, True),
        (64, 3, 3, 1, False),
        (64, 4, 4, 2, False),
        (64, 1, 1, 1, True),
        (64, 2, 1, 1, False),
    ],
)
def test_which_maps_are_small(channels, side, kernel, stride, laid_out):
    layer = Convolution(channels, channels, kernel, stride, kernel // 2)
    assert layer._small(torch.zeros(1, channels, side, side)) == laid_out


def test_a_map_smaller_than_the_kernel_is_refused_as_torch_does():
    layer = Convolution(64, 64, 4, 2, 1)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        layer(torch.zeros(2, 64, 1, 1))


def test_in_bfloat16_the_products_are_of_bfloat16():
    torch.manual_seed(5)
    layer = Convolution(64, 64, 3, 1, 1).to(memory_format=torch.channels_last)
    maps = maps_of(64, 2, 2, torch.float32)
    expected = nn.Conv2d.forward(layer, maps)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(maps.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=2**-7, atol=0.02)
    found.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


def test_a_network_keeps_its_names():
    network = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.Linear(2, 2))
    names = list(network.state_dict())
    assert fast_on_small_maps(network) is network
    assert [type(layer) for layer in network] == [Convolution, nn.Linear]
    assert list(network.state_dict()) == names


@pytest.mark.parametrize(
    "how", [{"groups": 8}, {"dilation": 2, "padding": 2}, {"padding": "same"}, {"padding_mode": "circular"}], ids=str
)
def test_what_cannot_be_laid_out_is_left_to_torch(how):
    torch.manual_seed(5)
    plain = nn.Conv2d(64, 64, 3, **{"padding": 1, **how}).double()
    maps = maps_of(64, 2, 2)
    expected = plain(maps)
    torch.testing.assert_close(fast_on_small_maps(plain)(maps), expected, rtol=0, atol=0)


def test_a_resnet_of_small_images_reconstructs_as_torchs_layers_do(monkeypatch):
    torch.manual_seed(5)
    model = preset("resnet-boss")[1].architecture.build((3, 32, 32)).eval()
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    found = model(images).reconstruction
    monkeypatch.setattr(Convolution, "_small", lambda self, maps: False)
    monkeypatch.setattr(Doubling, "_middle", nn.ConvTranspose2d.forward)
    torch.testing.assert_close(model(images).reconstruction, found, rtol=1e-4, atol=1e-5)


def test_torchvisions_networks_have_fast_convolutions():
    kinds = {type(layer) for layer in encoder("resnet18", (1, 64, 64)).modules() if isinstance(layer, nn.Conv2d)}
    assert kinds == {Convolution}
