"""torchvision's networks as encoders, untrained: ResNet (He et al. 2016), RegNet (Radosavovic et al. 2020), ConvNeXt.

Participants of the contest took them as encoders of autoencoders. Without their heads they give feature maps of a 32nd
of the image's height and width (ConvNeXt: Liu et al. 2022, CVPR).
"""

from collections.abc import Sequence
from functools import partial
from typing import Final, Literal

import torch
from torch import nn

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.convolution import fast_on_small_maps

Encoder = Literal["resnet18", "resnet34", "resnet50", "regnet_y_400mf", "convnext_tiny"]
ENCODERS: dict[Encoder, int] = {
    "regnet_y_400mf": 440,
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "convnext_tiny": 768,
}
"""The networks, and how many channels their last feature maps have."""
STRIDE = 32
BLOCKS: Final = "blocks"
"""What a family calls an encoder of its own residual blocks."""
# A study tries a network where it tries basic blocks of that many channels: on a CPU the cheapest alone, which at 32
# pixels is 2.5 times as dear as ResNet-18 of 16 channels.
_LEAST_WIDTH: dict[Encoder, int] = {
    "convnext_tiny": 64,
    "resnet50": 64,
    "resnet34": 64,
    "resnet18": 64,
    "regnet_y_400mf": 16,
}


def choices(width: int) -> list[Encoder | Literal["blocks"]]:
    """The encoders that a study tries where its basic blocks have at most `width` channels at first."""
    return [*(name for name, least in _LEAST_WIDTH.items() if least <= width), BLOCKS]


def check_encoder(name: str, family: str) -> None:
    """Check that an encoder is `blocks` or one of `ENCODERS`.

    Raises:
        UsageError: if it is not; the message lists those there are.
    """
    if name not in (BLOCKS, *ENCODERS):
        raise UsageError(f"the encoder of a {family} must be one of {', '.join([BLOCKS, *ENCODERS])}, not {name!r}")


def places(sides: Sequence[int]) -> tuple[int, int]:
    """Height and width of the feature maps of images with these sides."""
    return max(1, sides[0] // STRIDE), max(1, sides[1] // STRIDE)


def encoder(name: Encoder, shape: ChannelsFirst) -> nn.Sequential:
    """The network without its head, its weights drawn from torch's global generator.

    Images with a side below 32 are enlarged twice before it.

    Args:
        name: the network's.
        shape: the images'; the first convolution is made anew where they do not have three channels.

    Returns:
        From (B, C, H, W) to (B, `ENCODERS[name]`, `places((H, W))`), H and W multiples of 16.
    """
    network = _network(name)
    channels_in, *sides = shape
    if channels_in != 3:
        place, first = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
        made = nn.Conv2d(
            channels_in,
            first.out_channels,
            first.kernel_size,  # type: ignore[arg-type]
            first.stride,  # type: ignore[arg-type]
            first.padding,  # type: ignore[arg-type]
            bias=first.bias is not None,
        )
        network.set_submodule(place, made)
    children = dict(network.named_children())
    end = list(children).index("avgpool")
    layers = fast_on_small_maps(nn.Sequential(*list(children.values())[:end]))
    if min(sides) < STRIDE:
        layers.insert(0, nn.Upsample(scale_factor=2.0))
    if min(sides) < STRIDE or any(side % STRIDE for side in sides):
        layers.append(nn.AdaptiveAvgPool2d(places(sides)))
    return layers


def _network(name: Encoder) -> nn.Module:
    from torchvision import models  # here, since importing it takes 160 MB and a second
    from torchvision.models.regnet import BlockParams, RegNet

    if name == "regnet_y_400mf":
        # torchvision computes its widths by tensors, which have no values where networks are only sketched ("meta").
        with torch.device("cpu"):
            blocks = BlockParams.from_init_params(depth=16, w_0=48, w_a=27.89, w_m=2.09, group_width=8, se_ratio=0.25)
        made: nn.Module = RegNet(blocks, norm_layer=partial(nn.BatchNorm2d, eps=1e-5, momentum=0.1))
    else:
        made = getattr(models, name)(weights=None)
    return made
