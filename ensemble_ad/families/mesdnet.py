"""MESDnet: a fully connected, a convolutional and a variational encoder, fused, and one residual decoder.

Source: the multi-encoder single-decoder network published for Hung-yi Lee's ML2022 homework 8, after Fang et al. 2020,
"Multi-encoder towards effective anomaly detection in videos" (IEEE Transactions on Multimedia 23). Two things differ:

- The published consistency loss averages the fully connected bottleneck over its axes 2 and 3, which it does not have,
  and fails. Here it compares two feature maps by their means over all places: the one that is made from that bottleneck
  and the convolutional encoder's, which has as many channels.
- The published reconstruction loss is a sum over the pixels of the batch, ours a mean. So the divergence is divided by
  the pixels of an image, and the consistency loss, there a mean over the batch, by the pixels of the batch. With the
  mean squared error, the ratios of the losses are then the published ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

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
from ensemble_ad.families.vae import GaussianMap, gaussian_kl, sample

_STRIDE = 8
_SLOPE = 0.2


@dataclass(frozen=True, kw_only=True)
class MesdnetArchitecture(Architecture):
    """Hyperparameters of the three encoders, the decoder and the two further losses.

    Attributes:
        fcn_widths: units of the fully connected encoder's layers after the pixels; the last is its bottleneck.
        map_widths: units of the layers from that bottleneck to its feature map.
        width: channels of the convolutional encoders' first feature map, doubled at each further one; the fused map has
            twelve times as many.
        decoder_channels: channels of the decoder's three stages.
        kl_weight: weight of the divergence of an image's posterior from N(0, 1), which is divided by the pixels.
        consistency_weight: weight of the consistency loss, which is divided by the pixels of the batch.
    """

    fcn_widths: tuple[int, ...] = (2048, 1024, 512, 256, 64, 10)
    map_widths: tuple[int, ...] = (128, 256)
    width: int = 12
    decoder_channels: tuple[int, int, int] = (128, 64, 32)
    kl_weight: float = 0.1
    consistency_weight: float = 0.05

    def __post_init__(self) -> None:
        if not self.fcn_widths or min(*self.fcn_widths, *self.map_widths, self.width) < 1:
            raise UsageError(
                f"the widths of a mesdnet must be positive, not {self.fcn_widths}, {self.map_widths} and {self.width}"
            )
        if len(self.decoder_channels) != 3 or min(self.decoder_channels) < 1:
            raise UsageError(f"a mesdnet's decoder has three stages of channels, not {self.decoder_channels}")
        if min(self.kl_weight, self.consistency_weight) < 0:
            raise UsageError(
                f"kl_weight and consistency_weight must be 0 or more, not {self.kl_weight}, {self.consistency_weight}"
            )

    def build(self, shape: ChannelsFirst) -> "Mesdnet":
        return Mesdnet(shape, self)


class _Residual(nn.Module):
    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, 1, 1),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        return functional.leaky_relu(self.residual(features) + self.shortcut(features), _SLOPE)


def _activated(layer: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.LeakyReLU(_SLOPE))


def _halving(channels_in: int, channels: int) -> nn.Sequential:
    return _activated(nn.Conv2d(channels_in, channels, 4, 2, 1), channels)


class Mesdnet(GradientModel):
    """The published system, mended, and of any widths."""

    def __init__(self, shape: ChannelsFirst, architecture: MesdnetArchitecture) -> None:
        super().__init__()
        width, pixels = architecture.width, math.prod(shape)
        map_shape = (4 * width, shape[1] // _STRIDE, shape[2] // _STRIDE)
        features = math.prod(map_shape)
        self.architecture = architecture
        self.fcn = linear_stack((pixels, *architecture.fcn_widths), activation="leaky_relu", batch_norm=True)
        self.fcn_map = linear_stack(
            (architecture.fcn_widths[-1], *architecture.map_widths, features),
            activation="leaky_relu",
            activate_last=True,
        ).append(nn.Unflatten(1, map_shape))
        self.cnn = nn.Sequential(
            _halving(shape[0], width),
            _halving(width, 2 * width),
            _Residual(2 * width, 4 * width),
            _halving(4 * width, 4 * width),
        )
        self.vae = nn.Sequential(_halving(shape[0], width), _halving(width, 2 * width))
        self.posterior = GaussianMap(2 * width, 4 * width)
        self.fusion = _activated(nn.Conv2d(12 * width, 12 * width, 1), 12 * width)
        self.decoder = nn.Sequential()
        for before, after in pairwise((12 * width, *architecture.decoder_channels)):
            self.decoder.append(_Residual(before, after))
            self.decoder.append(_activated(Doubling(after, after), after))
        self.decoder.extend([nn.Conv2d(architecture.decoder_channels[-1], shape[0], 3, 1, 1), nn.Tanh()])

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to the three encoders' feature maps side by side, (B, d, h, w), before they are fused."""
        fcn_map, mean = self.fcn_map(self.fcn(images.flatten(1))), self.posterior(self.vae(images))[0]
        return _side_by_side(fcn_map, self.cnn(images), mean)

    def decode(self, latent: Tensor) -> Tensor:
        """Feature maps (B, d, h, w) side by side to images (B, C, H, W)."""
        images: Tensor = self.decoder(self.fusion(latent))
        return images

    def forward(self, images: Tensor) -> Output:
        latent = self.fcn(images.flatten(1))
        cnn_map = self.cnn(images)
        mean, log_variance = self.posterior(self.vae(images))
        reconstruction = self.decode(_side_by_side(self.fcn_map(latent), cnn_map, mean))
        parts = {"fcn": latent, "cnn": flat_latent(cnn_map), "vae": flat_latent(mean)}
        joined = flat_latent(latent, cnn_map, mean)
        return Output(reconstruction, joined, {"kl": gaussian_kl(mean, log_variance)}, parts)

    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: Tensor) -> tuple[Tensor, Tensor]:
        fcn_map, cnn_map = self.fcn_map(self.fcn(images.flatten(1))), self.cnn(images)
        mean, log_variance = self.posterior(self.vae(images))
        joined = _side_by_side(fcn_map, cnn_map, sample(mean, log_variance))
        reconstruction = self.decode(add_noise(joined, latent_noise_scale))
        divergence = gaussian_kl(mean, log_variance).mean() / images[0].numel()
        difference = consistency(fcn_map, cnn_map) / images.numel()
        return (
            reconstruction,
            self.architecture.kl_weight * divergence + self.architecture.consistency_weight * difference,
        )


def consistency(fcn_map: Tensor, cnn_map: Tensor) -> Tensor:
    """Mean squared difference of two feature maps' (B, C, H, W) means over all places, a scalar."""
    return functional.mse_loss(fcn_map.float().mean((2, 3)), cnn_map.float().mean((2, 3)))


def _side_by_side(*maps: Tensor) -> Tensor:
    return torch.cat(maps, dim=1)


def suggest(trial: Sampler, widths: Sequence[int]) -> MesdnetArchitecture:
    """Widths of the encoders and the decoder, the fully connected bottleneck, and the weights of the further losses."""
    width = trial.suggest_categorical("width", widths)
    fcn_width = trial.suggest_categorical("fcn_width", [128, 256, 512, 1024, 2048])
    bottleneck = trial.suggest_int("bottleneck", 2, 64, log=True)
    narrowest = trial.suggest_categorical("decoder_channels", [8, 16, 32])
    return MesdnetArchitecture(
        fcn_widths=(fcn_width, max(fcn_width // 4, bottleneck), bottleneck),
        width=width,
        decoder_channels=(4 * narrowest, 2 * narrowest, narrowest),
        kl_weight=trial.suggest_float("kl_weight", 1e-4, 1.0, log=True),
        consistency_weight=trial.suggest_float("consistency_weight", 0.05, 5e4, log=True),
    )


FAMILY = Family(
    name="mesdnet",
    summary="fully connected, convolutional and variational encoders, fused, and a residual decoder",
    suits="a GPU; three kinds of encoder in one",
    architecture=MesdnetArchitecture,
    suggest=suggest,
    start=(
        {
            "width": 4,
            "fcn_width": 256,
            "bottleneck": 10,
            "decoder_channels": 8,
            "kl_weight": 0.1,
            "consistency_weight": 0.05,
            **USUAL_START,
        },
    ),
    presets={
        "mesdnet": Preset(
            architecture=MesdnetArchitecture(),
            source="published multi-encoder solution of the ML2022 homework 8 contest, below 0.767 there; mended",
            training={
                **NOISELESS_MSE,
                "epochs": 100,
                "batch_size": 512,
                "learning_rate": 1e-3,
            },
        ),
    },
    side_multiple=_STRIDE,
    widths=(2, 4, 12, 24),
    cpu_width=4,
)
