"""Several encoders, one decoder: the course's hint for its strong baseline.

Source: the three multi-encoder autoencoders of a published solution of Hung-yi Lee's ML2022 homework 8, with its
layers. As printed they do not do what they say, so three things are mended:

- There, all fully connected encoders are one and the same module, as are all convolutional ones, so that three equal
  bottlenecks are joined. Here each encoder has its own weights.
- There, the fully connected decoder is made in its first pass, after the optimizer has taken the parameters, and is
  never trained. Here it is trained.
- There, the convolutional decoder doubles four times what the encoders have halved twice, and fails on the loss. Here
  its first two layers keep the size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.base import NOISELESS_MSE, USUAL_START, Family, Preset
from ensemble_ad.families.convolution import Doubling
from ensemble_ad.families.latent import flat_latent
from ensemble_ad.families.linear import linear_stack
from ensemble_ad.families.model import GradientModel, Output
from ensemble_ad.families.noise import add_noise
from ensemble_ad.families.ranges import Sampler

_Kind = Literal["fcn", "cnn"]
_COMBINATIONS: dict[str, tuple[_Kind, ...]] = {
    "fcn": ("fcn", "fcn", "fcn"),
    "cnn": ("cnn", "cnn", "cnn"),
    "mixed": ("fcn", "fcn", "cnn"),
}
_KINDS = ("fcn", "cnn")
_STRIDE = 4


@dataclass(frozen=True, kw_only=True)
class MultiEncoderArchitecture(Architecture):
    """Hyperparameters of the encoders, whose bottlenecks are joined, and of the decoder that takes them.

    Attributes:
        encoders: the kind of each encoder, "fcn" or "cnn"; the decoder is convolutional where all encoders are.
        widths: units of a fully connected encoder's layers after the pixels; the last is its bottleneck.
        channels: channels of a convolutional encoder's two feature maps.
        decoder_width: units of the fully connected decoder's hidden layer.
    """

    encoders: tuple[_Kind, ...] = ("fcn", "fcn", "fcn")
    widths: tuple[int, ...] = (1024, 512, 256, 128, 32)
    channels: tuple[int, int] = (64, 128)
    decoder_width: int = 1024

    def __post_init__(self) -> None:
        if not self.encoders or not set(self.encoders) <= set(_KINDS):
            raise UsageError(f"the encoders must be one or more of {', '.join(_KINDS)}, not {self.encoders}")
        if not self.widths or min(*self.widths, self.decoder_width) < 1:
            raise UsageError(
                f"the widths of a multi_encoder must be positive, not {self.widths} and {self.decoder_width}"
            )
        if len(self.channels) != 2 or min(self.channels) < 1:
            raise UsageError(f"a convolutional encoder has two feature maps, not {self.channels}")

    def build(self, shape: ChannelsFirst) -> "MultiEncoderAutoencoder":
        return MultiEncoderAutoencoder(shape, self)


def _convolutional_encoder(channels: Sequence[int]) -> nn.Sequential:
    layers = nn.Sequential()
    for before, after in pairwise(channels):
        layers.extend([nn.Conv2d(before, after, 3, 2, 1), nn.ReLU()])
    return layers


def _convolutional_decoder(joined: int, channels: tuple[int, int], channels_out: int) -> nn.Sequential:
    first, second = channels
    return nn.Sequential(
        nn.Conv2d(joined, 4 * second, 3, 1, 1),
        nn.ConvTranspose2d(4 * second, 2 * second, 3, 1, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * second, second, 3, 1, 1),
        nn.ReLU(),
        Doubling(second, first),
        nn.ReLU(),
        Doubling(first, channels_out),
        nn.Tanh(),
    )


class MultiEncoderAutoencoder(GradientModel):
    """Every encoder sees the whole image; a decoder sees all bottlenecks side by side."""

    def __init__(self, shape: ChannelsFirst, architecture: MultiEncoderArchitecture) -> None:
        super().__init__()
        pixels = math.prod(shape)
        map_size = shape[1] // _STRIDE * (shape[2] // _STRIDE)
        self.convolutional = set(architecture.encoders) == {"cnn"}
        self.encoders = nn.ModuleList()
        sizes: list[int] = []
        for kind in architecture.encoders:
            if kind == "fcn":
                self.encoders.append(nn.Sequential(nn.Flatten(), *linear_stack((pixels, *architecture.widths))))
                sizes.append(architecture.widths[-1])
            else:
                self.encoders.append(_convolutional_encoder((shape[0], *architecture.channels)))
                sizes.append(architecture.channels[-1] * (1 if self.convolutional else map_size))
        if self.convolutional:
            self.decoder = _convolutional_decoder(sum(sizes), architecture.channels, shape[0])
        else:
            self.decoder = linear_stack((sum(sizes), architecture.decoder_width, pixels))
            self.decoder.extend([nn.Tanh(), nn.Unflatten(1, shape)])

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to the encoders' bottlenecks side by side: (B, d), or maps (B, d, h, w)."""
        return self._join([encoder(images) for encoder in self.encoders])

    def decode(self, latent: Tensor) -> Tensor:
        """Joined bottlenecks, as `encode` gives them, to images (B, C, H, W)."""
        images: Tensor = self.decoder(latent)
        return images

    def forward(self, images: Tensor) -> Output:
        latents = [encoder(images) for encoder in self.encoders]
        parts = {str(i): flat_latent(latent) for i, latent in enumerate(latents, 1)}
        return Output(self.decode(self._join(latents)), flat_latent(*latents), {}, parts)

    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: Tensor) -> tuple[Tensor, Tensor]:
        joined = add_noise(self.encode(images), latent_noise_scale)
        return self.decode(joined), torch.zeros((), device=images.device)

    def _join(self, latents: list[Tensor]) -> Tensor:
        return torch.cat(latents if self.convolutional else [latent.flatten(1) for latent in latents], dim=1)


def suggest(trial: Sampler, widths: Sequence[int]) -> MultiEncoderArchitecture:
    """Which encoders, their width and depth; channels are a sixteenth of the units, as in the published system."""
    encoders = trial.suggest_categorical("encoders", list(_COMBINATIONS))
    width = trial.suggest_categorical("width", widths)
    channels = max(2, width // 16)
    if encoders == "cnn":
        return MultiEncoderArchitecture(encoders=_COMBINATIONS["cnn"], channels=(channels, 2 * channels))
    depth = trial.suggest_int("hidden_layers", 1, 4)
    bottleneck = trial.suggest_int("bottleneck", 2, 128, log=True)
    return MultiEncoderArchitecture(
        encoders=_COMBINATIONS[encoders],
        widths=(*(max(width // 2**i, bottleneck) for i in range(depth)), bottleneck),
        channels=(channels, 2 * channels),
        decoder_width=width,
    )


def _preset(combination: str) -> Preset:
    return Preset(
        architecture=MultiEncoderArchitecture(encoders=_COMBINATIONS[combination]),
        source="multi-encoders of a published solution of the ML2022 homework 8 contest, which did worse than its fcn",
        training={
            **NOISELESS_MSE,
            "epochs": 80,
            "batch_size": 400,
            "learning_rate": 1e-3,
        },
    )


FAMILY = Family(
    name="multi_encoder",
    summary="several fully connected or convolutional encoders, one decoder",
    suits="as fcn, with several bottlenecks",
    architecture=MultiEncoderArchitecture,
    suggest=suggest,
    start=(
        {"encoders": "fcn", "width": 256, "hidden_layers": 1, "bottleneck": 16, **USUAL_START},
        {"encoders": "mixed", "width": 128, "hidden_layers": 1, "bottleneck": 16, **USUAL_START},
    ),
    presets={"multi-fcn": _preset("fcn"), "multi-cnn": _preset("cnn"), "multi-mixed": _preset("mixed")},
    side_multiple=_STRIDE,
    widths=(64, 128, 256, 512, 1024),
    cpu_width=256,
)
