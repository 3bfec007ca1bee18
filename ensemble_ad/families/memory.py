"""Memory-augmented autoencoder, MemAE (Gong et al. 2019, ICCV, "Memorizing normality to detect anomaly").

What the encoder gives is a query. The decoder sees a weighted mean of learnt memory slots instead, so that an anomaly
is rebuilt from normal parts. The weights are a softmax of the cosine similarities of query and slots; sparse addressing
cuts those below a multiple of 1 / slots to 0 (hard shrinkage) and scales the rest to a sum of 1. The mean entropy of
the weights is part of the loss.

What is ours:

- the layers, since the paper has others for each of its data sets;
- a softmax temperature, which is 1 in the paper;
- an encoder that makes one query of a whole image ("fcn"), beside that with a query for each place of the feature map
  ("cnn");
- the largest weight is never cut, for there may be none above the threshold;
- the entropies of an image's queries are summed and divided by its pixels, since the training loss is a mean over
  pixels and the paper's a sum; `entropy_weight` is then the paper's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.base import NOISELESS_MSE, USUAL_START, Family, Preset
from ensemble_ad.families.convolution import doubling, halving
from ensemble_ad.families.latent import flat_latent
from ensemble_ad.families.linear import linear_stack
from ensemble_ad.families.model import GradientModel, Output
from ensemble_ad.families.noise import add_noise
from ensemble_ad.families.ranges import Sampler

_ENCODERS = ("fcn", "cnn")
_STRIDE = 8


@dataclass(frozen=True, kw_only=True)
class MemoryArchitecture(Architecture):
    """Hyperparameters of encoder, memory and decoder.

    Attributes:
        encoder: "fcn", one query for an image, or "cnn", a query for each place of the feature map.
        width: units of the fully connected hidden layer, or channels of the first feature map, doubled at the second.
        bottleneck: length of a query and of a slot.
        slots: number of slots in the memory.
        shrinkage: weights below this multiple of 1 / slots are cut to 0; the paper has 1 to 3, 0 is dense addressing.
        temperature: temperature of the softmax over the similarities; a low one is sharp.
        entropy_weight: weight of the entropy, which is summed over an image's queries and divided by its pixels.
    """

    encoder: Literal["fcn", "cnn"] = "cnn"
    width: int = 16
    bottleneck: int = 64
    slots: int = 500
    shrinkage: float = 1.0
    temperature: float = 1.0
    entropy_weight: float = 2e-4

    def __post_init__(self) -> None:
        if self.encoder not in _ENCODERS:
            raise UsageError(f"a memory's encoder must be one of {', '.join(_ENCODERS)}, not {self.encoder!r}")
        if min(self.width, self.bottleneck, self.slots) < 1:
            raise UsageError(
                f"width, bottleneck and slots must be 1 or more, not {self.width}, {self.bottleneck} and {self.slots}"
            )
        if min(self.shrinkage, self.entropy_weight) < 0 or self.temperature <= 0:
            raise UsageError(
                "shrinkage and entropy_weight must be 0 or more and temperature above 0, not "
                f"{self.shrinkage}, {self.entropy_weight} and {self.temperature}"
            )

    def build(self, shape: ChannelsFirst) -> "MemoryAutoencoder":
        return MemoryAutoencoder(shape, self)


class Memory(nn.Module):
    """Slots, read by their similarity to a query."""

    def __init__(self, architecture: MemoryArchitecture) -> None:
        super().__init__()
        self.temperature = architecture.temperature
        self.threshold = architecture.shrinkage / architecture.slots
        bound = architecture.bottleneck**-0.5
        self.slots = nn.Parameter(torch.empty(architecture.slots, architecture.bottleneck).uniform_(-bound, bound))

    def forward(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Read the memory.

        Args:
            queries: float (B, q, d), q queries for each image.

        Returns:
            What is read, (B, q, d), and the weights of the slots, (B, q, slots), which sum to 1 for each query.
        """
        # In float32, since a low temperature blows up what bfloat16 rounds.
        with torch.autocast(queries.device.type, enabled=False):
            similarity = functional.normalize(queries.float(), dim=-1) @ functional.normalize(self.slots, dim=-1).T
            weights = (similarity / self.temperature).softmax(-1)
            if self.threshold > 0:
                threshold = weights.amax(-1, keepdim=True).clamp_max(self.threshold)
                weights = functional.normalize(weights * (weights >= threshold), p=1, dim=-1)
            return weights @ self.slots, weights


def entropy(weights: Tensor) -> Tensor:
    """Entropy in nats of weights (..., slots) that sum to 1; where a weight is 0 it adds nothing."""
    return -torch.xlogy(weights, weights.clamp_min(torch.finfo(weights.dtype).tiny)).sum(-1)


class MemoryAutoencoder(GradientModel):
    """Encoder, memory and decoder."""

    def __init__(self, shape: ChannelsFirst, architecture: MemoryArchitecture) -> None:
        super().__init__()
        width, bottleneck = architecture.width, architecture.bottleneck
        self.entropy_weight = architecture.entropy_weight
        if architecture.encoder == "fcn":
            pixels = math.prod(shape)
            # The query is a feature map of one place, so that the memory is read alike for both kinds of encoder.
            self.encoder = nn.Sequential(
                nn.Flatten(),
                *linear_stack((pixels, width, bottleneck), batch_norm=True),
                nn.Unflatten(1, (bottleneck, 1, 1)),
            )
            self.decoder = nn.Sequential(
                nn.Flatten(),
                *linear_stack((bottleneck, width, pixels), batch_norm=True),
                nn.Tanh(),
                nn.Unflatten(1, shape),
            )
        else:
            channels = (shape[0], width, 2 * width, bottleneck)
            self.encoder = halving(channels, batch_norm=True, activate_last=False)
            self.decoder = doubling(channels[::-1], batch_norm=True)
        self.memory = Memory(architecture)

    def read(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps (B, d, h, w) to what the memory has for them, of the same shape, and weights (B, h w, slots)."""
        read, weights = self.memory(features.flatten(2).transpose(1, 2))
        return read.transpose(1, 2).unflatten(2, features.shape[2:]), weights

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to queries, feature maps (B, d, h, w); where the encoder is "fcn", maps of one place."""
        features: Tensor = self.encoder(images)
        return features

    def decode(self, latent: Tensor) -> Tensor:
        """Queries (B, d, h, w) to images (B, C, H, W), by way of what the memory has for them."""
        images: Tensor = self.decoder(self.read(latent)[0])
        return images

    def forward(self, images: Tensor) -> Output:
        features = self.encode(images)
        read, weights = self.read(features)
        return Output(self.decoder(read), flat_latent(features), {"attention_entropy": entropy(weights).mean(1)})

    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: Tensor) -> tuple[Tensor, Tensor]:
        read, weights = self.read(add_noise(self.encode(images), latent_noise_scale))
        return self.decoder(read), self.entropy_weight * entropy(weights).sum(1).mean() / images[0].numel()


def suggest(trial: Sampler, widths: Sequence[int]) -> MemoryArchitecture:
    """The encoder, the memory's size and addressing, and how much the entropy counts."""
    encoder = trial.suggest_categorical("encoder", list(_ENCODERS))
    width = trial.suggest_categorical("width", widths)
    addressing = trial.suggest_categorical("addressing", ["dense", "sparse"])
    return MemoryArchitecture(
        encoder=encoder,
        width=width if encoder == "fcn" else max(2, width // 16),
        bottleneck=trial.suggest_int("bottleneck", 4, 128, log=True),
        slots=trial.suggest_int("slots", 16, 1024, log=True),
        shrinkage=trial.suggest_float("shrinkage", 0.5, 3.0) if addressing == "sparse" else 0.0,
        temperature=trial.suggest_float("temperature", 0.02, 1.0, log=True),
        entropy_weight=trial.suggest_float("entropy_weight", 1e-4, 1.0, log=True),
    )


_PAPER = "memory of Gong et al. 2019 (ICCV) on layers of ours, for the paper has none for faces; training is ours too"
_TRAINING = {**NOISELESS_MSE, "epochs": 50, "batch_size": 256, "learning_rate": 1e-3}

FAMILY = Family(
    name="memory",
    summary="memory-augmented autoencoder (MemAE), dense or sparse addressing",
    suits="normal images of a few kinds, whose codes it keeps",
    architecture=MemoryArchitecture,
    suggest=suggest,
    start=tuple(
        {
            "encoder": encoder,
            "width": 256,
            "addressing": "sparse",
            "bottleneck": 32,
            "slots": 256,
            "shrinkage": 1.0,
            "temperature": 0.1,
            "entropy_weight": 2e-4,
            **USUAL_START,
        }
        for encoder in _ENCODERS
    ),
    presets={
        "memory-sparse": Preset(architecture=MemoryArchitecture(), source=_PAPER, training=_TRAINING),
        "memory-dense": Preset(architecture=MemoryArchitecture(shrinkage=0.0), source=_PAPER, training=_TRAINING),
    },
    side_multiple=_STRIDE,
    widths=(128, 256, 512, 1024),
    cpu_width=512,
)
