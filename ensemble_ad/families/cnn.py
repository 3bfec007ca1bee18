"""Convolutional autoencoder: the course's sample, and the same with a linear bottleneck.

The course's feature map holds a quarter of an image's numbers and more, which is hardly a bottleneck. The better
solutions of the contest added a linear layer that squeezes it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.base import NOISELESS_MSE, USUAL_START, Family, Preset
from ensemble_ad.families.convolution import doubling, halving
from ensemble_ad.families.latent import flat_latent
from ensemble_ad.families.model import GradientModel, Output
from ensemble_ad.families.noise import add_noise
from ensemble_ad.families.ranges import Sampler

_STRIDE = 8


@dataclass(frozen=True, kw_only=True)
class CnnArchitecture(Architecture):
    """Three convolutions and their mirror image.

    Attributes:
        channels: channels of the three feature maps.
        batch_norm: whether batch normalisation stands before each ReLU.
        bottleneck: how many numbers a linear layer squeezes the last feature map into; None keeps the map itself.
    """

    channels: tuple[int, int, int] = (12, 24, 48)
    batch_norm: bool = False
    bottleneck: int | None = None

    def __post_init__(self) -> None:
        if len(self.channels) != 3 or min(self.channels) < 1:
            raise UsageError(f"a cnn has three feature maps of one or more channels, not {self.channels}")
        if self.bottleneck is not None and self.bottleneck < 1:
            raise UsageError(f"a cnn's bottleneck must be 1 or more, not {self.bottleneck}")

    def build(self, shape: ChannelsFirst) -> "CnnAutoencoder":
        return CnnAutoencoder(shape, self)


class CnnAutoencoder(GradientModel):
    """An encoder of convolutions and its mirror image, with or without a linear bottleneck between them."""

    def __init__(self, shape: ChannelsFirst, architecture: CnnArchitecture) -> None:
        super().__init__()
        channels = (shape[0], *architecture.channels)
        map_shape = (channels[-1], shape[1] // _STRIDE, shape[2] // _STRIDE)
        features = math.prod(map_shape)
        self.encoder = halving(channels, batch_norm=architecture.batch_norm)
        self.decoder = doubling(channels[::-1], batch_norm=architecture.batch_norm)
        if architecture.bottleneck is not None:
            self.encoder.extend([nn.Flatten(), nn.Linear(features, architecture.bottleneck)])
            widening = [nn.Linear(architecture.bottleneck, features), nn.ReLU(), nn.Unflatten(1, map_shape)]
            self.decoder = nn.Sequential(*widening, *self.decoder)

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to bottlenecks: (B, d) where a linear layer squeezes them, else maps (B, d, h, w)."""
        latent: Tensor = self.encoder(images)
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        """Bottlenecks, as `encode` gives them, to images (B, C, H, W)."""
        images: Tensor = self.decoder(latent)
        return images

    def forward(self, images: Tensor) -> Output:
        latent = self.encode(images)
        return Output(self.decode(latent), flat_latent(latent), {})

    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: Tensor) -> tuple[Tensor, Tensor]:
        latent = add_noise(self.encode(images), latent_noise_scale)
        return self.decode(latent), torch.zeros((), device=images.device)


def suggest(trial: Sampler, widths: Sequence[int]) -> CnnArchitecture:
    """The width, from which the channels double, and whether and how far a linear layer squeezes the last map."""
    width = trial.suggest_categorical("width", widths)
    squeeze = trial.suggest_categorical("squeeze", [False, True])
    return CnnArchitecture(
        channels=(width, 2 * width, 4 * width),
        batch_norm=trial.suggest_categorical("batch_norm", [False, True]),
        bottleneck=trial.suggest_int("bottleneck", 4, 256, log=True) if squeeze else None,
    )


FAMILY = Family(
    name="cnn",
    summary="convolutional autoencoder, with or without a linear bottleneck",
    suits="textures and parts that may lie anywhere",
    architecture=CnnArchitecture,
    suggest=suggest,
    start=(
        {
            "width": 12,
            "squeeze": True,
            "batch_norm": True,
            "bottleneck": 32,
            **USUAL_START,
        },
    ),
    presets={
        "cnn-sample": Preset(
            architecture=CnnArchitecture(),
            source="sample code of Hung-yi Lee's ML2022 homework 8",
            training={
                **NOISELESS_MSE,
                "epochs": 50,
                "batch_size": 2000,
                "learning_rate": 1e-3,
            },
        ),
    },
    side_multiple=_STRIDE,
    widths=(6, 12, 24, 48),
    cpu_width=24,
)
