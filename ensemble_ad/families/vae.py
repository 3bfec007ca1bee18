"""Variational autoencoder on the course's convolutions (Kingma and Welling 2014, arXiv:1312.6114).

The training loss is a mean over pixels, so the divergence is divided by the number of pixels too: with the MSE, a
`kl_weight` of 2 s^2 is the evidence bound of a Gaussian decoder of variance s^2. In evaluation the mean is decoded, so
that an image has one score.

The course's sample adds the divergence, summed over the whole batch, to the mean squared error. Here that is a
`kl_weight` of batch size times pixels: the divergence wins, the mean and log-variance maps go to 0 and every image is
reconstructed alike. The sample also has a ReLU on both maps, so that no variance is below 1. `vae-sample` keeps both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.base import NOISELESS_MSE, USUAL_START, Family, Preset
from ensemble_ad.families.convolution import doubling, halving
from ensemble_ad.families.latent import flat_latent
from ensemble_ad.families.model import GradientModel, Output
from ensemble_ad.families.noise import add_noise, standard_normal
from ensemble_ad.families.ranges import Sampler

_STRIDE = 8
# Bounds of the log-variance: its exponential stays finite where a diverging step throws it far off.
_LOG_VARIANCE = (-20.0, 20.0)


@dataclass(frozen=True, kw_only=True)
class VaeArchitecture(Architecture):
    """Two convolutions, two parallel ones to the mean and the log-variance, and a mirrored decoder.

    Attributes:
        channels: channels of the three feature maps; the third map is the mean, and another like it the log-variance.
        batch_norm: whether batch normalisation stands before each ReLU, but not on the mean and the log-variance.
        rectified: whether a ReLU follows the mean and the log-variance, as in the course's sample.
        kl_weight: weight of the divergence of an image's posterior from N(0, 1), which is divided by the pixels.
        kl_warmup: share of the training over which that weight rises linearly from 0.
    """

    channels: tuple[int, int, int] = (12, 24, 48)
    batch_norm: bool = False
    rectified: bool = False
    kl_weight: float = 0.01
    kl_warmup: float = 0.0

    def __post_init__(self) -> None:
        if len(self.channels) != 3 or min(self.channels) < 1:
            raise UsageError(f"a vae has three feature maps of one or more channels, not {self.channels}")
        if self.kl_weight < 0:
            raise UsageError(f"a kl_weight must be 0 or more, not {self.kl_weight}")
        if not 0 <= self.kl_warmup <= 1:
            raise UsageError(f"a kl_warmup must be of 0 to 1, not {self.kl_warmup}")

    def build(self, shape: ChannelsFirst) -> "VariationalAutoencoder":
        return VariationalAutoencoder(shape, self)


class GaussianMap(nn.Module):
    """From a feature map to the means and log-variances of Gaussians, maps half as high and wide."""

    def __init__(self, channels_in: int, channels: int, *, rectified: bool = False) -> None:
        super().__init__()
        self.mean = nn.Conv2d(channels_in, channels, 4, 2, 1)
        self.log_variance = nn.Conv2d(channels_in, channels, 4, 2, 1)
        self.activation = nn.ReLU() if rectified else nn.Identity()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        # One convolution for both, so that the features are read once.
        weight = torch.cat([self.mean.weight, self.log_variance.weight])
        bias = torch.cat([each for each in (self.mean.bias, self.log_variance.bias) if each is not None])
        mean, log_variance = self.activation(conv2d(features, weight, bias, stride=2, padding=1)).chunk(2, dim=1)
        return mean, log_variance.clamp(*_LOG_VARIANCE)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, exp(log_variance)) from N(0, 1).

    Args:
        mean: float (B, ...).
        log_variance: float of the same shape.

    Returns:
        float32 (B,), the sum over an image's numbers.
    """
    mean, log_variance = mean.float(), log_variance.float()  # the maps may be bfloat16
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)


def sample(mean: Tensor, log_variance: Tensor) -> Tensor:
    """A draw from N(mean, exp(log_variance)), through which gradients pass."""
    return mean + (0.5 * log_variance).exp() * standard_normal(mean)


def warmed_up(weight: float, warmup: float, progress: Tensor) -> Tensor | float:
    """`weight`, or a smaller one as long as `progress`, float (), has not reached `warmup`."""
    return weight * (progress / warmup).clamp_max(1.0) if warmup > 0 else weight


class VariationalAutoencoder(GradientModel):
    """Decodes a draw from the posterior in training, and the posterior's mean in evaluation."""

    def __init__(self, shape: ChannelsFirst, architecture: VaeArchitecture) -> None:
        super().__init__()
        channels = (shape[0], *architecture.channels)
        self.architecture = architecture
        self.encoder = halving(channels[:-1], batch_norm=architecture.batch_norm)
        self.posterior = GaussianMap(channels[-2], channels[-1], rectified=architecture.rectified)
        self.decoder = doubling(channels[::-1], batch_norm=architecture.batch_norm)

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to the means of their posteriors, (B, d, h, w)."""
        mean: Tensor = self.posterior(self.encoder(images))[0]
        return mean

    def decode(self, latent: Tensor) -> Tensor:
        """Means or draws (B, d, h, w) to images (B, C, H, W)."""
        images: Tensor = self.decoder(latent)
        return images

    def forward(self, images: Tensor) -> Output:
        mean, log_variance = self.posterior(self.encoder(images))
        return Output(self.decode(mean), flat_latent(mean), {"kl": gaussian_kl(mean, log_variance)})

    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(self.encoder(images))
        reconstruction = self.decode(add_noise(sample(mean, log_variance), latent_noise_scale))
        weight = warmed_up(self.architecture.kl_weight, self.architecture.kl_warmup, progress)
        return reconstruction, weight * gaussian_kl(mean, log_variance).mean() / images[0].numel()


def suggest(trial: Sampler, widths: Sequence[int]) -> VaeArchitecture:
    """The width, from which the channels double, the bottleneck, and how much and from when the divergence counts."""
    width = trial.suggest_categorical("width", widths)
    return VaeArchitecture(
        channels=(width, 2 * width, trial.suggest_int("bottleneck_channels", 1, 64, log=True)),
        batch_norm=trial.suggest_categorical("batch_norm", [False, True]),
        kl_weight=trial.suggest_float("kl_weight", 1e-4, 1.0, log=True),
        kl_warmup=trial.suggest_float("kl_warmup", 0.0, 0.5),
    )


_COURSE_BATCH, _COURSE_PIXELS = 2000, 64 * 64 * 3

FAMILY = Family(
    name="vae",
    summary="convolutional variational autoencoder",
    suits="as cnn, with a smooth bottleneck",
    architecture=VaeArchitecture,
    suggest=suggest,
    start=(
        {
            "width": 12,
            "bottleneck_channels": 4,
            "batch_norm": True,
            "kl_weight": 0.01,
            "kl_warmup": 0.25,
            **USUAL_START,
            "latent_noise_scale": 0.0,
        },
    ),
    presets={
        "vae-sample": Preset(
            architecture=VaeArchitecture(rectified=True, kl_weight=float(_COURSE_BATCH * _COURSE_PIXELS)),
            source="sample code of Hung-yi Lee's ML2022 homework 8, divergence summed over the batch included",
            training={
                **NOISELESS_MSE,
                "epochs": 50,
                "batch_size": _COURSE_BATCH,
                "learning_rate": 1e-3,
            },
        ),
    },
    side_multiple=_STRIDE,
    widths=(6, 12, 24, 48),
    cpu_width=24,
)
