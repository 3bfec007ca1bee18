"""ResNet encoder, transposed-convolution residual decoder, and a classifier of clean against noisy reconstructions.

Source: the "resnet + noise + classifier" solution published for Hung-yi Lee's ML2022 homework 8. In training the
decoder runs twice, on the bottleneck and on the bottleneck plus Gaussian noise. The classifier has to tell the two
pictures apart; its binary cross entropy, times 0.1, is added to the reconstruction loss. The encoder is a ResNet of
torchvision's basic blocks (He et al. 2016, arXiv:1512.03385), ResNet-18 in the published system, or another of
torchvision's networks (`encoders`), untrained and without its head.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import ADDED_LATER, Architecture
from ensemble_ad.families.base import NOISELESS_MSE, USUAL_START, Family, Preset
from ensemble_ad.families.convolution import Convolution, Doubling, fast_on_small_maps
from ensemble_ad.families.encoders import BLOCKS, ENCODERS, STRIDE, Encoder, check_encoder, choices, encoder, places
from ensemble_ad.families.model import GradientModel, Output
from ensemble_ad.families.noise import add_noise
from ensemble_ad.families.ranges import Sampler

_BLOCKS = {"10": (1, 1, 1, 1), "small": (2, 1, 1, 1), "18": (2, 2, 2, 2)}


@dataclass(frozen=True, kw_only=True)
class ResnetArchitecture(Architecture):
    """Hyperparameters of the encoder, the decoder and the classifier.

    Attributes:
        blocks: basic blocks in each of the encoder's four stages; (2, 2, 2, 2) is ResNet-18.
        width: channels of the first stage, doubled at each further one; 64 is ResNet-18. The decoder has as many.
        bottleneck: how many numbers an image is squeezed into.
        classifier_weight: weight of the classifier's loss; 0 leaves the classifier out.
        encoder: `blocks`, or one of `encoders.ENCODERS`, which has blocks and channels of its own.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    bottleneck: int = 256
    classifier_weight: float = 0.1
    encoder: Encoder | Literal["blocks"] = field(default="blocks", metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if len(self.blocks) != 4 or min(self.blocks) < 1:
            raise UsageError(f"a resnet has four stages of one or more blocks, not {self.blocks}")
        if self.width < 8 or self.bottleneck < 1:
            # Below 8 channels torch 2.15's CPU kernel for channels-last 1x1 convolutions of stride 2 crashes.
            raise UsageError(
                f"a resnet needs a width of 8 or more and a bottleneck, not {self.width} and {self.bottleneck}"
            )
        if self.classifier_weight < 0:
            raise UsageError(f"a classifier's weight must be 0 or more, not {self.classifier_weight}")
        check_encoder(self.encoder, "resnet")

    def build(self, shape: ChannelsFirst) -> "ResnetAutoencoder":
        return ResnetAutoencoder(shape, self)


def _block(channels_in: int, channels: int, stride: int = 1) -> nn.Module:
    from torchvision.models.resnet import BasicBlock  # here, since importing it takes 160 MB and a second

    shortcut = None
    if stride != 1 or channels_in != channels:
        shortcut = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
    block: nn.Module = BasicBlock(channels_in, channels, stride, shortcut)
    return fast_on_small_maps(block)


def _upsample(channels_in: int, channels: int) -> list[nn.Module]:
    return [Doubling(channels_in, channels), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def _encoder(shape: ChannelsFirst, architecture: ResnetArchitecture) -> nn.Sequential:
    width = architecture.width
    layers: list[nn.Module] = [
        nn.Conv2d(shape[0], width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    before = width
    for stage, n_blocks in enumerate(architecture.blocks):
        channels = width * 2**stage
        stride = 1 if stage == 0 else 2
        layers.append(_block(before, channels, stride))
        layers += [_block(channels, channels) for _ in range(n_blocks - 1)]
        before = channels
    encoder = nn.Sequential(*layers)
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):  # as torchvision's ResNet draws them
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return encoder


def _classifier(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in ((channels, 32), (32, 64), (64, 128)):
        layers += [Convolution(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 2))


class ResnetAutoencoder(GradientModel):
    """The published system, of any width and depth."""

    def __init__(self, shape: ChannelsFirst, architecture: ResnetArchitecture) -> None:
        super().__init__()
        width = architecture.width
        high, wide = places(shape[1:])
        self.deep_shape = (8 * width, high, wide)
        self.classifier_weight = architecture.classifier_weight
        if architecture.encoder == "blocks":
            self.encoder, channels = _encoder(shape, architecture), 8 * width
        else:
            self.encoder, channels = encoder(architecture.encoder, shape), ENCODERS[architecture.encoder]
        self.squeeze = nn.Linear(channels * high * wide, architecture.bottleneck)
        self.unsqueeze = nn.Linear(architecture.bottleneck, math.prod(self.deep_shape))
        self.decoder = nn.Sequential(
            *_upsample(8 * width, 4 * width),
            _block(4 * width, 2 * width),
            *_upsample(2 * width, 2 * width),
            _block(2 * width, width),
            *_upsample(width, width),
            *_upsample(width, width // 2),
            Doubling(width // 2, shape[0]),
            nn.Tanh(),
        )
        self.classifier = _classifier(shape[0]) if self.classifier_weight > 0 else None

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to bottlenecks (B, bottleneck)."""
        latent: Tensor = self.squeeze(self.encoder(images).flatten(1))
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        """Bottlenecks (B, bottleneck) to images (B, C, H, W)."""
        images: Tensor = self.decoder(self.unsqueeze(latent).unflatten(1, self.deep_shape))
        return images

    def forward(self, images: Tensor) -> Output:
        latent = self.encode(images)
        reconstruction = self.decode(latent)
        if self.classifier is None:
            return Output(reconstruction, latent, {})
        # The classifier's logits say how clean a reconstruction looks; their negative says how anomalous the image is.
        return Output(reconstruction, latent, {"logit": -self.classifier(reconstruction).mean(1)})

    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: Tensor) -> tuple[Tensor, Tensor]:
        latent = self.encode(images)
        reconstruction = self.decode(latent)
        if self.classifier is None:
            if latent_noise_scale > 0:
                reconstruction = self.decode(add_noise(latent, latent_noise_scale))
            return reconstruction, torch.zeros((), device=images.device)
        clean = self.classifier(reconstruction).float()
        noisy = self.classifier(self.decode(add_noise(latent, latent_noise_scale))).float()
        bce = functional.binary_cross_entropy_with_logits
        loss = bce(clean, torch.ones_like(clean)) + bce(noisy, torch.zeros_like(noisy))
        return reconstruction, self.classifier_weight * loss


def suggest(trial: Sampler, widths: Sequence[int]) -> ResnetArchitecture:
    """The encoder, its depth, width and bottleneck, and how much the classifier counts."""
    taken = trial.suggest_categorical("encoder", choices(widths[-1]))
    blocks = trial.suggest_categorical("blocks", list(_BLOCKS)) if taken == BLOCKS else "18"
    return ResnetArchitecture(
        encoder=taken,
        blocks=_BLOCKS[blocks],
        width=trial.suggest_categorical("width", widths),
        bottleneck=trial.suggest_int("bottleneck", 4, 256, log=True),
        classifier_weight=trial.suggest_float("classifier_weight", 0.01, 1.0, log=True),
    )


FAMILY = Family(
    name="resnet",
    summary="ResNet encoder, residual decoder, latent noise and a classifier of noisy reconstructions",
    suits="many images and a GPU",
    architecture=ResnetArchitecture,
    suggest=suggest,
    start=(
        {
            "encoder": "blocks",
            "blocks": "10",
            "width": 16,
            "bottleneck": 32,
            "classifier_weight": 0.1,
            **USUAL_START,
            "latent_noise_scale": 0.1,
        },
    ),
    presets={
        "resnet-boss": Preset(
            architecture=ResnetArchitecture(),
            source="published 'resnet + noise + classifier' solution of the ML2022 homework 8 contest, 0.81 on Kaggle",
            crop=(196 / 256, 196 / 256),
            via=256,
            training={
                **NOISELESS_MSE,
                "latent_noise_scale": 0.1,
                "epochs": 100,
                "batch_size": 512,
                "learning_rate": 1e-3,
                "warmup_ratio": 0.115,
            },
        ),
    },
    side_multiple=STRIDE,
    widths=(8, 16, 32, 64),
    cpu_width=16,
)
