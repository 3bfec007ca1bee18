"""What a family of models is: a module, its hyperparameters, its search space and its published presets."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble_ad.data.images import SIDES, ChannelsFirst
from ensemble_ad.errors import UsageError

_LATENT_SIZE = 512
_RATED_BATCH = 256


class Output(NamedTuple):
    """What one pass of a model gives for a batch of B images.

    Attributes:
        reconstruction: float (B, C, H, W) in [-1, 1]; None of a family that does not reconstruct.
        latent: float (B, d), the bottleneck, or the features that a classifier stands on; None where it is not in the
            same space for all images.
        columns: further error vectors by name, each float (B,), higher = more anomalous (a classifier's logit, a KL).
        latents: float (B, d) each, the bottlenecks of the encoders of a family that has several, by name.
    """

    reconstruction: Tensor | None
    latent: Tensor | None
    columns: Mapping[str, Tensor]
    latents: Mapping[str, Tensor] = MappingProxyType({})


class Model(nn.Module, ABC):
    """What scores images. A family's module derives from one of the classes below, which say how it is trained."""

    @abstractmethod
    def forward(self, images: Tensor) -> Output:
        """Reconstruct or judge.

        Args:
            images: float (B, C, H, W) in [-1, 1].
        """


@runtime_checkable
class Decoder(Protocol):
    """The part of a model with a bottleneck by which one looks into it; a model that reconstructs has it.

    `decode(encode(images))` is the reconstruction that `forward` gives in evaluation mode.
    """

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] to bottlenecks as the decoder takes them: (B, d), or (B, d, h, w) of maps."""

    def decode(self, latent: Tensor) -> Tensor:
        """Bottlenecks, of the shape that `encode` gives, to images (B, C, H, W)."""


class GradientModel(Model):
    """A model that `train.train` trains by steps of an optimizer."""

    @abstractmethod
    def training_pass(
        self, images: Tensor, latent_noise_scale: float, progress: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """One pass while training.

        Args:
            images: float (B, C, H, W), noise already added.
            latent_noise_scale: standard deviation of the Gaussian noise on the bottleneck.
            progress: float32 (), the share of all steps already done, of [0, 1), for whatever warms up; a tensor, so
                that a captured step follows it. Nothing here may wait for the device, as `float(progress)` would.

        Returns:
            The reconstruction (B, C, H, W), or None, and a scalar that the family adds to the reconstruction loss.
        """


class ClosedFormModel(Model):
    """A model whose best weights are computed, in one pass over the training images."""

    @abstractmethod
    def solve(self, batches: Iterable[Tensor], noise_scale: float, latent_noise_scale: float) -> float:
        """Set the weights to the best ones.

        Args:
            batches: all training images, float (B, C, H, W) in [-1, 1] each, without noise.
            noise_scale: standard deviation of the noise on the input that the solution shall be best for.
            latent_noise_scale: the same of the noise on the bottleneck.

        Returns:
            The mean squared error a pixel on the training images.
        """


class CrossFittedModel(Model):
    """A model of several networks that are trained on the test images too, each on all folds of them but its own.

    `transductive.train` trains it. Every held-out and every test image belongs to a fold, and is scored by the one
    network that has not seen that fold; an image that none has seen is scored by all.
    """

    folds: int

    @abstractmethod
    def forward(self, images: Tensor, fold: Tensor | None = None) -> Output:
        """Judge.

        Args:
            images: float (B, C, H, W) in [-1, 1].
            fold: int64 (B,), the network that shall judge each; None is the mean of all.
        """

    @abstractmethod
    def training_pass(self, number: int, normal: Tensor, test: Tensor, latent_noise_scale: float) -> Tensor:
        """The loss of network `number`, a scalar, on as many normal as test images, each float (B, C, H, W)."""


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """A family's own hyperparameters: numbers, strings and tuples of them, so that `asdict` of it is JSON."""

    @abstractmethod
    def build(self, shape: ChannelsFirst) -> Model:
        """The untrained model for images of `shape`, its weights drawn from torch's global generator."""


@dataclass(frozen=True, kw_only=True)
class CrossFittedArchitecture(Architecture):
    """Hyperparameters of a `CrossFittedModel`.

    Attributes:
        folds: networks, and parts that the test images are dealt into.
    """

    folds: int = 5

    @abstractmethod
    def build(self, shape: ChannelsFirst) -> CrossFittedModel:
        """As for every family."""


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

    A range whose ends are equal, or that has one choice, is not searched.

    Attributes:
        crop: lowest and highest fraction of the side; tried in steps of 1/16, so that few crops are ever cached.
        learning_rate: lowest and highest, on a log scale, for batches of 256; it is scaled with the root of the batch
            size, as Adam wants it (Malladi et al. 2022, arXiv:2205.10287), so that the two can be searched apart.
        weight_decay: the same.
        batch_size: the ones to try on a CPU.
        gpu_batch_size: the ones to try on a GPU, which smaller ones do not fill.
        warmup_ratio, noise_scale, latent_noise_scale: lowest and highest.
        loss: the names to try.
        epochs: lowest share of `--epochs`; the learning rate's schedule ends with the epochs.
        most_epochs: that many at most, whatever `--epochs` says; None for no such bound.
    """

    crop: tuple[float, float] = (0.4375, 1.0)
    learning_rate: tuple[float, float] = (2e-4, 5e-3)
    weight_decay: tuple[float, float] = (1e-6, 1e-1)
    batch_size: tuple[int, ...] = (64, 128, 256, 512)
    gpu_batch_size: tuple[int, ...] = (128, 256, 512, 1024)
    warmup_ratio: tuple[float, float] = (0.0, 0.3)
    noise_scale: tuple[float, float] = (0.0, 0.5)
    latent_noise_scale: tuple[float, float] = (0.0, 0.5)
    loss: tuple[str, ...] = ("mse", "l1", "ssim")
    epochs: float = 0.25
    most_epochs: int | None = None

    def batch_sizes(self, device: str) -> tuple[int, ...]:
        """The ones to try on a device of that type."""
        return self.gpu_batch_size if device == "cuda" else self.batch_size

    def suggest(
        self, trial: Sampler, epochs: int, batch_sizes: tuple[int, ...] | None = None
    ) -> tuple[float, dict[str, Any]]:
        """Draw a crop, and values for `train_settings.TrainSettings` (all but the seed and the precision).

        Args:
            trial: draws.
            epochs: the most that a trial trains.
            batch_sizes: the ones to try; None is those for a CPU.
        """

        def number(name: str, ends: tuple[float, float], **how: Any) -> float:
            return ends[0] if ends[0] == ends[1] else trial.suggest_float(name, *ends, **how)

        def choice(name: str, choices: tuple[Any, ...]) -> Any:
            return choices[0] if len(choices) == 1 else trial.suggest_categorical(name, choices)

        most = min(epochs, self.most_epochs or epochs)
        fewest = max(1, round(self.epochs * most))
        crop = number("crop", self.crop, step=1 / 16)
        batch_size = choice("batch_size", batch_sizes or self.batch_size)
        return crop, {
            "epochs": most if fewest == most == self.most_epochs else trial.suggest_int("epochs", fewest, most),
            "batch_size": batch_size,
            "learning_rate": scaled_rate(number("learning_rate", self.learning_rate, log=True), batch_size),
            "weight_decay": number("weight_decay", self.weight_decay, log=True),
            "warmup_ratio": number("warmup_ratio", self.warmup_ratio),
            "noise_scale": number("noise_scale", self.noise_scale),
            "latent_noise_scale": number("latent_noise_scale", self.latent_noise_scale),
            "loss": choice("loss", self.loss),
        }


def scaled_rate(rate: float, batch_size: int) -> float:
    """The learning rate for batches of `batch_size`, where `rate` is the one for batches of 256: by the square root."""
    return rate * math.sqrt(batch_size / _RATED_BATCH)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published system, as published.

    Attributes:
        architecture: the family's hyperparameters.
        source: who published it.
        crop: fraction of the side that the crop keeps, (height, width).
        size: what the crop is resized to, (height, width); None keeps the images' own.
        via: side that the image is resized to before the crop; None crops it as it is.
        training: what it sets of `train_settings.TrainSettings`.
    """

    architecture: Architecture
    source: str
    crop: tuple[float, float] = (1.0, 1.0)
    size: tuple[int, int] | None = None
    via: int | None = None
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
        ranges: what else a study searches.
        reconstructs: whether the models reconstruct; those that do not have no loss to choose and no error kinds.
        transductive: whether the models are trained on the unlabelled test images too.
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
    reconstructs: bool = True
    transductive: bool = False

    def widths_up_to(self, most: int) -> tuple[int, ...]:
        """The widths to try of at most `most`.

        Raises:
            UsageError: if there is none.
        """
        widths = tuple(width for width in self.widths if width <= most)
        if not widths:
            raise UsageError(f"--max-width must be {self.widths[0]} or more for {self.name}, not {most}")
        return widths

    def check_shape(self, shape: ChannelsFirst) -> None:
        """Say which sides this family takes.

        Raises:
            UsageError: if `shape` is not one of them.
        """
        if any(side % self.side_multiple for side in shape[1:]):
            nearest = round(shape[1] / self.side_multiple) * self.side_multiple
            raise UsageError(
                f"{self.name} takes images whose sides are multiples of {self.side_multiple} "
                f"({self.least_side}, {self.least_side + self.side_multiple}, ... up to {SIDES[1]}), "
                f"not {shape[1]}x{shape[2]}; resize with --size {max(self.least_side, nearest)}"
            )

    @property
    def least_side(self) -> int:
        """The smallest side, of those that images may have, that this family takes."""
        return math.ceil(SIDES[0] / self.side_multiple) * self.side_multiple


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
    return values + scale * standard_normal(values) if scale > 0 else values


def standard_normal(like: Tensor) -> Tensor:
    """Draws from N(0, 1) of the shape, dtype and device of `like`, maps (B, C, H, W) in channels-last layout.

    `torch.randn_like` draws number by number where the layout is not the default, many times as slow on a CPU.
    """
    if like.dim() != 4:
        return torch.randn(like.shape, dtype=like.dtype, device=like.device)
    images, channels, high, wide = like.shape
    drawn = torch.randn((images, high, wide, channels), dtype=like.dtype, device=like.device)
    return drawn.permute(0, 3, 1, 2)


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
