"""A small ResNet autoencoder and a second, auxiliary decoder, by which images are scored.

Source: the "ResNet and auxiliary network" solution published for Hung-yi Lee's ML2022 homework 8. Its write-ups print
both networks: a ResNet encoder of (2, 1, 1, 1) blocks to 64 numbers, a decoder of transposed convolutions, and an
auxiliary decoder of the same layers. About the auxiliary's training they say that the ResNet trains as without it, that
the ResNet controls the auxiliary's loss, and that the scores are the auxiliary's; they do not print the step itself.

We read it so: the auxiliary decodes the same bottleneck and learns to give what the first decoder gives, and passes no
gradient to the ResNet. Where the two disagree, the image is unlike those that they agreed on (as in random network
distillation, Burda et al. 2019, arXiv:1810.12894), so their distance is an error vector too. With `auxiliary_target`
"image" the auxiliary learns the image instead, which is the other way to read it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import ADDED_LATER, Architecture
from ensemble_ad.families.base import NOISELESS_MSE, USUAL_START, Family, Preset
from ensemble_ad.families.convolution import Convolution, doubling
from ensemble_ad.families.encoders import BLOCKS, ENCODERS, Encoder, check_encoder, choices, encoder, places
from ensemble_ad.families.model import GradientModel, Output
from ensemble_ad.families.noise import add_noise
from ensemble_ad.families.ranges import Sampler
from ensemble_ad.families.reconstruction import root_sum_squares

_BLOCKS = {"4": (1, 1, 1, 1), "5": (2, 1, 1, 1), "8": (2, 2, 2, 2)}
_TARGETS = ("reconstruction", "image")
_STRIDE = 16


@dataclass(frozen=True, kw_only=True)
class ResnetAuxArchitecture(Architecture):
    """Hyperparameters of the encoder and of both decoders.

    Attributes:
        blocks: residual blocks in each of the encoder's four stages; every stage halves height and width.
        width: channels before the first stage; the stages have 2, 4, 4 and 2 times as many.
        bottleneck: how many numbers an image is squeezed into.
        dropout: share of the last feature map that is left out in training.
        auxiliary_target: what the auxiliary decoder learns to give, the first decoder's "reconstruction" or the
            "image", with the noise that was added to it.
        encoder: `blocks`, or one of `encoders.ENCODERS`, which has blocks and channels of its own.
    """

    blocks: tuple[int, ...] = (2, 1, 1, 1)
    width: int = 32
    bottleneck: int = 64
    dropout: float = 0.2
    auxiliary_target: Literal["reconstruction", "image"] = "reconstruction"
    encoder: Encoder | Literal["blocks"] = field(default="blocks", metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if len(self.blocks) != 4 or min(self.blocks) < 1:
            raise UsageError(f"a resnet_aux has four stages of one or more blocks, not {self.blocks}")
        if self.width < 1 or self.bottleneck < 1:
            raise UsageError(
                f"a resnet_aux needs a width and a bottleneck of 1 or more, not {self.width} and {self.bottleneck}"
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"a dropout must be 0 or more and below 1, not {self.dropout}")
        if self.auxiliary_target not in _TARGETS:
            raise UsageError(f"auxiliary_target must be one of {', '.join(_TARGETS)}, not {self.auxiliary_target!r}")
        check_encoder(self.encoder, "resnet_aux")

    def build(self, shape: ChannelsFirst) -> "ResnetAuxAutoencoder":
        return ResnetAuxAutoencoder(shape, self)


class _Block(nn.Module):
    """Two convolutions and a shortcut; as published, all with biases."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            Convolution(channels_in, channels, 3, stride, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            Convolution(channels, channels, 3, 1, 1),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            # A convolution of kernel 1 and stride 2 in two steps, since the backward pass of one of 2 to 7 channels,
            # in the channels-last layout on a CPU, ends the process in torch 2.15.
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(1, stride), nn.Conv2d(channels_in, channels, 1), nn.BatchNorm2d(channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.residual(features) + self.shortcut(features))


def _blocks(channels_in: int, architecture: ResnetAuxArchitecture) -> nn.Sequential:
    width = architecture.width
    layers = nn.Sequential(nn.Conv2d(channels_in, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    stages = pairwise((width, 2 * width, 4 * width, 4 * width, 2 * width))
    for (before, after), n_blocks in zip(stages, architecture.blocks, strict=True):
        layers.append(_Block(before, after, 2))
        layers.extend(_Block(after, after, 1) for _ in range(n_blocks - 1))
    return layers


def _encoder(shape: ChannelsFirst, architecture: ResnetAuxArchitecture, features: int) -> nn.Sequential:
    if architecture.encoder == BLOCKS:
        layers = _blocks(shape[0], architecture)
    else:
        layers = encoder(architecture.encoder, shape)
        features = ENCODERS[architecture.encoder] * math.prod(places(shape[1:]))
    squeeze = nn.Linear(features, architecture.bottleneck)
    return layers.extend(
        [nn.Flatten(), nn.Dropout(architecture.dropout), squeeze, nn.BatchNorm1d(architecture.bottleneck), nn.ReLU()]
    )


def _decoder(map_shape: ChannelsFirst, bottleneck: int, channels: int, width: int) -> nn.Sequential:
    features = math.prod(map_shape)
    return nn.Sequential(
        nn.Linear(bottleneck, features),
        nn.BatchNorm1d(features),
        nn.ReLU(),
        nn.Unflatten(1, map_shape),
        *doubling((map_shape[0], 4 * width, 4 * width, 4 * width, channels), batch_norm=True),
    )


class ResnetAuxAutoencoder(GradientModel):
    """The published system, of any width and depth."""

    def __init__(self, shape: ChannelsFirst, architecture: ResnetAuxArchitecture) -> None:
        super().__init__()
        width, bottleneck = architecture.width, architecture.bottleneck
        map_shape = (2 * width, shape[1] // _STRIDE, shape[2] // _STRIDE)
        self.architecture = architecture
        self.encoder = _encoder(shape, architecture, math.prod(map_shape))
        self.decoder = _decoder(map_shape, bottleneck, shape[0], width)
        self.auxiliary = _decoder(map_shape, bottleneck, shape[0], width)

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to bottlenecks (B, d)."""
        latent: Tensor = self.encoder(images)
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        """Bottlenecks (B, d) to images (B, C, H, W) by the auxiliary decoder, whose output is the reconstruction."""
        images: Tensor = self.auxiliary(latent)
        return images

    def forward(self, images: Tensor) -> Output:
        latent = self.encode(images)
        first, second = self.decoder(latent), self.decode(latent)
        columns = {"first_rss": root_sum_squares(images, first), "decoder_gap": root_sum_squares(first, second)}
        return Output(second, latent, columns)

    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: Tensor) -> tuple[Tensor, Tensor]:
        latent = add_noise(self.encode(images), latent_noise_scale)
        reconstruction = self.decoder(latent)
        target = reconstruction if self.architecture.auxiliary_target == "reconstruction" else images
        return reconstruction, functional.mse_loss(self.auxiliary(latent.detach()).float(), target.detach().float())


def suggest(trial: Sampler, widths: Sequence[int]) -> ResnetAuxArchitecture:
    """The encoder, its depth, width, bottleneck and dropout, and what the auxiliary decoder learns."""
    taken = trial.suggest_categorical("encoder", choices(2 * widths[-1]))  # its stages have twice the channels
    blocks = trial.suggest_categorical("blocks", list(_BLOCKS)) if taken == BLOCKS else "5"
    return ResnetAuxArchitecture(
        encoder=taken,
        blocks=_BLOCKS[blocks],
        width=trial.suggest_categorical("width", widths),
        bottleneck=trial.suggest_int("bottleneck", 4, 256, log=True),
        dropout=trial.suggest_float("dropout", 0.0, 0.5),
        auxiliary_target=trial.suggest_categorical("auxiliary_target", list(_TARGETS)),
    )


FAMILY = Family(
    name="resnet_aux",
    summary="small ResNet autoencoder, scored by an auxiliary decoder that learns the first decoder's output",
    suits="many images and a GPU; scores a second decoder",
    architecture=ResnetAuxArchitecture,
    suggest=suggest,
    start=(
        {
            "encoder": "blocks",
            "blocks": "5",
            "width": 8,
            "bottleneck": 32,
            "dropout": 0.2,
            "auxiliary_target": "reconstruction",
            **USUAL_START,
        },
    ),
    presets={
        "resnet-aux": Preset(
            architecture=ResnetAuxArchitecture(),
            source="published 'ResNet and auxiliary network' solution of the ML2022 homework 8 contest, above 0.795",
            training={
                **NOISELESS_MSE,
                "epochs": 100,
                "batch_size": 128,
                "learning_rate": 1e-3,
            },
        ),
    },
    side_multiple=_STRIDE,
    widths=(4, 8, 16, 32),
    cpu_width=8,
)
