"""Fully connected autoencoders: the family that wins this contest, from the course's sample to its best report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.base import NOISELESS_MSE, USUAL_START, Family, Preset
from ensemble_ad.families.linear import ACTIVATIONS, Activation, linear_stack
from ensemble_ad.families.model import GradientModel, Output
from ensemble_ad.families.noise import add_noise
from ensemble_ad.families.ranges import Sampler, SearchRanges


@dataclass(frozen=True, kw_only=True)
class FcnArchitecture(Architecture):
    """An encoder of linear layers and its mirror image.

    Attributes:
        widths: units of the encoder's layers after the pixels; the last is the bottleneck.
        activation: what follows each layer but the bottleneck and the last, which a Tanh follows.
        batch_norm: whether batch normalisation stands before each activation.
        activate_bottleneck: whether normalisation and activation follow the bottleneck too (as in `fcn-report`).
    """

    widths: tuple[int, ...]
    activation: Activation = "relu"
    batch_norm: bool = False
    activate_bottleneck: bool = False

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise UsageError(f"the widths of an fcn must be one or more positive numbers, not {self.widths}")
        if self.activation not in ACTIVATIONS:
            raise UsageError(f"an fcn's activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation!r}")

    def build(self, shape: ChannelsFirst) -> "FcnAutoencoder":
        return FcnAutoencoder(shape, self)


class FcnAutoencoder(GradientModel):
    """Linear layers from the pixels to the bottleneck and back."""

    def __init__(self, shape: ChannelsFirst, architecture: FcnArchitecture) -> None:
        super().__init__()
        self.shape = shape
        pixels = math.prod(shape)
        forth = (pixels, *architecture.widths)
        activation, batch_norm = architecture.activation, architecture.batch_norm
        self.encoder = linear_stack(
            forth, activation=activation, batch_norm=batch_norm, activate_last=architecture.activate_bottleneck
        )
        self.decoder = linear_stack(forth[::-1], activation=activation, batch_norm=batch_norm)
        self.decoder.append(nn.Tanh())

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to bottlenecks (B, d)."""
        latent: Tensor = self.encoder(images.flatten(1))
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        """Bottlenecks (B, d) to images (B, C, H, W)."""
        images: Tensor = self.decoder(latent).unflatten(1, self.shape)
        return images

    def forward(self, images: Tensor) -> Output:
        latent = self.encode(images)
        return Output(self.decode(latent), latent, {})

    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: Tensor) -> tuple[Tensor, Tensor]:
        latent = add_noise(self.encode(images), latent_noise_scale)
        return self.decode(latent), torch.zeros((), device=images.device)


def suggest(trial: Sampler, widths: Sequence[int]) -> FcnArchitecture:
    """The first width, and hidden layers that shrink by a common factor towards the bottleneck."""
    first = trial.suggest_categorical("width", widths)
    depth = trial.suggest_int("hidden_layers", 1, 3)
    taper = trial.suggest_categorical("taper", [1, 2, 4]) if depth > 1 else 1
    bottleneck = trial.suggest_int("bottleneck", 4, 256, log=True)
    return FcnArchitecture(
        widths=(*(max(first // taper**i, bottleneck) for i in range(depth)), bottleneck),
        activation=trial.suggest_categorical("activation", list(ACTIVATIONS)),
        batch_norm=trial.suggest_categorical("batch_norm", [False, True]),
    )


_WRITE_UP = "published solution of the ML2022 homework 8 contest, scored 0.66 to 0.83 on Kaggle's private test set"
_REPORT = "published report of the ML2022 homework 8 contest; its training settings are not, these are the course's"
_BLEND = "member of a published blend of the ML2022 homework 8 contest (0.878); training settings are the course's"
_COURSE = "sample code of Hung-yi Lee's ML2022 homework 8"

FAMILY = Family(
    name="fcn",
    summary="fully connected autoencoder",
    suits="images that lie alike, such as faces or digits: each pixel has weights of its own",
    architecture=FcnArchitecture,
    suggest=suggest,
    start=(
        {
            "width": 512,
            "hidden_layers": 1,
            "bottleneck": 32,
            "activation": "prelu",
            "batch_norm": True,
            **USUAL_START,
        },
        {
            "width": 128,
            "hidden_layers": 3,
            "taper": 2,
            "bottleneck": 12,
            "activation": "relu",
            "batch_norm": False,
            **USUAL_START,
        },
    ),
    presets={
        "fcn-sample": Preset(
            architecture=FcnArchitecture(widths=(128, 64, 12, 3)),
            source=_COURSE,
            training={**NOISELESS_MSE, "epochs": 50, "batch_size": 2000, "learning_rate": 1e-3},
        ),
        "fcn-medium": Preset(
            architecture=FcnArchitecture(widths=(1024, 512, 256, 64, 10)),
            source=_WRITE_UP,
            training={**NOISELESS_MSE, "epochs": 50, "batch_size": 2000, "learning_rate": 1e-3},
        ),
        "fcn-strong": Preset(
            architecture=FcnArchitecture(widths=(2048, 1024, 512, 256, 128)),
            source=_WRITE_UP,
            training={**NOISELESS_MSE, "epochs": 100, "batch_size": 2000, "learning_rate": 1e-3},
        ),
        "fcn-boss": Preset(
            architecture=FcnArchitecture(widths=(4096, 2048, 1024, 256, 128), activation="prelu", batch_norm=True),
            source=_WRITE_UP,
            crop=(196 / 256, 196 / 256),
            via=256,
            training={
                **NOISELESS_MSE,
                "epochs": 100,
                "batch_size": 1024,
                "learning_rate": 1e-3,
                "warmup_ratio": 0.115,
            },
        ),
        "fcn-report": Preset(
            architecture=FcnArchitecture(widths=(4096, 2048), batch_norm=True, activate_bottleneck=True),
            source=_REPORT,
            training={**NOISELESS_MSE, "epochs": 50, "batch_size": 2000, "learning_rate": 1e-3},
        ),
        "fcn-crop": Preset(
            architecture=FcnArchitecture(widths=(1024, 32), activation="prelu", batch_norm=True),
            source=_BLEND,
            crop=(36 / 64, 40 / 64),
            size=(36, 40),
            training={**NOISELESS_MSE, "epochs": 50, "batch_size": 2000, "learning_rate": 1e-3},
        ),
    },
    side_multiple=1,
    widths=(128, 256, 512, 1024, 2048, 4096),
    cpu_width=1024,
    # With fewer than some 2,300 images a step, a GPU spends more time on weights and optimizer than on products.
    ranges=SearchRanges(gpu_batch_size=(256, 512, 1024, 2048, 4096)),
)
