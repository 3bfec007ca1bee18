"""What a family of models is: a module, its hyperparameters, its search space and its published presets."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble_ad.errors import UsageError

_LATENT_SIZE = 512

Shape = tuple[int, int, int]
"""(channels, height, width) of what a model takes."""


class Output(NamedTuple):
    """What one pass of a model gives for a batch of B images.

    Attributes:
        reconstruction: float (B, C, H, W) in [-1, 1].
        latent: float (B, d), the bottleneck.
        columns: further error vectors by name, each float (B,), higher = more anomalous (a classifier's logit, a KL).
    """

    reconstruction: Tensor
    latent: Tensor
    columns: Mapping[str, Tensor]


class Model(nn.Module, ABC):
    """A reconstructing model; a family's module derives from it."""

    @abstractmethod
    def forward(self, images: Tensor) -> Output:
        """Reconstruct.

        Args:
            images: float (B, C, H, W) in [-1, 1].
        """

    @abstractmethod
    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: float) -> tuple[Tensor, Tensor]:
        """One pass while training.

        Args:
            images: float (B, C, H, W), noise already added.
            latent_noise_scale: standard deviation of the Gaussian noise on the bottleneck.
            progress: share of all steps already done, of [0, 1), for whatever warms up.

        Returns:
            The reconstruction (B, C, H, W), and a scalar that the family adds to the reconstruction loss.
        """


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """A family's own hyperparameters: numbers, strings and tuples of them, so that `asdict` of it is JSON."""

    @abstractmethod
    def build(self, shape: Shape) -> Model:
        """The untrained model for images of `shape`, its weights drawn from torch's global generator."""


class Sampler(Protocol):
    """The part of `optuna.Trial` that a search space uses."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A float of [low, high]."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """An int of [low, high]."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of `choices`."""


@dataclass(frozen=True, kw_only=True)
class SearchRanges:
    """What a study searches besides the architecture; a family that needs other ranges gives its own.

    Attributes:
        crop: lowest and highest fraction of the side; tried in steps of 1/16, so that few crops are ever cached.
        learning_rate: lowest and highest, on a log scale.
        weight_decay: the same.
        batch_size: the ones to try.
        warmup_ratio, noise_scale, latent_noise_scale: lowest and highest.
        loss: the names to try.
        epochs: lowest share of `--epochs`; the learning rate's schedule ends with the epochs.
    """

    crop: tuple[float, float] = (0.4375, 1.0)
    learning_rate: tuple[float, float] = (2e-4, 5e-3)
    weight_decay: tuple[float, float] = (1e-6, 1e-1)
    batch_size: tuple[int, ...] = (64, 128, 256, 512)
    warmup_ratio: tuple[float, float] = (0.0, 0.3)
    noise_scale: tuple[float, float] = (0.0, 0.5)
    latent_noise_scale: tuple[float, float] = (0.0, 0.5)
    loss: tuple[str, ...] = ("mse", "l1", "ssim")
    epochs: float = 0.25

    def suggest(self, trial: Sampler, epochs: int) -> tuple[float, dict[str, Any]]:
        """Draw a crop, and values for `train.TrainSettings` (all but the seed)."""
        crop = trial.suggest_float("crop", *self.crop, step=1 / 16)
        return crop, {
            "epochs": trial.suggest_int("epochs", max(1, round(self.epochs * epochs)), epochs),
            "batch_size": trial.suggest_categorical("batch_size", self.batch_size),
            "learning_rate": trial.suggest_float("learning_rate", *self.learning_rate, log=True),
            "weight_decay": trial.suggest_float("weight_decay", *self.weight_decay, log=True),
            "warmup_ratio": trial.suggest_float("warmup_ratio", *self.warmup_ratio),
            "noise_scale": trial.suggest_float("noise_scale", *self.noise_scale),
            "latent_noise_scale": trial.suggest_float("latent_noise_scale", *self.latent_noise_scale),
            "loss": trial.suggest_categorical("loss", self.loss),
        }


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published system, as published.

    Attributes:
        architecture: the family's hyperparameters.
        source: who published it.
        crop: fraction of the side that the crop keeps, (height, width).
        size: what the crop is resized to, (height, width); None keeps the images' own.
        training: what it sets of `train.TrainSettings`.
    """

    architecture: Architecture
    source: str
    crop: tuple[float, float] = (1.0, 1.0)
    size: tuple[int, int] | None = None
    training: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of model.

    Attributes:
        name: what people type.
        summary: one line for `ensad families`.
        architecture: the dataclass of its hyperparameters.
        suggest: the search space: (trial, widths to try) to an architecture.
        start: parameter values that a study tries first; what they leave out is drawn.
        presets: the published systems by name.
        side_multiple: height and width must be multiples of this.
        widths: the widths that a study tries with a GPU, ascending.
        cpu_width: the largest of them that it tries by itself without one.
    """

    name: str
    summary: str
    architecture: type[Architecture]
    suggest: Callable[[Sampler, Sequence[int]], Architecture]
    start: tuple[Mapping[str, Any], ...]
    presets: Mapping[str, Preset]
    side_multiple: int
    widths: tuple[int, ...]
    cpu_width: int
    ranges: SearchRanges = SearchRanges()

    def widths_up_to(self, most: int) -> tuple[int, ...]:
        """The widths to try of at most `most`.

        Raises:
            UsageError: if there is none.
        """
        widths = tuple(width for width in self.widths if width <= most)
        if not widths:
            raise UsageError(f"--max-width must be {self.widths[0]} or more for {self.name}, not {most}")
        return widths

    def check_shape(self, shape: Shape) -> None:
        """Say which sides this family takes.

        Raises:
            UsageError: if `shape` is not one of them.
        """
        if any(side % self.side_multiple for side in shape[1:]):
            raise UsageError(
                f"{self.name} takes images whose sides are multiples of {self.side_multiple} "
                f"({self.side_multiple}, {2 * self.side_multiple}, ... up to 256), not {shape[1]}x{shape[2]}; "
                f"resize with --size {max(16, round(shape[1] / self.side_multiple) * self.side_multiple)}"
            )


def architecture_json(architecture: Architecture) -> dict[str, Any]:
    """An architecture as JSON values (tuples become lists)."""
    values = asdict(architecture)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def architecture_from_json(kind: type[Architecture], values: Mapping[str, Any]) -> Architecture:
    """The inverse of `architecture_json`."""
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def count_parameters(model: nn.Module) -> int:
    """How many numbers training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def add_noise(values: Tensor, scale: float) -> Tensor:
    """`values` plus Gaussian noise of standard deviation `scale`; `values` itself where the scale is 0."""
    return values + scale * torch.randn_like(values) if scale > 0 else values


def flat_latent(*features: Tensor, size: int = _LATENT_SIZE) -> Tensor:
    """Bottlenecks as one vector an image that a covariance can be fitted to.

    A feature map of more numbers than its equal share of `size` is averaged over areas to the finest grid that fits;
    one of more channels than that is averaged over all places, then over neighbouring channels. Vectors stay as they
    are.

    Args:
        features: float (B, C, H, W) or (B, d) each.
        size: the most numbers that feature maps may come to, shared equally.

    Returns:
        float (B, n), the features one after the other.
    """
    return torch.cat([_flat(values, size // len(features)) for values in features], dim=1)


def _flat(values: Tensor, size: int) -> Tensor:
    if values.ndim == 2 or values[0].numel() <= size:
        return values.flatten(1)
    channels, height, width = values.shape[1:]
    if channels > size:
        return functional.adaptive_avg_pool1d(values.mean((2, 3))[:, None], size).flatten(1)
    rows = min(height, math.isqrt(size // channels))
    return functional.adaptive_avg_pool2d(values, (rows, min(width, size // channels // rows))).flatten(1)
