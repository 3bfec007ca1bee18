"""What a study searches besides the architecture: the ranges of crop, size and training settings."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

SIZES = (16, 24, 32, 48, 64, 96, 128, 192, 256)
"""The sides that a study resizes crops to, but for those above the images' own; that one is tried too."""
_RATED_BATCH = 256
_LEAST_STEPS, _LEAST_BATCH = 32, 8
_LEAST_IMAGES, _MOST_PASSES = 2048, 4


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


class Drawn(NamedTuple):
    """What a trial has drawn besides the architecture.

    Attributes:
        crop: fraction of the side that the crop keeps.
        size: side in pixels that the crop is resized to.
        training: values for `training.settings.TrainSettings`, all but the passes, the seed and the precision.
    """

    crop: float
    size: int
    training: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SearchRanges:
    """What a study searches besides the architecture; a family that needs other ranges gives its own.

    A range whose ends are equal, or that has one choice, is not searched.

    Attributes:
        crop: lowest and highest fraction of the side; tried in steps of 1/16, so that few crops are ever cached.
        learning_rate: lowest and highest learning rate for batches of 256, on a log scale. A trial's is scaled with the
            square root of its batch size, as Adam wants it (Malladi et al. 2022, arXiv:2205.10287), so that rate and
            batch size can be searched apart.
        weight_decay: lowest and highest, on a log scale.
        batch_size: the batch sizes to try on a CPU.
        gpu_batch_size: the batch sizes to try on a GPU, which smaller batches do not fill.
        warmup_ratio, noise_scale, latent_noise_scale: lowest and highest.
        mirror: whether to train on images that are mirrored at random.
        loss: the names to try.
        epochs: least share of the study's epochs that a trial trains; its learning rate's schedule ends with them.
        most_epochs: the most epochs of a trial, whatever the study allows; None sets no such bound.
    """

    crop: tuple[float, float] = (0.4375, 1.0)
    learning_rate: tuple[float, float] = (2e-4, 5e-3)
    weight_decay: tuple[float, float] = (1e-6, 1e-1)
    batch_size: tuple[int, ...] = (64, 128, 256, 512)
    gpu_batch_size: tuple[int, ...] = (128, 256, 512, 1024)
    warmup_ratio: tuple[float, float] = (0.0, 0.3)
    noise_scale: tuple[float, float] = (0.0, 0.5)
    latent_noise_scale: tuple[float, float] = (0.0, 0.5)
    mirror: tuple[bool, ...] = (False, True)
    loss: tuple[str, ...] = ("mse", "l1", "ssim")
    epochs: float = 0.25
    most_epochs: int | None = None

    def batch_sizes(self, device: str, images: int) -> tuple[int, ...]:
        """The batch sizes to try, ascending: those that leave an epoch 32 steps or more.

        Where fewer than two of them do, they are halved until two do, or down to batches of 8 images.

        Args:
            device: its type, as torch names it.
            images: how many images there are to train on.
        """
        usual = self.gpu_batch_size if device == "cuda" else self.batch_size
        if len(usual) == 1:
            return usual
        most = max(_LEAST_BATCH, images // _LEAST_STEPS)
        sizes = {size for size in usual if size <= most}
        smaller = min(usual)
        while len(sizes) < 2 and smaller > _LEAST_BATCH:
            smaller //= 2
            sizes |= {smaller} if smaller <= most else set()
        return tuple(sorted(sizes)) or (_LEAST_BATCH,)

    def passes(self, images: int) -> int:
        """How often an epoch shows each of the images: as often as it takes to show 2,048, but 4 times at most."""
        is_trained_by_steps = len(self.batch_size) > 1
        return min(_MOST_PASSES, math.ceil(_LEAST_IMAGES / images)) if is_trained_by_steps else 1

    def suggest(
        self, trial: Sampler, epochs: int, batch_sizes: tuple[int, ...] | None = None, sizes: tuple[int, ...] = SIZES
    ) -> Drawn:
        """Draw a crop, a size and training settings.

        Args:
            trial: what draws.
            epochs: the most epochs that a trial trains.
            batch_sizes: the batch sizes to try; None is those for a CPU.
            sizes: the sides to try.
        """

        def number(name: str, ends: tuple[float, float], **how: Any) -> float:
            return ends[0] if ends[0] == ends[1] else trial.suggest_float(name, *ends, **how)

        def choice(name: str, choices: tuple[Any, ...]) -> Any:
            return choices[0] if len(choices) == 1 else trial.suggest_categorical(name, choices)

        most = min(epochs, self.most_epochs or epochs)
        fewest = max(1, round(self.epochs * most))
        crop, size = number("crop", self.crop, step=1 / 16), choice("size", sizes)
        batch_size = choice(
            "batch_size", (batch_sizes or self.batch_size) if len(self.batch_size) > 1 else self.batch_size
        )
        training = {
            "epochs": most if fewest == most == self.most_epochs else trial.suggest_int("epochs", fewest, most),
            "batch_size": batch_size,
            "learning_rate": scaled_rate(number("learning_rate", self.learning_rate, log=True), batch_size),
            "weight_decay": number("weight_decay", self.weight_decay, log=True),
            "warmup_ratio": number("warmup_ratio", self.warmup_ratio),
            "noise_scale": number("noise_scale", self.noise_scale),
            "latent_noise_scale": number("latent_noise_scale", self.latent_noise_scale),
            "mirror": choice("mirror", self.mirror),
            "loss": choice("loss", self.loss),
        }
        return Drawn(crop, size, training)


USUAL_RANGES = SearchRanges()


def scaled_rate(rate: float, batch_size: int) -> float:
    """The learning rate for batches of `batch_size`, where `rate` is the one for batches of 256: by the square root."""
    return rate * math.sqrt(batch_size / _RATED_BATCH)
