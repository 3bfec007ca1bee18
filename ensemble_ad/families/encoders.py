"""torchvision's networks as encoders, untrained: ResNet (He et al. 2016), RegNet (Radosavovic et al. 2020), ConvNeXt.

Participants of the contest took them as encoders of autoencoders. Without their heads they give feature maps of a 32nd
of the image's height and width (ConvNeXt: Liu et al. 2022, CVPR).
"""

from typing import Literal

from torch import nn

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


def encoder(name: Encoder, channels_in: int) -> nn.Sequential:
    """The network without its head, its weights drawn from torch's global generator.

    Args:
        name: the network's.
        channels_in: the images' channels; the first convolution is made anew where they are not three.

    Returns:
        From (B, channels_in, H, W) to (B, `ENCODERS[name]`, H / 32, W / 32), H and W multiples of 32.
    """
    from torchvision import models  # here, since importing it takes 160 MB and a second

    network: nn.Module = getattr(models, name)(weights=None)
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
    return nn.Sequential(*list(children.values())[:end])
